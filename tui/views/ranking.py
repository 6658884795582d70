"""Rounds in the order in which people prefer their answers, for the screen and for the command line."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from engine.preference.ranking import WORTH_EXPLAINED, Place, Ranking, worth_text
from engine.preference.win_rate import interval_text
from tui.terminal.console import clean_line

TITLES = ("place", "round", "judgements", "preferred", "95 %", "worth", "95 %", "name")


def ranking_table(ranking: Ranking) -> Table:
    """Return a table with a row for each judged round or base model, the best first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, justify="left" if title in ("round", "name") else "right", no_wrap=title != "name")
    for number, place in enumerate(ranking.places, 1):
        table.add_row(*(Text(clean_line(cell)) for cell in _cells(number, place)))
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
