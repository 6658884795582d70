"""Rounds in the order in which people prefer their answers, for the screen and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from engine.preference.ranking import WORTH_EXPLAINED, Place, Ranking, worth_text
from engine.preference.win_rate import interval_text
from tui.terminal.console import clean_line

TITLES = ("place", "round", "judgements", "preferred", "95 %", "worth", "95 %", "name")
ALL_COLUMNS = tuple(range(len(TITLES)))
COLUMNS_BY_WIDTH = (ALL_COLUMNS, (1, 2, 3, 4, 7), (1, 3, 4, 7))  # the widest first; the order of rows is the place
LEAST_NAME = 14  # cells for a name, which is wrapped, and before it
ANY_WIDTH = 10_000


class RankingTable:
    """The table of a ranking, without some columns where they do not fit: it is drawn anew for each width."""

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - LEAST_NAME
        fitting = (columns for columns in COLUMNS_BY_WIDTH if self._width_of(columns[:-1], console, options) <= room)
        yield ranking_table(self._ranking, next(fitting, COLUMNS_BY_WIDTH[-1]))

    def _width_of(self, columns: Sequence[int], console: Console, options: ConsoleOptions) -> int:
        """Return the cells that `columns` need, of which none can be cut."""
        table = ranking_table(self._ranking, columns)
        return Measurement.get(console, options.update_width(ANY_WIDTH), table).minimum


def ranking_table(ranking: Ranking, columns: Sequence[int] = ALL_COLUMNS) -> Table:
    """Return a table with a row for each judged round or base model, the best first.

    Args:
        columns: which are shown, as places in `TITLES`.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (TITLES[column] for column in columns):
        table.add_column(title, justify="left" if title in ("round", "name") else "right", no_wrap=title != "name")
    for number, place in enumerate(ranking.places, 1):
        cells = _cells(number, place)
        table.add_row(*(Text(clean_line(cells[column])) for column in columns))
    return table


def _cells(number: int, place: Place) -> tuple[str, ...]:
    label, name = (
        ("base", place.contestant.model) if place.round is None else (str(place.round.number), place.round.name)
    )
    return (
        str(number), label, f"{place.rate.count:,}", f"{100 * place.rate.rate:.0f} %", interval_text(place.rate),
        worth_text(place.worth), f"{worth_text(place.low)}–{worth_text(place.high)}", name,
    )  # fmt: skip


def ranking_remarks(ranking: Ranking, unread: int = 0) -> list[str]:
    """Return the remarks beside the table of a ranking, a sentence each."""
    remarks = [f"Worth: {WORTH_EXPLAINED}"] if ranking.places else []
    if ranking.groups > 1:
        remarks.append(
            f"There are {ranking.groups} groups of rounds that were never judged against each other, not even "
            "through a third round: their order is not known"
        )
    if ranking.left_out:
        remarks.append(f"{ranking.left_out:,} judgements of deleted rounds or of earlier answers are left out")
    if unread:
        remarks.append(f"{unread:,} lines of judgements.jsonl cannot be read and are left out")
    return remarks
