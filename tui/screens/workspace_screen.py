"""What the screens over a workspace share: asking the cockpit from a worker, and telling how it went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from textual import on, work
from textual.message import Message
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label

from engine.alerts.run_monitor import RunProgress
from engine.api import Cockpit
from engine.errors import LoratuiError, StoreError
from engine.spec.round import STOPPABLE, Round, Status
from tui.messages import ActionDone, ActionFailed, WriteRefused
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.terminal.console import clean
from tui.widgets.banner import Banner

if TYPE_CHECKING:
    from tui.screens.dialogs.copy import Copy

WRITING = frozenset(
    {"new", "start", "stop", "resume", "hold", "remove", "undo", "pin", "edit", "export", "move", "run_next"}
)  # actions that change something in the workspace

MAX_COPIED_BYTES = 56_000  # which are 74,668 in base64; xterm takes 74,994, and others no more


class WorkspaceScreen(Screen[None]):
    """A screen over one workspace. Blocking work is done in workers; what comes back is a message."""

    # Textual's own has all of the screen drawn anew; the widgets that lose the focus and get it draw themselves.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__()
        self.cockpit = cockpit
        self._refused: WriteRefused | None = None
        self._notices: Sequence[str] = ()

    def on_mount(self) -> None:
        self.mount(Banner())
        self._show_banner()
        if self.cockpit.readonly:
            self.mount(Label("read-only", id="read-only", markup=False))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would change the workspace are not there where it is open for reading only."""
        return not (self.cockpit.readonly and action in WRITING)

    @property
    def unsaved(self) -> bool:
        """Whether leaving would lose something the person typed."""
        return False

    @property
    def parting(self) -> str:
        """What to tell a person who leaves in the midst of something, which is kept."""
        return ""

    @property
    def lost_by_leaving(self) -> str:
        """What leaving would throw away, in words; "" for nothing."""
        return "what you typed" if self.unsaved else ""

    def show_rounds(self, rounds: Sequence[Round]) -> None:
        """The store was read; a screen that shows rounds takes them here."""

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        """The running rounds, by number, have advanced; a screen that shows it takes it here."""

    def show_unreadable(self, error: LoratuiError) -> None:
        """The store cannot be read; what is shown stays as it was, and a notice tells of it."""

    def show_notices(self, notices: Sequence[str]) -> None:
        """What is wrong with the store, for as long as it is or until the person dismisses it."""
        self._notices = notices
        self._show_banner()

    def go_on_to(self, screen: WorkspaceScreen) -> None:
        """Show `screen` on top of this one, with what this one has to tell of the store."""
        screen.show_notices(self._notices)
        self.app.push_screen(screen)

    @property
    def troubled(self) -> bool:
        """Whether there is anything to dismiss."""
        return bool(self._refused or self._notices)

    @property
    def can_try_again(self) -> bool:
        """Whether something that was asked for here could not be written."""
        return self._refused is not None

    def try_again(self) -> None:
        """Do what could not be written once more."""
        if (refused := self._refused) is not None:
            self.forget_refused()
            refused.again()

    def forget_refused(self) -> None:
        """Give up what could not be written."""
        self._refused = None
        self._show_banner()

    def _show_banner(self) -> None:
        refused = [f"{self._refused.error.message} (Ctrl+T tries again)"] if self._refused else []
        for banner in self.query(Banner):
            banner.show([*refused, *self._notices])
        self.refresh_bindings()

    @on(WriteRefused)
    def _keep_refused(self, event: WriteRefused) -> None:
        self._refused = event
        self._show_banner()

    @work(thread=True, group="cockpit")
    def carry_out(self, action: Callable[[], Round], done: Callable[[Round], Message]) -> None:
        """Do `action` and post `done` of its round, or why it could not be done."""
        try:
            self.post_message(done(action()))
        except StoreError as error:
            self.post_message(WriteRefused(error, lambda: self.carry_out(action, done)))
        except LoratuiError as error:
            self.post_message(ActionFailed(error))

    def ask_to_stop(self, round_: Round | None) -> None:
        """Stop a round after asking; a queued one is only taken out of the queue."""
        if round_ is None or round_.status not in STOPPABLE:
            return
        running = round_.status is Status.RUNNING
        how = "It finishes its step and keeps adapter and checkpoint." if running else "It has not begun."

        def answered(yes: bool | None) -> None:
            if yes:
                self.carry_out(lambda: self.cockpit.stop(round_.number), _tell_status)

        self.app.push_screen(ConfirmScreen(f"Stop round {round_.number}? {how}", "Stop"), answered)

    @work(thread=True, exclusive=True, group="copy")
    def offer_copies(self, round_: Round, tabled: Sequence[Round]) -> None:
        """Let the person choose what of `round_` to copy, or the table of some rounds."""
        from tui.screens.dialogs.copy import CopyScreen, copies_of

        try:
            copies = copies_of(round_, self.cockpit.store.rounds(), tabled, self.cockpit.workspace)
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        self.app.call_from_thread(self.app.push_screen, CopyScreen(copies), self._copied)

    def _copied(self, copy: Copy | None) -> None:
        if copy is not None:
            self.copy(copy.title, copy.text)

    def copy(self, what: str, text: str) -> None:
        """Put `text` into the clipboard of the terminal; `what` it is, is told."""
        if len(text.encode()) > MAX_COPIED_BYTES:
            self.post_message(ActionFailed(LoratuiError(f"{what}: too long for a terminal's clipboard: export it")))
            return
        self.app.copy_to_clipboard(text)
        self.post_message(ActionDone(f"copied: {what}"))

    @on(ActionDone)
    def _tell_done(self, event: ActionDone) -> None:
        self.notify(clean(event.text), markup=False)

    @on(ActionFailed)
    def _tell_failed(self, event: ActionFailed) -> None:
        self.notify(clean(event.error.message), title=event.error.title, severity="error", timeout=10, markup=False)


def _tell_status(round_: Round) -> Message:
    return ActionDone(f"round {round_.number} is {round_.status}")
