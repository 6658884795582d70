"""A chat with adapters, side by side: it is saved after each message, opened again, and exported as an example."""

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
    ChatFile,
    check_name,
    default_name,
    find_conversations,
)
from engine.chat.participants import check_base, find_speakers
from engine.errors import LoratuiError, StoreError
from engine.spec.round import Round
from tui.messages import ActionDone, ActionFailed, WriteRefused
from tui.screens.chat.export import export_example
from tui.screens.chat.session import ChatSessionScreen
from tui.screens.chat.settings_dialog import ChatSettingsScreen
from tui.screens.chat.speakers_line import summary_of
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen

NOT_WHILE_ANSWERING = ("base", "take_back", "start_again", "open_saved")


class ChatScreen(ChatSessionScreen):
    """A chat that is saved after each message and answer. Leaving asks if it could not be saved."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Stop the answer; then leave the chat", id="talk.back"),
        Binding(
            "ctrl+b", "base", "Base", priority=True, id="talk.base",
            tooltip="Add the base model to the chat, or remove it; in tmux press the key twice",
        ),
        Binding(
            "ctrl+o", "settings", "Settings", priority=True, id="talk.settings",
            tooltip="Change temperature, top-p, length of answers, seed, prompt template, system prompt",
        ),
        Binding(
            "ctrl+r", "take_back", "Take back", priority=True, id="talk.again",
            tooltip="Remove the last message and its answers, to change the message and send it again",
        ),
        Binding(
            "ctrl+s", "save", "Save", tooltip="Save the chat under a name", priority=True, id="talk.save"
        ),
        Binding(
            "ctrl+f", "open_saved", "Saved", priority=True, id="talk.saved", tooltip="Open a saved chat"
        ),
        Binding(
            "ctrl+n", "start_again", "New", priority=True, id="talk.anew",
            tooltip="Start a new chat with the same rounds",
        ),
        Binding(
            "ctrl+e", "export_example", "Export", priority=True, id="talk.export",
            tooltip="Append the messages and one speaker's answers to a file, as an example to train on",
        ),
        Binding(
            "ctrl+y", "copy_answers", "Copy", tooltip="Copy the last answers", priority=True, id="talk.copy"
        ),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit, conversation: Chat, rounds: Sequence[Round]) -> None:
        super().__init__(cockpit, conversation, rounds)
        self._file = ChatFile(cockpit.workspace)
        self._saved = conversation  # as it is in its file
        self._writing = asyncio.Lock()

    @property
    def lost_by_leaving(self) -> str:
        lost = ["the unfinished answer"] if self.busy else []
        if self.conversation.exchanges and (self.cockpit.readonly or self.can_try_again):
            lost = ["this chat"]
        lost += [typed] if (typed := super().lost_by_leaving) else []
        return " and ".join(lost)

    def idle_status(self) -> Content:
        settings = self.conversation.settings
        text = (
            f"temperature {settings.temperature:g} · top-p {settings.top_p:g} · at most {settings.max_new_tokens:,} "
            f"tokens · seed {settings.seed}{' · with a system prompt' if settings.system.strip() else ''}"
        )
        return Content.styled(text, "$text-muted")

    def title_parts(self) -> list[str]:
        return [f"saved as {self._file.name}"] if self._file.name else []

    def changed(self) -> None:
        if not self.cockpit.readonly:
            self._save_changes()

    @work(group="keep", exit_on_error=False)
    async def _save_changes(self) -> None:
        if await self._save():
            self.show()

    async def _save(self, name: str = "") -> Path | None:
        """Save the conversation and return its path; None if it could not be saved, which the banner shows."""
        conversation, file = self.conversation, self._file
        try:
            async with self._writing:  # one after the other, so that the newest is written last
                path = await asyncio.to_thread(file.save, conversation, name)
        except StoreError as error:
            self.post_message(WriteRefused(error, self._save_changes))
            return None
        self._saved = conversation
        return path

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if action in NOT_WHILE_ANSWERING and self.busy:
            return "an answer is still running: {talk.stop} stops it"
        if action in ("take_back", "save", "export_example", "copy_answers") and not self.conversation.exchanges:
            return "nothing has been said in this chat yet"
        return super().why_not(action, parameters)

    def action_leave(self) -> None:
        """Stop the answer; if there is none, leave the screen."""
        if self.busy and self.connection.loaded is not None and not self._stopping:
            self.action_stop_answer()
        else:
            self._leave()

    @work(group="leave", exclusive=True)
    async def _leave(self) -> None:
        if self.busy:
            self.end_answers()
        if await self._may_discard("Leave", typed=True):
            self.app.pop_screen()

    async def _may_discard(self, verb: str, *, typed: bool = False) -> bool:
        """Return True if nothing is lost or the person agrees; with `typed` also typed text that is no draft."""
        saved = self._saved is self.conversation or not self.conversation.exchanges
        if not saved and not self.cockpit.readonly and not self.can_try_again:
            saved = await self._save() is not None
            if not saved:
                return False  # the banner says why; the next time the person is asked
        lost = [] if saved else ["this chat, which is not saved"]
        lost += ["what you typed"] if typed and not await self.is_kept() else []
        if not lost:
            return True
        question = f"{verb} and lose {' and '.join(lost)}?"
        yes = await self.app.push_screen_wait(ConfirmScreen(question, verb))
        return yes is True

    def _allowed(self, check: Callable[[], object]) -> bool:
        """Return True if `check` raises nothing; show the error it raises."""
        try:
            check()
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return False
        return True

    def action_base(self) -> None:
        if self.conversation.has_base:
            self._replace(self.conversation.with_base(False))
        elif self._allowed(lambda: check_base(self._rounds, self.conversation)):
            self._replace(self.conversation.with_base(True))

    def _replace(self, conversation: Chat) -> None:
        self.conversation = conversation
        self.silent.pop(BASE, None)
        self.show()

    async def action_settings(self) -> None:
        def chosen(settings: ChatSettings | None) -> None:
            if settings is not None:
                self.conversation = self.conversation.with_settings(settings)
                self.show()

        drafting = await self.begin_draft("settings of a chat")
        self.app.push_screen(ChatSettingsScreen(self.conversation.settings, drafting), chosen)

    def action_take_back(self) -> None:
        if self.message.value.strip():
            self.notify("send the typed message or clear it with ctrl+u first", severity="warning", markup=False)
            return
        self.conversation, message = self.conversation.without_last()
        self.message.put(message)
        self.show()

    @work(group="leave", exclusive=True)
    async def action_start_again(self) -> None:
        if await self._may_discard("Start a new chat"):
            self._switch_to(self.conversation.restarted(time.time()), ChatFile(self.cockpit.workspace), self.silent)

    def _switch_to(self, conversation: Chat, file: ChatFile, silent: dict[str, str]) -> None:
        """Go on with another chat; a model that is loaded is used again if it has all its speakers."""
        available = {BASE, *(speaker.key for speaker in self.conversation.speakers)}
        same = self.conversation.model == conversation.model and available.issuperset(
            speaker.key for speaker in conversation.speakers
        )
        self.conversation = self._saved = conversation
        self._file, self.silent = file, silent
        self.give_up_refused()
        if same and self.connection.is_loading:
            self.show()
        elif same and self.connection.loaded is not None:
            self.silent = self.connection.loaded.unusable | silent
            self.show()
        else:
            self.open_model()

    @work(group="save", exclusive=True)
    async def action_save(self) -> None:
        if not self._allowed(self.cockpit.store.check_writable):
            return
        name = self._file.name or default_name(self.conversation)
        drafting = await self.begin_draft("name of a chat")
        chosen = await self.app.push_screen_wait(AskScreen("Save the chat as", name, check_name, drafting))
        if chosen is not None and (path := await self._save(chosen)) is not None:
            self.post_message(ActionDone(f"the chat is saved in {path}"))
            self.show()

    @work(group="leave", exclusive=True)
    async def action_open_saved(self) -> None:
        try:
            chats = await asyncio.to_thread(find_conversations, self.cockpit.workspace)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        if not chats:
            self.notify("this workspace has no saved chats yet", markup=False)
            return
        options = [
            (chat.path.stem, summary_of(chat.conversation) if chat.conversation is not None else chat.problem)
            for chat in chats
        ]
        index = await self.app.push_screen_wait(ChooseScreen("Open a chat", options))
        if index is not None and await self._may_discard("Open another chat"):
            await self._open_saved(chats[index].path)

    async def _open_saved(self, path: Path) -> None:
        file = ChatFile(self.cockpit.workspace)
        try:
            conversation = await asyncio.to_thread(file.read, path)
            conversation, silent = await asyncio.to_thread(
                find_speakers, self.cockpit.workspace, self._rounds, conversation
            )
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        self._switch_to(conversation, file, silent)

    def action_export_example(self) -> None:
        if self._allowed(self.cockpit.store.check_writable):
            export_example(self, self.conversation)

    def action_copy_answers(self) -> None:
        answers = {key: answer.text for key, answer in self.conversation.exchanges[-1].answers.items() if answer.text}
        if not answers:
            self.notify("no answer to copy yet", markup=False)
        elif len(answers) == 1:
            self.copy("the last answer", next(iter(answers.values())))
        else:
            named = [f"{self.conversation.called(key)}:\n{text}" for key, text in answers.items()]
            self.copy("the last answers", "\n\n".join(named))
