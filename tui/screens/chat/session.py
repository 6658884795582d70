"""A chat with a process that has the base model: it is started, asked, stopped, and started again if it died."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from engine.api import Cockpit
from engine.chat.conversation import Chat, ChatAnswer
from engine.chat.participants import load_request_of
from engine.errors import LoratuiError
from engine.files.drafts import Drafting
from engine.spec.round import Round
from tui.messages import AnswerEnded, AnswerGrew, ChatOpened
from tui.screens.chat.connection import ChatConnection
from tui.screens.chat.input import ChatInput
from tui.screens.chat.speakers_line import speakers_line
from tui.screens.chat.transcript import Transcript
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean_line
from tui.widgets.key_footer import KeyFooter

FIRST_KEYS = (
    "talk.stop", "talk.back", "talk.base", "talk.settings", "talk.again", "talk.save", "talk.export", "talk.saved",
    "talk.anew", "talk.copy",
)  # fmt: skip
LEFT_EARLY = "you left before it answered"


class ChatSessionScreen(WorkspaceScreen):
    """A chat with one process, which ends with the screen.

    Attributes:
        conversation: the messages and answers so far.
        silent: by their keys, the speakers that cannot answer, and why.
    """

    AUTO_FOCUS = "#message"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+x", "stop_answer", "Stop", tooltip="Stop the answer", priority=True, id="talk.stop"),
        Binding("pageup", "scroll('page_up')", "Page up", show=False, tooltip="Scroll up a page", id="talk.page_up"),
        Binding(
            "pagedown",
            "scroll('page_down')",
            "Page down",
            show=False,
            tooltip="Scroll down a page",
            id="talk.page_down",
        ),
        Binding("up", "scroll('scroll_up')", "Up", show=False, tooltip="Scroll up a line", id="talk.up"),
        Binding("down", "scroll('scroll_down')", "Down", show=False, tooltip="Scroll down a line", id="talk.down"),
        Binding(
            "ctrl+home",
            "scroll('scroll_home')",
            "Top",
            show=False,
            tooltip="Scroll to the first message",
            id="talk.top",
        ),
        Binding(
            "ctrl+end", "scroll('end')", "End", show=False, tooltip="Scroll to the end, and follow it", id="talk.end"
        ),
    ]
    DEFAULT_CSS = """
    ChatSessionScreen {
        & #speakers { height: auto; max-height: 5; padding: 0 1; border-bottom: solid $primary; }
        & #chat-status { height: auto; max-height: 4; padding: 0 1; border-top: solid $primary; }
    }
    """

    def __init__(self, cockpit: Cockpit, conversation: Chat, rounds: Sequence[Round]) -> None:
        super().__init__(cockpit)
        self.conversation = conversation
        self.silent: dict[str, str] = {}
        self._rounds = rounds
        self.connection = ChatConnection(self)
        self._waiting: tuple[str, ...] = ()  # keys of those who have still to answer; the first one answers now
        self._growing: dict[str, str] = {}
        self._stopping = False
        self._drafting: Drafting | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield Static(id="speakers", markup=False)
        yield Transcript(id="transcript")
        yield Static(id="chat-status", markup=False)
        yield ChatInput("", id="message", placeholder="type a message, then press enter")
        yield KeyFooter(FIRST_KEYS)

    def on_mount(self) -> None:
        self.open_model()
        self.call_later(self._offer_draft)

    async def _offer_draft(self) -> None:
        """Put the message that was not sent last time into the field, unless there is another one by now."""
        field = f"message to {' and '.join(sorted(speaker.key for speaker in self.conversation.speakers))}"
        drafts = (await self.find_drafts(field))[: 0 if self.message.value else 1]
        self._drafting = self.cockpit.drafts.edit(field, drafts)
        for draft in drafts:
            self.message.put(draft.texts.get("message", ""))
            self.notify(f"your message of {draft.clock} was not sent: enter sends it", markup=False)

    @on(Input.Changed, "#message")
    def _keep_message(self) -> None:
        if self._drafting is not None:
            self._drafting.keep({"message": self.message.text} if self.message.value.strip() else {})

    def on_unmount(self) -> None:
        self.connection.close()

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """Keep the rounds as they are now for the next saved chat that is opened."""
        self._rounds = rounds

    @property
    def message(self) -> ChatInput:
        """The field for the next message."""
        return self.query_one(ChatInput)

    @property
    def busy(self) -> bool:
        """True while a message waits for an answer."""
        return bool(self._waiting)

    def open_model(self) -> None:
        """Start a process that loads the base model and the adapters; end the one before."""
        self.connection.open(load_request_of(self.cockpit.workspace, self.conversation, tuple(self.silent)))
        self.show()

    @on(ChatOpened)
    def _take_loaded(self, event: ChatOpened) -> None:
        if not self.connection.sent(event):
            return
        self.connection.take(event.outcome)
        if isinstance(event.outcome, LoratuiError):
            self._refuse(dict.fromkeys(self._waiting, event.outcome.message))
        else:
            self.silent |= event.outcome.unusable
            self._refuse({key: self.silent[key] for key in self._waiting if key in self.silent})
            if self._waiting:
                self._put_questions()
        self.show()

    def _refuse(self, reasons: Mapping[str, str]) -> None:
        """End the answers of those who cannot answer, with the reason for each key."""
        for key, reason in reasons.items():
            self._end_answer(key, ChatAnswer("", refusal=reason))

    @on(Input.Submitted, "#message")
    def _send(self) -> None:
        text = self.message.text
        if self.busy:
            self.notify("an answer is still running: press ctrl+x to stop it", markup=False)
        elif not text.strip():
            if not self.connection.is_loading and self.connection.loaded is None:
                self.open_model()
        elif not (keys := self._able_to_answer()):
            self.notify(clean_line(next(iter(self.silent.values()))), severity="warning", markup=False)
        else:
            self.message.put("")
            self._say(text, keys)

    def _able_to_answer(self) -> list[str]:
        return [speaker.key for speaker in self.conversation.speakers if speaker.key not in self.silent]

    def _say(self, text: str, keys: Sequence[str]) -> None:
        self.conversation = self.conversation.with_message(text)
        self._waiting, self._growing, self._stopping = tuple(keys), {}, False
        self.query_one(Transcript).to_end()
        if self.connection.loaded is not None:
            self._put_questions()
        elif not self.connection.is_loading:
            self.open_model()
        self.changed()
        self.show()

    def _put_questions(self) -> None:
        message = self.conversation.exchanges[-1].message
        self.connection.ask({key: self.conversation.request(key, message) for key in self._waiting})

    @on(AnswerGrew)
    def _grow(self, event: AnswerGrew) -> None:
        if self.connection.sent(event) and event.key in self._waiting:
            self._growing[event.key] = event.text
            self._show_transcript()

    @on(AnswerEnded)
    def _take_answer(self, event: AnswerEnded) -> None:
        if not self.connection.sent(event) or event.key not in self._waiting:
            return
        self._stopping = False
        self._end_answer(event.key, event.answer)
        if event.died and not self._waiting:
            self.connection.give_up(event.answer.refusal)
        self.show()

    def _end_answer(self, key: str, answer: ChatAnswer) -> None:
        self.conversation = self.conversation.with_answer(key, answer)
        self._waiting = tuple(other for other in self._waiting if other != key)
        self._growing.pop(key, None)
        if not self._waiting:
            self.changed()

    def end_answers(self) -> None:
        """Stop waiting for answers; keep the text of each so far."""
        for key in self._waiting:
            text = self._growing.get(key, "")
            self._end_answer(key, ChatAnswer(text, ending="stopped" if text else "complete", refusal=LEFT_EARLY))
        self.connection.close()

    def changed(self) -> None:
        """Take note that the conversation has changed; for a screen that saves it."""

    def show(self) -> None:
        """Show the chat as it is now."""
        if not self.is_attached or not self.is_running:
            return
        self.query_one("#title", Static).update(self._title())
        speakers = speakers_line(self.conversation, self.silent, self.size.width - 2)
        self.query_one("#speakers", Static).update(speakers)
        self.query_one("#chat-status", Static).update(self._status())
        self._show_transcript()
        self.refresh_bindings()

    def _show_transcript(self) -> None:
        positions = self.connection.loaded.positions if self.connection.loaded is not None else None
        self.query_one(Transcript).show(self.conversation, positions, self._waiting, self._growing)

    def _title(self) -> Content:
        path = self.conversation.model.path
        parts = [Path(path).name if path.startswith("/") else path, *self.title_parts()]
        if self.connection.loaded is not None:
            parts.insert(1, f"{self.connection.loaded.dtype} on {self.connection.loaded.device}")
        return Content.assemble(("Chat", "bold"), f"   {clean_line(' · '.join(parts))}")

    def title_parts(self) -> list[str]:
        """Return more words for the title."""
        return []

    def on_resize(self) -> None:
        self.show()

    def _status(self) -> Content:
        if self.connection.trouble:
            return Content.styled(
                f"✗ no model, enter tries again: {clean_line(self.connection.trouble)}", "bold $text-error"
            )
        if self.connection.is_loading:
            then = ", then it answers" if self.busy else ""
            return Content.styled(
                f"loading the base model {clean_line(self.conversation.model.path)} ...{then}", "$text-warning"
            )
        if self.busy:
            name = self.conversation.speaker(self._waiting[0]).called
            more = f", {len(self._waiting) - 1} more to follow" if len(self._waiting) > 1 else ""
            text = "stopping: esc leaves" if self._stopping else f"{name} answers{more}: ctrl+x stops it"
            return Content.styled(text, "$text-warning")
        return self.idle_status()

    def idle_status(self) -> Content:
        """Return the status while nothing is going on."""
        return Content("")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the key to stop while there is nothing to stop."""
        if action == "stop_answer":
            return not self.why_not(action, parameters)
        return super().check_action(action, parameters)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if action == "stop_answer" and not (self.busy and self.connection.loaded is not None):
            return "no answer is running"
        return super().why_not(action, parameters)

    def action_stop_answer(self) -> None:
        if self.connection.stop_answer():
            self._stopping = True
            self.show()

    def action_scroll(self, how: str) -> None:
        transcript = self.query_one(Transcript)
        if how == "end":
            transcript.to_end()
        else:
            scroll: Callable[[], None] = getattr(transcript, f"action_{how}")
            with suppress(SkipAction):  # as all of it is shown
                scroll()
