"""The rounds that run, with their progress, and those that wait: one line, to go from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.style import Style
from textual.widgets import Static

from engine.alerts.run_monitor import RunProgress
from engine.spec.round import ACTIVE, Round, Status, in_queue_order
from engine.text.humanize import format_duration
from tui.terminal.console import clean_line

# Cells of the bar, characters of a name, and whether the remaining time is shown: the first that fits is used.
DETAIL = ((8, 20, True), (8, 12, True), (6, 12, False), (4, 8, False), (0, 8, False), (0, 0, False))
NUMBER = "round"  # a key of the style's meta data: which round is under the mouse


def reachable(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds that run, by number, and those that are queued, in the order of the queue."""
    running = [round_ for round_ in rounds if round_.status in ACTIVE]
    return [*running, *in_queue_order(round_ for round_ in rounds if round_.status is Status.QUEUED)]


class RunStrip(Static):
    """The rounds as one line; it is hidden unless there is another round to go to."""

    DEFAULT_CSS = """
    RunStrip { height: 1; padding: 0 1; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    class RoundClicked(Message):
        """A round was clicked; `round` is as the strip has it."""

        def __init__(self, round_: Round) -> None:
            super().__init__()
            self.round = round_

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._rounds: Sequence[Round] = ()
        self._progress: Mapping[int, RunProgress] = {}
        self._shown: int | None = None
        self._painted = ""

    def show_rounds(self, rounds: Sequence[Round], shown: int) -> None:
        """Show the rounds; `shown` is the number of the one on the screen."""
        self._rounds, self._shown = reachable(rounds), shown
        self.display = any(round_.number != shown for round_ in self._rounds)
        self._draw()

    def show_progress(self, progress: Mapping[int, RunProgress]) -> None:
        """Show the progress of the running rounds, by number."""
        self._progress = progress
        self._draw()

    def on_resize(self, event: Resize) -> None:
        self._draw()

    def on_click(self, event: Click) -> None:
        event.stop()
        number = event.style.meta.get(NUMBER)
        for round_ in self._rounds:
            if round_.number == number:
                self.post_message(self.RoundClicked(round_))

    def _draw(self) -> None:
        if not self.display:
            return
        width = self.content_size.width or self.size.width
        for detail in DETAIL:
            line = self._line(*detail)
            if line.cell_length <= width:
                break
        if line.plain != self._painted:
            self._painted = line.plain
            self.update(line, layout=False)

    def _line(self, bar: int, name: int, time: bool) -> Content:
        running = [round_ for round_ in self._rounds if round_.status in ACTIVE]
        parts = []
        for round_ in running:  # the header shows the remaining time of the round on the screen
            progress = self._progress.get(round_.number, RunProgress())
            bar_text = how_far(progress, bar, time and round_.number != self._shown)
            parts.append(_of_round(round_, Content.assemble(self._named(round_, name), " ", bar_text)))
        queued = [round_ for round_ in self._rounds if round_.status is Status.QUEUED]
        if waiting := [_of_round(round_, self._named(round_, name)) for round_ in queued]:
            parts.append(Content.assemble(("next ", "$text-muted"), Content(", ").join(waiting)))
        return Content.assemble(("J K ", "bold $text-accent"), Content(" │ ").join(parts))

    def _named(self, round_: Round, characters: int) -> Content:
        """Return number and name of a round, with an arrow if it is the one on the screen."""
        name = clean_line(round_.name)
        if len(name) > characters:
            name = f"{name[: characters - 1].rstrip()}…" if characters else ""
        here = round_.number == self._shown
        return Content.styled(f"{'▶' if here else ''}{round_.number} {name}".rstrip(), "bold" if here else "")


def _of_round(round_: Round, content: Content) -> Content:
    """Return `content`, which carries the round's number, so that a click finds the round."""
    return content.stylize(Style.from_meta({NUMBER: round_.number}))


def how_far(progress: RunProgress, bar: int, time: bool) -> Content:
    """Return a bar of `bar` cells, the share and the remaining time; before the first step, the phase."""
    step, total = progress.step, progress.total_steps
    if step is None:
        return Content.styled(progress.phase or "starting", "$text-muted")
    if not total:
        return Content(f"step {step:,}")
    filled = min(bar, bar * step // total)
    words = f"{100 * step // total} %"
    if progress.phase:
        words += f" {progress.phase}"
    elif time and progress.remaining_seconds is not None:
        words += f" {format_duration(progress.remaining_seconds)} left"
    return Content.assemble(
        ("█" * filled, "$text-primary"), ("░" * (bar - filled), "$text-muted"), " " * bool(bar), words
    )
