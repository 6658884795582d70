"""The app: it holds the workspace, passes on what the store says, and knows which screen comes next."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.worker import WorkerFailed

from engine.alerts.run_monitor import Alarm, Kind, RunProgress, endings
from engine.api import Cockpit
from engine.errors import LoratuiError, StoreMissing
from engine.spec.round import ACTIVE, Round
from engine.system.process import has_shell_to_continue_it
from tui.messages import NewRoundWanted, RoundQueued, RoundsRead, RunsWatched, RunWanted, StoreUnreadable
from tui.painting_app import PaintingApp
from tui.pollers import watch_runs
from tui.screens.dialogs.confirm import confirm
from tui.screens.dialogs.too_small import cover_if_small, leave_covered, uncover
from tui.screens.form.open import open_form
from tui.screens.rounds.screen import RoundsScreen
from tui.screens.workspace_screen import WorkspaceScreen
from tui.settings.config import Config
from tui.terminal.bell import alert_sequence
from tui.terminal.console import clean
from tui.terminal.crash_log import record_crash

CRASHED = 1
PREPARE_SECONDS = 0.3  # after the first table, so that its painting and a first key do not wait
SEVERITIES: dict[Kind, SeverityLevel] = {
    Kind.FINISHED: "information", Kind.FAILED: "error", Kind.NAN: "error", Kind.PLATEAU: "warning",
}  # fmt: skip


class LoratuiApp(PaintingApp):
    """The cockpit over one workspace. Its return value is a last sentence for the terminal, or None."""

    TITLE = "loratui"
    CSS_PATH = "app.tcss"
    # Textual annotates it as an attribute of instances.
    VERTICAL_BREAKPOINTS: ClassVar[list[tuple[int, str]]] = [(0, "-low"), (22, "-high")]  # type: ignore[misc]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit", tooltip="Leave loratui; training goes on", id="app.quit"),
        Binding(
            "ctrl+z",
            "suspend_process",
            "Suspend",
            show=False,
            tooltip="Go to the shell; fg returns here",
            id="app.suspend",
        ),
        Binding("ctrl+l", "repaint", "Redraw", show=False, tooltip="Draw the whole screen again", id="app.repaint"),
        Binding("question_mark", "help", "Help", tooltip="Show the keys of this screen", id="app.help"),
        Binding(
            "colon,ctrl+p",
            "palette",
            "Commands",
            tooltip="Find an action by typing",
            id="app.palette",
            show=False,
        ),
        Binding(
            "ctrl+t", "try_again", "Try again", tooltip="Try again to write what could not be written", id="app.again"
        ),
        Binding("ctrl+g", "dismiss", "Dismiss", tooltip="Hide the banner and the messages", id="app.dismiss"),
    ]

    def __init__(self, cockpit: Cockpit, directory: Path, settings: Config | None = None) -> None:
        super().__init__(settings)
        self.cockpit = cockpit
        self._directory = directory
        self._reported_size: Size | None = None
        self._rounds: Sequence[Round] = ()
        self._was_read = False
        self._progress: Mapping[int, RunProgress] = {}
        self._watching = self._is_prepared = False
        self._store_notices: Sequence[str] = ()
        self._notices: list[str] = []
        self._dismissed: set[str] = set()

    def get_default_screen(self) -> Screen[None]:
        return RoundsScreen(self.cockpit)

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, lambda _: self.action_repaint())  # the shell has drawn over it
        self.cockpit.drafts.report = lambda sentence: self.call_later(self._add_problems, [sentence])
        self._show_notices(())
        if self.settings.keys:
            self.find_unknown_keys()
            self.check_keys()
        self.screen_change_signal.subscribe(self, self._screen_changed)

    def problems_found(self) -> None:
        self._show_notices(self._store_notices)

    def on_resize(self, event: Resize) -> None:
        """Draw the screen again even at the same size: a terminal that was smaller for a moment lost cells."""
        self._frame_diff.forget()
        if event.size == self._reported_size:
            self.refresh(layout=True)
        self._reported_size = event.size
        self._cover_if_small()

    def _cover_if_small(self) -> None:
        cover_if_small(self, self._reported_size or self.size)

    def action_leave_covered(self) -> None:
        self.call_later(leave_covered, self, self._reported_size or self.size)

    @property
    def _workspace_screens(self) -> list[WorkspaceScreen]:
        """The screens over the workspace, the lowest first."""
        return [screen for screen in self.screen_stack if isinstance(screen, WorkspaceScreen)]

    def _screen_changed(self, _: Screen[object]) -> None:
        self.check_keys()
        self.call_later(self._cover_if_small)

    def _handle_exception(self, error: Exception) -> None:
        """Leave on an error that nobody caught, with a sentence instead of a traceback; overrides Textual's hook."""
        if self.is_headless:
            super()._handle_exception(error)  # it hands the error to the test
            return
        message = record_crash(error.error if isinstance(error, WorkerFailed) else error)
        if not self._exit:  # an error of widgets that are being removed is in the file; nobody needs the sentence
            self.exit(message, CRASHED)

    @on(RoundsRead)
    def _show_rounds(self, event: RoundsRead) -> None:
        alarms, self._rounds, self._was_read = endings(self._rounds, event.rounds), event.rounds, True
        if not self._watching and any(round_.status in ACTIVE for round_ in event.rounds):
            self._watching = True
            self._watch_runs()
        for alarm in alarms:
            self._notify_of(alarm)
        for screen in self._workspace_screens:
            screen.show_rounds(event.rounds)
        self._show_notices(event.notices)
        self.call_after_refresh(self._prepare)

    def _prepare(self) -> None:
        if not self._is_prepared:
            self._is_prepared = True
            self.set_timer(PREPARE_SECONDS, self._import_ahead)

    @work(thread=True, exit_on_error=False, group="ahead")
    def _import_ahead(self) -> None:
        """Import the screen of a run, for which the key that opens it would wait a fifth of a second."""
        try:
            import tui.screens.run.screen  # noqa: F401  # to have it
        finally:
            _collect_garbage()

    @work(thread=True, group="watch")
    def _watch_runs(self) -> None:
        """Watch the running rounds, from the first one on until the app ends."""
        watch_runs(self.cockpit, lambda: [each for each in self._rounds if each.status in ACTIVE], self.post_message)

    @on(RunsWatched)
    def _show_progress(self, event: RunsWatched) -> None:
        self._progress = event.progress
        for screen in self._workspace_screens:
            screen.show_progress(event.progress)
        for alarm in event.alarms:
            self._notify_of(alarm)

    def _notify_of(self, alarm: Alarm) -> None:
        """Notify the person, whatever screen or other window they look at."""
        if alarm.kind not in self.settings.notify.on:
            return
        self.announce(clean(alarm.message), SEVERITIES[alarm.kind])
        if self._driver is not None:
            self._driver.write(alert_sequence(self.settings.notify, alarm.message))

    @on(StoreUnreadable)
    def _show_unreadable(self, event: StoreUnreadable) -> None:
        missing = isinstance(event.error, StoreMissing)
        if missing and not self._was_read:
            self._offer_store()
            return
        for screen in self._workspace_screens:
            screen.show_unreadable(event.error)
        moved = "; it was there before, and this app goes on once it is back" if missing else ""
        self._show_notices([event.error.message + moved])
        self.call_after_refresh(self._prepare)

    def _show_notices(self, notices: Sequence[str]) -> None:
        """Show the store's notices and the problems of the settings, except those that a person dismissed."""
        self._store_notices = notices
        sentences = [*notices, *self.problems]
        self._dismissed &= set(sentences)
        self._notices = [text for text in sentences if text not in self._dismissed]
        for screen in self._workspace_screens:
            self._with_notices(screen)

    def _with_notices(self, screen: WorkspaceScreen) -> WorkspaceScreen:
        screen.show_notices(self._notices)
        return screen

    def _offer_store(self) -> None:
        def answered(yes: bool | None) -> None:
            if not yes:
                self.exit()
                return
            try:
                self.cockpit.rebuild()  # it brings back rounds from an older file or from runs/
            except LoratuiError as error:
                self.exit(error.message, return_code=2)

        if self.cockpit.readonly:
            place = self.cockpit.workspace.root
            self.exit(f"{place} has no experiments.json: leave --readonly out to make one", return_code=2)
            return
        from tui.screens.dialogs.welcome import WelcomeScreen

        workspace = self.cockpit.workspace
        self.push_screen(WelcomeScreen(workspace.root, workspace.runs_dir.exists()), answered)

    @on(NewRoundWanted)
    async def _start_new(self, event: NewRoundWanted) -> None:
        if isinstance(self.screen, WorkspaceScreen):
            await open_form(self.screen, event.selected, self._rounds, self._directory)

    @on(RunWanted)
    def _open_run(self, event: RunWanted) -> None:
        self.push_screen(self._live_screen(event.round))

    def _live_screen(self, round_: Round) -> WorkspaceScreen:
        from tui.screens.run.screen import LiveScreen

        screen = LiveScreen(self.cockpit, round_)
        screen.show_rounds(self._rounds)
        screen.show_progress(self._progress)
        return self._with_notices(screen)

    @on(RoundQueued)
    def _watch_queued(self, event: RoundQueued) -> None:
        uncover(self)
        if isinstance(below := self.screen_stack[0], RoundsScreen):
            below.select(event.round.number)  # so that a key after `esc` means the new round
        self.switch_screen(self._live_screen(event.round))

    async def action_quit(self) -> None:
        """Leave; ask first if that would lose something."""
        screens = self._workspace_screens
        await screens[0].is_kept()  # what is kept as a draft is not lost
        lost = dict.fromkeys(screen.lost_by_leaving for screen in screens if screen.lost_by_leaving)
        if not lost:
            self.exit(next((screen.exit_message for screen in screens if screen.exit_message), None))
            return
        confirm(self, f"Leave and throw away {' and '.join(lost)}?", "Leave", self.exit)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the keys of the banner only while it is shown."""
        return not self.why_not(action, parameters)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        screen = self.screen if isinstance(self.screen, WorkspaceScreen) else None
        if action == "try_again" and not (screen and screen.can_try_again):
            return "there is nothing to try again: everything was written"
        if action == "dismiss" and not (self.has_messages or (screen and screen.has_banner)):
            return "there is no message to hide"
        if action == "suspend_process" and not has_shell_to_continue_it():
            return "no shell started loratui here, so nothing could bring it back: q leaves it, and training goes on"
        return ""

    def action_try_again(self) -> None:
        if isinstance(self.screen, WorkspaceScreen):
            self.screen.try_again()

    def action_dismiss(self) -> None:
        """Hide messages and notices; those of the store that can be dismissed never come back."""
        self.clear_notifications()
        if isinstance(self.screen, WorkspaceScreen):
            self.screen.give_up_refused()
        self._dismissed |= set(self._notices)
        self._show_notices(self._store_notices)
        self._dismiss_in_store()

    @work(thread=True, exit_on_error=False, group="dismiss")
    def _dismiss_in_store(self) -> None:
        with suppress(LoratuiError):
            self.cockpit.store.dismiss()


def _collect_garbage() -> None:
    """Turn garbage collection on, for objects made from now on: a pass over the older ones delays a key by 50 ms."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
