"""A conversation with adapters, side by side: kept as it goes on, taken up again, and made into a training example."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from engine.api import Cockpit
from engine.chat.conversation import BASE, Chat, ChatSettings
from engine.chat.history import (
    EXAMPLES,
    ChatFile,
    append_example,
    check_name,
    default_name,
    find_conversations,
    make_directory,
)
from engine.chat.participants import check_base, find_speakers
from engine.errors import FileError, LoratuiError, StoreError
from engine.spec.round import Round
from tui.messages import ActionDone, ActionFailed, WriteRefused
from tui.screens.chat.session import TalkingScreen
from tui.screens.chat.settings_dialog import TalkSettingsScreen
from tui.screens.chat.speakers_line import beginning_of
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen

QUIET = ("base", "take_back", "anew", "saved")  # not while somebody answers


class TalkScreen(TalkingScreen):
    """Keeps the conversation at every turn, so that nothing is lost; where it may not, leaving asks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Stop the answer; then leave", id="talk.back"),
        Binding(
            "ctrl+b", "base", "Base", priority=True, id="talk.base",
            tooltip="The base model beside the others, or no more; in tmux press it twice",
        ),
        Binding(
            "ctrl+o", "settings", "Settings", priority=True, id="talk.settings",
            tooltip="Temperature, top-p, longest answer, seed, prompt template, system prompt",
        ),
        Binding(
            "ctrl+r", "take_back", "Take back", priority=True, id="talk.again",
            tooltip="Take the last exchange back, to change what was said and say it again",
        ),
        Binding(
            "ctrl+s", "save", "Save", tooltip="Keep the conversation under a name", priority=True, id="talk.save"
        ),
        Binding(
            "ctrl+f", "saved", "Saved", priority=True, id="talk.saved", tooltip="Go on with a kept conversation"
        ),
        Binding(
            "ctrl+n", "anew", "Anew", tooltip="Begin anew with the same rounds", priority=True, id="talk.anew"
        ),
        Binding(
            "ctrl+e", "export_example", "Export", priority=True, id="talk.export",
            tooltip="Append one side of it to a file, as an example to train on",
        ),
        Binding(
            "ctrl+y", "copy_answers", "Copy", tooltip="Copy the last answers", priority=True, id="talk.copy"
        ),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit, conversation: Chat, rounds: Sequence[Round]) -> None:
        super().__init__(cockpit, conversation, rounds)
        self._keeper = ChatFile(cockpit.workspace)
        self._kept = conversation  # as far as it is in its file
        self._writing = asyncio.Lock()

    @property
    def lost_by_leaving(self) -> str:
        lost = ["the answer that is being given"] if self.busy else []
        if self.conversation.exchanges and (self.cockpit.readonly or self.can_try_again):
            lost = ["this conversation"]
        if self.message.value.strip():
            lost.append("what you typed")
        return " and ".join(lost)

    def idle_status(self) -> Content:
        settings = self.conversation.settings
        told = (
            f"temperature {settings.temperature:g} · top-p {settings.top_p:g} · at most {settings.max_new_tokens:,} "
            f"tokens · seed {settings.seed}{' · with a system prompt' if settings.system.strip() else ''}"
        )
        return Content.styled(told, "$text-muted")

    def told_in_title(self) -> list[str]:
        return [f"kept as {self._keeper.name}"] if self._keeper.name else []

    def changed(self) -> None:
        if not self.cockpit.readonly:
            self._keep_on()

    @work(group="keep", exit_on_error=False)
    async def _keep_on(self) -> None:
        if await self._keep():
            self.show()

    async def _keep(self, name: str = "") -> Path | None:
        """Keep the conversation as it is; None if that could not be, which the banner tells."""
        conversation, keeper = self.conversation, self._keeper
        try:
            async with self._writing:  # in the order in which it went on
                path = await asyncio.to_thread(keeper.save, conversation, name)
        except StoreError as error:
            self.post_message(WriteRefused(error, self._keep_on))
            return None
        self._kept = conversation
        return path

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in QUIET and self.busy:
            return None
        if action in ("take_back", "save", "export_example", "copy_answers") and not self.conversation.exchanges:
            return None
        return super().check_action(action, parameters)

    def action_leave(self) -> None:
        """One layer out: the answer, then the screen."""
        if self.busy and self._opened is not None and not self._stopping:
            self.action_stop_answer()
        else:
            self._leave()

    @work(group="leave", exclusive=True)
    async def _leave(self) -> None:
        if self.busy:
            self.end_answers()
        if await self._may_go("Leave", typed=True):
            self.app.pop_screen()

    async def _may_go(self, verb: str, *, typed: bool = False) -> bool:
        """Whether the conversation is kept, or the person gives it up; with `typed` also what stands in the line."""
        saved = self._kept is self.conversation or not self.conversation.exchanges
        if not saved and not self.cockpit.readonly and not self.can_try_again:
            saved = await self._keep() is not None
            if not saved:
                return False  # what is wrong is told; the next time asks
        lost = [] if saved else ["this conversation, which is not kept"]
        lost += ["what you typed"] if typed and self.message.value.strip() else []
        if not lost:
            return True
        question = f"{verb} and throw away {' and '.join(lost)}?"
        yes = await self.app.push_screen_wait(ConfirmScreen(question, verb))
        return yes is True

    def _allowed(self, check: Callable[[], object]) -> bool:
        """Whether `check` raises nothing; what it raises is told."""
        try:
            check()
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return False
        return True

    def action_base(self) -> None:
        if self.conversation.has_base:
            self._go_on_with(self.conversation.with_base(False))
        elif self._allowed(lambda: check_base(self._rounds, self.conversation)):
            self._go_on_with(self.conversation.with_base(True))

    def _go_on_with(self, conversation: Chat) -> None:
        self.conversation = conversation
        self.silent.pop(BASE, None)
        self.show()

    def action_settings(self) -> None:
        def chosen(settings: ChatSettings | None) -> None:
            if settings is not None:
                self.conversation = self.conversation.with_settings(settings)
                self.show()

        self.app.push_screen(TalkSettingsScreen(self.conversation.settings), chosen)

    def action_take_back(self) -> None:
        if self.message.value.strip():
            self.notify("something is typed: send it or clear it (ctrl+u) first", severity="warning", markup=False)
            return
        self.conversation, said = self.conversation.without_last()
        self.message.put(said)
        self.show()

    @work(group="leave", exclusive=True)
    async def action_anew(self) -> None:
        if await self._may_go("Begin anew"):
            self._take_up(self.conversation.restarted(time.time()), ChatFile(self.cockpit.workspace), self.silent)

    def _take_up(self, conversation: Chat, keeper: ChatFile, silent: dict[str, str]) -> None:
        """Go on with another conversation, on the model that is loaded if it can be."""
        same = self.conversation.model == conversation.model and {item.key for item in conversation.speakers} <= {
            BASE, *(item.key for item in self.conversation.speakers)
        }  # fmt: skip
        self.conversation = self._kept = conversation
        self._keeper, self.silent = keeper, silent
        self.give_up_refused()
        if same and self._loading:
            self.show()
        elif same and self._opened is not None:
            self.silent = self._opened.unusable | silent
            self.show()
        else:
            self.open_model()

    @work(group="save", exclusive=True)
    async def action_save(self) -> None:
        if not self._allowed(self.cockpit.store.check_writable):
            return
        name = self._keeper.name or default_name(self.conversation)
        chosen = await self.app.push_screen_wait(AskScreen("Keep the conversation as", name, check_name))
        if chosen is not None and (path := await self._keep(chosen)) is not None:
            self.post_message(ActionDone(f"the conversation is kept in {path}"))
            self.show()

    @work(group="leave", exclusive=True)
    async def action_saved(self) -> None:
        try:
            found = await asyncio.to_thread(find_conversations, self.cockpit.workspace)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        if not found:
            self.notify("no conversation has been kept in this workspace yet", markup=False)
            return
        options = [
            (item.path.stem, beginning_of(item.conversation) if item.conversation is not None else item.problem)
            for item in found
        ]
        place = await self.app.push_screen_wait(ChooseScreen("Go on with", options))
        if place is not None and await self._may_go("Leave this one"):
            await self._take_up_kept(found[place].path)

    async def _take_up_kept(self, path: Path) -> None:
        keeper = ChatFile(self.cockpit.workspace)
        try:
            conversation = await asyncio.to_thread(keeper.read, path)
            found = await asyncio.to_thread(find_speakers, self.cockpit.workspace, self._rounds, conversation)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        self._take_up(found[0], keeper, found[1])

    @work(group="save", exclusive=True)
    async def action_export_example(self) -> None:
        if not self._allowed(self.cockpit.store.check_writable):
            return
        conversation = self.conversation
        sides = [item for item in conversation.speakers if conversation.example_of(item.key)]
        if not sides:
            self.notify("nobody has said anything yet that could be learned", severity="warning", markup=False)
            return
        place: int | None = 0
        if len(sides) > 1:
            options = [(item.called, item.name) for item in sides]
            place = await self.app.push_screen_wait(ChooseScreen("Whose answers are the example?", options))
        if place is None:
            return
        default = f"{self.cockpit.workspace.conversations_dir.name}/{EXAMPLES}"
        file = await self.app.push_screen_wait(AskScreen("Append the example to", default, _check_file))
        if file is not None:
            await self._export(conversation, sides[place].key, file)

    async def _export(self, conversation: Chat, key: str, file: str) -> None:
        workspace = self.cockpit.workspace
        path = workspace.root / Path(file).expanduser()
        try:
            if path.parent == workspace.conversations_dir:
                await asyncio.to_thread(make_directory, workspace)
            await asyncio.to_thread(append_example, path, conversation, key)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        cut = any(key in item.answers and item.answers[key].ending != "complete" for item in conversation.exchanges)
        warning = "; an answer in it was cut short" if cut else ""
        self.post_message(ActionDone(f"{conversation.speaker(key).called}'s side is an example in {path}{warning}"))

    def action_copy_answers(self) -> None:
        answers = {key: item.text for key, item in self.conversation.exchanges[-1].answers.items() if item.text}
        if not answers:
            self.notify("there is no answer to copy yet", markup=False)
        elif len(answers) == 1:
            self.copy("the last answer", next(iter(answers.values())))
        else:
            named = [f"{self.conversation.called(key)}:\n{text}" for key, text in answers.items()]
            self.copy("the last answers", "\n\n".join(named))


def _check_file(file: str) -> None:
    if not file or "\0" in file:
        raise FileError("no file is named: give one, such as conversations/examples.jsonl")
