"""Talking to a process that has the base model: it is opened, asked, stopped, and opened again where it died."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from engine.api import Cockpit
from engine.chat.client import ChatClient
from engine.chat.conversation import Chat, ChatAnswer
from engine.chat.participants import load_request_of
from engine.chat.protocol import AnswerRequest, Loaded, LoadRequest
from engine.errors import LoratuiError
from engine.spec.round import Round
from tui.messages import AnswerEnded, AnswerGrew, TalkOpened
from tui.screens.chat.input import TalkInput
from tui.screens.chat.speakers_line import speakers_line
from tui.screens.chat.transcript import Transcript
from tui.screens.chat.worker import put_questions
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean_line
from tui.widgets.key_footer import KeyFooter

FIRST_KEYS = (
    "talk.stop", "talk.back", "talk.base", "talk.settings", "talk.again", "talk.save", "talk.export", "talk.saved",
    "talk.anew", "talk.copy",
)  # fmt: skip
LEFT = "you left before it had answered"


class TalkingScreen(WorkspaceScreen):
    """A conversation with one process, which ends with the screen.

    Attributes:
        conversation: what was said so far.
        silent: by the keys of speakers that cannot be asked a sentence on each.
    """

    AUTO_FOCUS = "#message"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+x", "stop_answer", "Stop", tooltip="End the answer that is being given", priority=True, id="talk.stop"
        ),
        Binding("pageup", "scroll('page_up')", "Page up", show=False, tooltip="A page up", id="talk.page_up"),
        Binding("pagedown", "scroll('page_down')", "Page down", show=False, tooltip="A page down", id="talk.page_down"),
        Binding("up", "scroll('up')", "Up", show=False, tooltip="A line up", id="talk.up"),
        Binding("down", "scroll('down')", "Down", show=False, tooltip="A line down", id="talk.down"),
        Binding("ctrl+home", "scroll('home')", "Top", show=False, tooltip="To the beginning", id="talk.top"),
        Binding("ctrl+end", "scroll('end')", "End", show=False, tooltip="To the end, and follow it", id="talk.end"),
    ]
    DEFAULT_CSS = """
    TalkingScreen {
        & #speakers { height: auto; max-height: 5; padding: 0 1; border-bottom: solid $primary; }
        & #talk-status { height: auto; max-height: 4; padding: 0 1; border-top: solid $primary; }
    }
    """

    def __init__(self, cockpit: Cockpit, conversation: Chat, rounds: Sequence[Round]) -> None:
        super().__init__(cockpit)
        self.conversation = conversation
        self.silent: dict[str, str] = {}
        self._rounds = rounds
        self._talk: ChatClient | None = None
        self._sitting = 0
        self._loading = False
        self._opened: Loaded | None = None
        self._trouble = ""
        self._asked: tuple[str, ...] = ()  # who has still to answer the last message, the one who does in front
        self._growing: dict[str, str] = {}
        self._stopping = False

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield Static(id="speakers", markup=False)
        yield Transcript(id="transcript")
        yield Static(id="talk-status", markup=False)
        yield TalkInput(id="message", placeholder="say something, enter sends it", compact=True)
        yield KeyFooter(FIRST_KEYS)

    def on_mount(self) -> None:
        self.open_model()

    def on_unmount(self) -> None:
        self.close_model()

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """The rounds as they are now, for the next conversation that is opened."""
        self._rounds = rounds

    @property
    def message(self) -> TalkInput:
        """Where the next message is typed."""
        return self.query_one(TalkInput)

    @property
    def busy(self) -> bool:
        """Whether a message waits for an answer."""
        return bool(self._asked)

    def open_model(self) -> None:
        """Load the base model and the adapters, in the place of what is loaded."""
        self.close_model()
        self._loading, self._trouble = True, ""
        self._open(self._sitting, load_request_of(self.cockpit.workspace, self.conversation, tuple(self.silent)))
        self.show()

    def close_model(self) -> None:
        """End the process; whatever it still says is not heard."""
        self._sitting += 1
        talk, self._talk, self._opened, self._loading = self._talk, None, None, False
        if talk is not None:
            Thread(target=talk.close, name="close talk").start()  # a big model takes a while to go

    @work(thread=True, group="talk")
    def _open(self, sitting: int, request: LoadRequest) -> None:
        outcome: Loaded | LoratuiError
        try:
            talk = ChatClient(request)
            if get_current_worker().is_cancelled or sitting != self._sitting:  # left before there was one to close
                talk.close()
                return
            self._talk = talk
            outcome = talk.loaded()
        except LoratuiError as error:
            outcome = error
        self.post_message(TalkOpened(sitting, outcome))

    @on(TalkOpened)
    def _take_opened(self, event: TalkOpened) -> None:
        if event.sitting != self._sitting:
            return
        self._loading = False
        if isinstance(event.outcome, LoratuiError):
            self.close_model()
            self._trouble = event.outcome.message
            self._refuse(dict.fromkeys(self._asked, self._trouble))
        else:
            self._opened = event.outcome
            self.silent |= event.outcome.unusable
            self._refuse({key: self.silent[key] for key in self._asked if key in self.silent})
            if self._asked:
                self._put_questions()
        self.show()

    def _refuse(self, reasons: Mapping[str, str]) -> None:
        """Who was asked and will not answer, and why."""
        for key, reason in reasons.items():
            self._end_answer(key, ChatAnswer("", refusal=reason))

    @on(Input.Submitted, "#message")
    def _send(self) -> None:
        text = self.message.text
        if self.busy:
            self.notify("an answer is still to come: ctrl+x stops it", markup=False)
        elif not text.strip():
            if not self._loading and self._opened is None:
                self.open_model()
        elif not (keys := [item.key for item in self.conversation.speakers if item.key not in self.silent]):
            self.notify(clean_line(next(iter(self.silent.values()))), severity="warning", markup=False)
        else:
            self.message.put("")
            self._say(text, keys)

    def _say(self, text: str, keys: Sequence[str]) -> None:
        self.conversation = self.conversation.with_message(text)
        self._asked, self._growing, self._stopping = tuple(keys), {}, False
        self.query_one(Transcript).to_end()
        if self._opened is not None:
            self._put_questions()
        elif not self._loading:
            self.open_model()
        self.changed()
        self.show()

    def _put_questions(self) -> None:
        said = self.conversation.exchanges[-1].message
        if self._talk is not None:
            self._ask(self._talk, {key: self.conversation.request(key, said) for key in self._asked}, self._sitting)

    @work(thread=True, group="talk")
    def _ask(self, talk: ChatClient, questions: Mapping[str, AnswerRequest], sitting: int) -> None:
        put_questions(talk, questions, self.post_message, sitting)

    @on(AnswerGrew)
    def _grow(self, event: AnswerGrew) -> None:
        if event.sitting == self._sitting and event.key in self._asked:
            self._growing[event.key] = event.text
            self._show_transcript()

    @on(AnswerEnded)
    def _take_answer(self, event: AnswerEnded) -> None:
        if event.sitting != self._sitting or event.key not in self._asked:
            return
        self._stopping = False
        self._end_answer(event.key, event.answer)
        if event.died and not self._asked:
            self._trouble = event.answer.refusal
            self.close_model()
        self.show()

    def _end_answer(self, key: str, answer: ChatAnswer) -> None:
        self.conversation = self.conversation.with_answer(key, answer)
        self._asked = tuple(item for item in self._asked if item != key)
        self._growing.pop(key, None)
        if not self._asked:
            self.changed()

    def end_answers(self) -> None:
        """Wait for no more answers: what there is of them stays."""
        for key in self._asked:
            text = self._growing.get(key, "")
            self._end_answer(key, ChatAnswer(text, ending="stopped" if text else "complete", refusal=LEFT))
        self.close_model()

    def changed(self) -> None:
        """The conversation has gone on; a screen that keeps it does so here."""

    def show(self) -> None:
        """Show all of it as it is now."""
        if not self.is_attached or not self.is_running:
            return
        self.query_one("#title", Static).update(self._title())
        speakers = speakers_line(self.conversation, self.silent, self.size.width - 2)
        self.query_one("#speakers", Static).update(speakers)
        self.query_one("#talk-status", Static).update(self._status())
        self._show_transcript()
        self.refresh_bindings()

    def _show_transcript(self) -> None:
        positions = self._opened.positions if self._opened is not None else None
        self.query_one(Transcript).show(self.conversation, positions, self._asked, self._growing)

    def _title(self) -> Content:
        path = self.conversation.model.path
        parts = [Path(path).name if path.startswith("/") else path, *self.told_in_title()]
        if self._opened is not None:
            parts.insert(1, f"{self._opened.dtype} on {self._opened.device}")
        return Content.assemble(("Talk", "bold"), f"   {clean_line(' · '.join(parts))}")

    def told_in_title(self) -> list[str]:
        """What else stands in the title."""
        return []

    def on_resize(self) -> None:
        self.show()

    def _status(self) -> Content:
        if self._trouble:
            return Content.styled(f"✗ no model, enter tries again: {clean_line(self._trouble)}", "bold $text-error")
        if self._loading:
            waits = ", then it answers" if self.busy else ""
            return Content.styled(
                f"loading the base model {clean_line(self.conversation.model.path)} ...{waits}", "$text-warning"
            )
        if self.busy:
            who = self.conversation.speaker(self._asked[0]).called
            more = f", {len(self._asked) - 1} more to come" if len(self._asked) > 1 else ""
            what = "stopping: esc leaves" if self._stopping else f"{who} answers{more}: ctrl+x stops it"
            return Content.styled(what, "$text-warning")
        return self.idle_status()

    def idle_status(self) -> Content:
        """What is to be known while nothing is going on."""
        return Content("")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop_answer":
            return self.busy and self._opened is not None
        return super().check_action(action, parameters)

    def action_stop_answer(self) -> None:
        if self._talk is not None:
            self._stopping = True
            self._talk.stop()
            self.show()

    def action_scroll(self, how: str) -> None:
        transcript = self.query_one(Transcript)
        if how == "end":
            transcript.to_end()
        else:
            scroll: Callable[..., None] = getattr(transcript, f"scroll_{how}")
            scroll(animate=False)
