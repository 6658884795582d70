"""The rows of the table: rounds filtered, sorted and grouped, the pinned ones on top."""

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

ALWAYS_SHOWN = (FIXED, "status", "name", "tags", "note")  # also where only columns that differ are shown


class View(Struct, frozen=True):
    """The filter, order and groups that the person chose.

    Attributes:
        filter: an expression of `engine.compare.query`, "" for all rounds.
        sort: a column's key, `-key` for the largest first, "" for the order by number.
        group: a column's key, "" for none.
        differing: True if only columns are shown in which the rounds differ.
    """

    filter: str = ""
    sort: str = ""
    group: str = ""
    differing: bool = False


class Arrangement(Struct, frozen=True):
    """The rows of the table.

    Attributes:
        rows: numbers of rounds, and between them the keys of headings.
        headings: the text of each heading, by its key.
        shown: the rounds, in the order of the view, without the pinned ones moved to the top.
    """

    rows: Sequence[int | str] = ()
    headings: dict[str, str] = {}
    shown: Sequence[Round] = ()


def arrange(rounds: Rounds, view: View) -> Arrangement:
    """Return the rows that `view` asks for.

    Raises:
        SpecError: the filter cannot be read, or names a column that does not exist.
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
    for index, group in enumerate((*groups, *group_rounds(others, view.group, rounds))):
        key = f"group {index}"
        headings[key] = f"▲ pinned · {group.counted}" if pinned and index == 0 else group.heading(title)
        rows += [key, *(round_.number for round_ in group.rounds)]
    return Arrangement(rows, headings, shown)


def differing_columns(
    layout: ColumnLayout, usual: Sequence[RoundColumn], shown: Sequence[Round], rounds: Rounds
) -> list[RoundColumn]:
    """Return the columns in which the rounds `shown` differ: any field of their specs, and any of the `usual` ones."""
    differing: list[RoundColumn] = []
    parts = {name: {getattr(round_.spec, name) for round_ in shown} for name in SECTIONS}  # few of many rounds
    for column in layout.columns():
        key = column.key
        field = spec_fields().get(key) if key not in TEXTS else None
        if key in ALWAYS_SHOWN:
            show = column in usual
        elif field is not None:
            show = len({getattr(part, field.name) for part in parts[field.group]}) > 1
        else:
            show = (column in usual or key in spec_fields()) and _differs(column, shown, rounds)
        if show:
            differing.append(column)
    repeated = {part for column in differing for part in PARTS.get(column.key, ())}
    return [column for column in differing if column.key not in repeated]


def _differs(column: RoundColumn, shown: Sequence[Round], rounds: Rounds) -> bool:
    key = column.key
    value = TEXTS[key] if key in TEXTS else partial(columns()[key].value, rounds=rounds)
    return bool(shown) and any(map(ne, map(value, shown), repeat(value(shown[0]))))
