"""Which rounds run, how far they are, and what waits next: one line, to go from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from engine.rounds import ACTIVE, Round, Status, in_queue_order
from engine.units import format_duration
from engine.watch import Progress
from tui.plain import clean_line

BAR_CELLS = 8
NAME_CHARACTERS = 20


def reachable(rounds: Sequence[Round]) -> list[Round]:
    """The rounds that run, by number, and those that are queued, as their turns come."""
    running = [round_ for round_ in rounds if round_.status in ACTIVE]
    return [*running, *in_queue_order(round_ for round_ in rounds if round_.status is Status.QUEUED)]


class RunStrip(Static):
    """Hidden where there is no other round to go to."""

    DEFAULT_CSS = """
    RunStrip { height: 1; padding: 0 1; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._rounds: Sequence[Round] = ()
        self._progress: Mapping[int, Progress] = {}
        self._shown: int | None = None
        self._told = ""

    def show_rounds(self, rounds: Sequence[Round], shown: int) -> None:
        """The rounds there are, and the number of the one on the screen."""
        self._rounds, self._shown = reachable(rounds), shown
        self.display = any(round_.number != shown for round_ in self._rounds)
        self._draw()

    def show_progress(self, progress: Mapping[int, Progress]) -> None:
        """How far the running ones are, by number."""
        self._progress = progress
        self._draw()

    def on_resize(self, event: Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        if not self.display:
            return
        parts = [self._described(round_) for round_ in self._rounds if round_.status in ACTIVE]
        waiting = [round_ for round_ in self._rounds if round_.status is Status.QUEUED]
        if waiting:
            names = Content(", ").join([self._named(round_) for round_ in waiting])
            parts.append(Content.assemble(("next ", "$text-muted"), names))
        line = Content.assemble(("J K ", "bold $text-accent"), Content(" │ ").join(parts))
        if line.plain != self._told:
            self._told = line.plain
            self.update(line, layout=False)

    def _described(self, round_: Round) -> Content:
        progress = self._progress.get(round_.number, Progress())
        return Content.assemble(self._named(round_), " ", how_far(progress))

    def _named(self, round_: Round) -> Content:
        """The one on the screen is marked by an arrow."""
        name = f" {clean_line(round_.name)[:NAME_CHARACTERS]}" if round_.name else ""
        here = round_.number == self._shown
        return Content.styled(f"{'▶' if here else ''}{round_.number}{name}", "bold" if here else "")


def how_far(progress: Progress) -> Content:
    """A bar, the share, and the time that is left; or what it does before its first step."""
    step, total = progress.step, progress.total_steps
    if step is None:
        return Content.styled(progress.phase or "starting", "$text-muted")
    if not total:
        return Content(f"step {step:,}")
    filled = min(BAR_CELLS, BAR_CELLS * step // total)
    left = progress.remaining_seconds
    what = progress.phase or (f"{format_duration(left)} left" if left is not None else "")
    return Content.assemble(
        ("█" * filled, "$text-primary"), ("░" * (BAR_CELLS - filled), "$text-muted"), f" {100 * step // total} % {what}"
    )
