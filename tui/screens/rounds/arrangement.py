"""Which rounds the table shows, and in which order: filtered, sorted, grouped, the pinned ones on top."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import repeat
from operator import ne

from msgspec import Struct

from engine.compare.columns import Rounds, columns
from engine.compare.query import Group, filter_rounds, group_rounds, sort_rounds
from engine.spec.fields import SECTIONS, spec_fields
from engine.spec.round import Round
from tui.screens.rounds.column_layout import FIXED, ColumnLayout
from tui.screens.rounds.columns import PARTS, TEXTS, RoundColumn, round_columns

TOLD_APART = (FIXED, "status", "name", "tags", "note")  # shown as ever where only what differs is


class View(Struct, frozen=True):
    """What the person asked the table for.

    Attributes:
        filter: an expression of `engine.compare.query`, "" for all rounds.
        sort: a column's key, `-key` for the largest first, "" for the order by number.
        group: a column's key, "" for none.
        differing: whether only columns are shown in which the rounds differ.
    """

    filter: str = ""
    sort: str = ""
    group: str = ""
    differing: bool = False


class Arrangement(Struct, frozen=True):
    """The rows of the table: numbers of rounds, and between them headings, whose texts are in `headings`."""

    rows: Sequence[int | str] = ()
    headings: dict[str, str] = {}
    shown: Sequence[Round] = ()


def arrange(rounds: Rounds, view: View) -> Arrangement:
    """The rows of a view.

    Raises:
        SpecError: the filter makes no sense, or names no column.
    """
    shown = filter_rounds(rounds.values(), view.filter, rounds)
    if view.sort:
        shown = sort_rounds(shown, view.sort, rounds)
    pinned = [round_ for round_ in shown if round_.pinned]
    others = [round_ for round_ in shown if not round_.pinned] if pinned else shown
    if not view.group:
        return Arrangement([round_.number for round_ in (*pinned, *others)], {}, shown)
    title = round_columns()[view.group].column.title
    rows: list[int | str] = []
    headings: dict[str, str] = {}
    groups = [Group("", pinned, None)] if pinned else []
    for place, group in enumerate((*groups, *group_rounds(others, view.group, rounds))):
        key = f"group {place}"
        headings[key] = f"▲ pinned · {group.counted}" if pinned and place == 0 else group.heading(title)
        rows += [key, *(round_.number for round_ in group.rounds)]
    return Arrangement(rows, headings, shown)


def differing_columns(
    layout: ColumnLayout, otherwise: Sequence[RoundColumn], shown: Sequence[Round], rounds: Rounds
) -> list[RoundColumn]:
    """The columns in which the rounds shown differ: any field of their specs, and those shown `otherwise`."""
    kept: list[RoundColumn] = []
    parts = {name: {getattr(round_.spec, name) for round_ in shown} for name in SECTIONS}  # few of many rounds
    for item in layout.columns():
        key = item.column.key
        field = spec_fields().get(key) if key not in TEXTS else None
        if key in TOLD_APART:
            kept += [item] if item in otherwise else []
        elif field is not None:
            kept += [item] if len({getattr(part, field.name) for part in parts[field.group]}) > 1 else []
        elif (item in otherwise or key in spec_fields()) and _differs(item, shown, rounds):
            kept.append(item)
    told = {part for item in kept for part in PARTS.get(item.column.key, ())}
    return [item for item in kept if item.column.key not in told]


def _differs(item: RoundColumn, shown: Sequence[Round], rounds: Rounds) -> bool:
    key = item.column.key
    value = TEXTS[key] if key in TEXTS else partial(columns()[key].value, rounds=rounds)
    return bool(shown) and any(map(ne, map(value, shown), repeat(value(shown[0]))))
