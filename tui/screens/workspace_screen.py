"""The base of the screens over a workspace: calling the cockpit in a worker, and showing how that went."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from textual import on, work
from textual.events import Paste
from textual.message import Message
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.errors import LoratuiError, StoreError
from engine.files.drafts import Draft, Drafting
from engine.spec.round import STOPPABLE, Round, Status
from tui.messages import ActionDone, ActionFailed, WriteRefused
from tui.screens.dialogs.confirm import confirm
from tui.settings.bindings import key_of
from tui.terminal.clipboard import as_bytes
from tui.terminal.compositor import ChangesCompositor
from tui.terminal.console import clean
from tui.widgets.banner import Banner
from tui.widgets.current_size import CurrentSize
from tui.widgets.message_line import MessageLine

if TYPE_CHECKING:
    from tui.screens.dialogs.copy import Copy

T = TypeVar("T")
WRITING = frozenset(
    {"new", "start", "stop", "resume", "hold", "remove", "undo", "pin", "edit", "export", "move", "run_next"}
)  # actions that change something in the workspace
CARRIED_OUT = "cockpit"  # the group of the workers that call it
READ_ONLY = "this workspace is open for reading only: start loratui without --readonly to change it"
DRAFT_SECONDS = 1.0  # that a field waits for its draft from a slow disk
MAX_COPIED_BYTES = 56_000  # 74,668 in base64; xterm accepts 74,994, and other terminals no more than that


class WorkspaceScreen(CurrentSize, Screen[None]):
    """A screen over one workspace. Blocking work runs in workers, which post messages back."""

    # Textual redraws all of the screen when the focus moves; here the two widgets concerned redraw themselves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__()
        self._compositor = ChangesCompositor()
        self.cockpit = cockpit
        self._refused: WriteRefused | None = None
        self._notices: Sequence[str] = ()

    def on_mount(self) -> None:
        self.mount(Banner(), MessageLine())
        self._show_banner()
        if self.cockpit.readonly:
            self.add_class("-read-only")
            self.mount(Label("read-only", id="read-only", markup=False))

    def on_resize(self) -> None:
        for banner in self.query(Banner):
            self.call_after_refresh(banner.draw)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        """Return a sentence on why `action` cannot be done now, which its key then says; "" if it can be done.

        The id of a binding in braces stands for its key.
        """
        return READ_ONLY if self.cockpit.readonly and action in WRITING else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that would change the workspace where it is read-only; dim those that cannot be done now."""
        if self.cockpit.readonly and action in WRITING:
            return False
        return None if self.why_not(action, parameters) else True

    @property
    def unsaved(self) -> bool:
        """True if leaving would lose something the person typed."""
        return False

    @property
    def exit_message(self) -> str:
        """A sentence for a person who leaves in the middle of something that is saved; "" for none."""
        return ""

    @property
    def lost_by_leaving(self) -> str:
        """A phrase for what leaving would lose; "" for nothing."""
        return "what you typed" if self.cockpit.drafts.unwritten else ""

    async def begin_draft(self, field: str, most: int = 1) -> Drafting:
        """Begin to keep what is typed into `field`, and continue the newest of its drafts, at most so many."""
        return self.cockpit.drafts.edit(field, (await self.find_drafts(field))[:most])

    async def find_drafts(self, field: str) -> list[Draft]:
        """Return the drafts of `field`, the newest first; none if the disk does not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAFT_SECONDS):
                return await asyncio.to_thread(self.cockpit.drafts.offered, field)
        return []

    async def is_kept(self) -> bool:
        """Write what was typed now; returns True if it is on the disk as a draft."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAFT_SECONDS):
                await asyncio.to_thread(self.cockpit.drafts.flush)
        return not self.cockpit.drafts.unwritten

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """Take the rounds of the store, now and after every change; for a screen that shows them."""

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        """Take the progress of the running rounds, by number; for a screen that shows it."""

    def show_unreadable(self, error: LoratuiError) -> None:
        """Take the reason why the store cannot be read; the banner shows it as well."""

    def show_notices(self, notices: Sequence[str]) -> None:
        """Show in the banner what is wrong with the store, until that ends or the person dismisses it."""
        self._notices = notices
        self._show_banner()

    def open_above(self, screen: WorkspaceScreen) -> None:
        """Open `screen` above this one, with the same notices in its banner."""
        screen.show_notices(self._notices)
        self.app.push_screen(screen)

    @property
    def has_banner(self) -> bool:
        """True if there is a banner to dismiss."""
        return bool(self._refused or self._notices)

    @property
    def can_try_again(self) -> bool:
        """True if a change could not be written and can be tried again."""
        return self._refused is not None

    def try_again(self) -> None:
        """Try once more to make the change that could not be written."""
        if (refused := self._refused) is not None:
            self.give_up_refused()
            refused.again()

    def give_up_refused(self) -> None:
        """Give up the change that could not be written."""
        self._refused = None
        self._show_banner()

    def _show_banner(self) -> None:
        refused = [f"{self._refused.error.message} ({key_of(self, 'app.again')} tries again)"] if self._refused else []
        for banner in self.query(Banner):
            banner.show([*refused, *self._notices])
        self.refresh_bindings()

    @on(WriteRefused)
    def _show_refused(self, event: WriteRefused) -> None:
        self._refused = event
        self._show_banner()

    @work(thread=True, group=CARRIED_OUT)
    def carry_out(self, action: Callable[[], T], done: Callable[[T], Message]) -> None:
        """Call `action` in a thread and post `done` of what it returns, or post the error."""
        try:
            self.post_message(done(action()))
        except StoreError as error:
            self.post_message(WriteRefused(error, lambda: self.carry_out(action, done)))
        except LoratuiError as error:
            self.post_message(ActionFailed(error))

    @property
    def is_carrying_out(self) -> bool:
        """True while an action of this screen is carried out."""
        return any(worker.node is self and worker.group == CARRIED_OUT and worker.is_running for worker in self.workers)

    def ask_to_stop(self, round_: Round | None) -> None:
        """Ask whether to stop a round, and stop it. A queued one leaves the queue."""
        if round_ is None or round_.status not in STOPPABLE:
            return
        running = round_.status is Status.RUNNING
        effect = "It finishes its step and saves adapter and checkpoint." if running else "It has not started yet."

        def stop() -> None:
            self.carry_out(lambda: self.cockpit.stop(round_.number), _status_message)

        confirm(self.app, f"Stop round {round_.number}? {effect}", "Stop", stop)

    @work(thread=True, exclusive=True, group="copy")
    def offer_copies(self, round_: Round, in_table: Sequence[Round]) -> None:
        """Let the person choose what to copy: something of `round_`, or a table of the rounds `in_table`."""
        from tui.screens.dialogs.copy import CopyScreen, copies_of

        try:
            copies = copies_of(round_, self.cockpit.store.rounds(), in_table, self.cockpit.workspace)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        self.app.call_from_thread(self.app.push_screen, CopyScreen(copies), self._copied)

    def _copied(self, copy: Copy | None) -> None:
        if copy is not None:
            self.copy(copy.title, copy.text)

    def copy(self, title: str, text: str) -> None:
        """Copy `text` to the clipboard of the terminal, and say so by its `title`."""
        if len(as_bytes(text)) > MAX_COPIED_BYTES:
            refusal = LoratuiError(f"{title} is too long for a terminal's clipboard: export it instead")
            self.post_message(ActionFailed(refusal))
            return
        self.app.copy_to_clipboard(text)
        self.post_message(ActionDone(f"copied: {title}"))

    def on_paste(self, event: Paste) -> None:
        """Say that a pasted text went nowhere, if no field took it."""
        if event.text.strip():
            self.notify("nothing was pasted: no field to type into is open", severity="warning", markup=False)

    @on(ActionDone)
    def _show_done(self, event: ActionDone) -> None:
        self.notify(clean(event.text), markup=False)

    @on(ActionFailed)
    def _show_failed(self, event: ActionFailed) -> None:
        self.notify(clean(event.error.message), title=event.error.title, severity="error", timeout=10, markup=False)


def _status_message(round_: Round) -> Message:
    return ActionDone(f"round {round_.number} is {round_.status}")
