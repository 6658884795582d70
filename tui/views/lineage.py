"""A family of rounds as lines of text, for the terminal app and the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from msgspec import Struct
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.text import Text

from engine.compare.causes import ChangesAtOnce
from engine.compare.columns import measured_text
from engine.compare.comparability import are_comparable, moved, moved_from_base
from engine.compare.diff import spec_text
from engine.compare.leaders import best_rounds
from engine.compare.lineage import Kin, changes, field_name
from engine.spec.overrides import set_line
from engine.spec.round import Round, Status
from engine.text.humanize import format_perplexity, name_rounds
from tui.terminal.console import clean_line

Role = Literal["rail", "number", "name", "status", "result", "best", "fell", "rose", "changes", "note", "message"]
Part = tuple[str, Role]

COMPLETE = (Status.FINISHED, Status.IMPORTED)
SENTENCE_LINES = 8
MIN_NAME = 8
UNBROKEN = sys.maxsize
NOTHING_AT_ONCE: Mapping[int, ChangesAtOnce] = MappingProxyType({})
MIN_TEXT = 16  # cells of a line that are text, however deep the tree
STYLES: dict[Role, str] = {
    "rail": "dim", "number": "bold", "name": "bold", "status": "yellow", "result": "", "best": "bold green",
    "fell": "green", "rose": "yellow", "changes": "cyan", "note": "", "message": "bold",
}  # fmt: skip


class LineageLine(Struct, frozen=True):
    """One line of the round `number`; not `selectable` if that round is deleted."""

    number: int
    parts: tuple[Part, ...]
    selectable: bool = True

    def as_text(self) -> Text:
        """Return the line with colours for the command line."""
        return Text.assemble(*((text, STYLES[role]) for text, role in self.parts), no_wrap=True)


def lineage_lines(
    family: Sequence[Kin], width: int | None, at_once: Mapping[int, ChangesAtOnce] = NOTHING_AT_ONCE
) -> list[LineageLine]:
    """Return the lines of a family, at most `width` cells each: result, changes and note of each round.

    Without a width, each sentence is one whole line. A round in `at_once` is marked: its result has several causes.
    """
    best = best_rounds(kin.round for kin in family if kin.round is not None)
    return [line for kin in family for line in _lines_of(kin, family, best, at_once.get(kin.number), width)]


def _lines_of(
    kin: Kin, family: Sequence[Kin], best: frozenset[int], at_once: ChangesAtOnce | None, width: int | None
) -> Iterator[LineageLine]:
    head: Part = ("│ " * (kin.depth - kin.branches) + ("├─" if kin.branches else ""), "rail")
    below: Part = ("│ " * kin.depth + ("│ " if kin.goes_on else "  "), "rail")
    room = max(MIN_TEXT, width - cell_len(below[0])) if width is not None else UNBROKEN
    if kin.round is None:
        deleted: tuple[Part, ...] = (head, ("○ ", "rail"), (f"{kin.number}", "number"), ("  deleted", "note"))
        yield LineageLine(kin.number, deleted, selectable=False)
        return
    start: tuple[Part, ...] = (head, ("● ", "rail"))
    for parts in _head(kin, kin.round, kin.number in best, _marks(at_once), room):
        yield LineageLine(kin.number, (*start, *parts))
        start = (below,)
    if kin.circular:
        circle = f"its parent is round {kin.round.parent}, which was made from this round"
        yield from _filled(kin, below, circle.split(), room, "message")
    yield from _filled(kin, below, _change_texts(kin, family), room, "changes")
    yield from _filled(kin, below, clean_line(kin.round.message).split(), room, "message")
    yield from _filled(kin, below, clean_line(kin.round.note).split(), room, "note")


def _filled(kin: Kin, below: Part, words: Sequence[str], room: int, role: Role) -> Iterator[LineageLine]:
    lines = fill(words, room)
    if len(lines) > SENTENCE_LINES:
        lines = [*lines[: SENTENCE_LINES - 1], cut(" ".join(lines[SENTENCE_LINES - 1 : SENTENCE_LINES + 1]), room)]
    return (LineageLine(kin.number, (below, (line, role))) for line in lines)


def fill(words: Sequence[str], room: int) -> list[str]:
    """Put `words` on lines of at most `room` cells; only a word longer than a line is broken."""
    lines: list[str] = []
    room_left = 0
    for word in words:
        size = cell_len(word)
        if lines and size < room_left:
            lines[-1] += f" {word}"
            room_left -= size + 1
            continue
        lines += [word] if size <= room else chop_cells(word, room)
        room_left = room - cell_len(lines[-1])
    return lines


def cut(text: str, room: int) -> str:
    """Return `text` in at most `room` cells, with an ellipsis where it was cut."""
    return text if cell_len(text) <= room else set_cell_size(text, room - 1).rstrip() + "…"


def _head(kin: Kin, round_: Round, is_best: bool, marks: Sequence[str], room: int) -> Iterator[tuple[Part, ...]]:
    """Yield number and name with the result at the right end, or on a second line if they do not fit on one.

    The longest of `marks` that fits stands between them, else the longest on a line of its own.
    """
    number: Part = (str(round_.number), "number")
    name = clean_line(round_.name)
    result = _result(kin, round_, is_best)
    room_left = room - cell_len(number[0]) - 2
    name_room = room_left - 2 - sum(cell_len(text) for text, _ in result)
    mark = next((f"  {each}" for each in marks if cell_len(f"{name}  {each}") <= name_room), "")
    name_room -= cell_len(mark)
    if name_room < min(cell_len(name), MIN_NAME):
        yield (number, ("  ", "name"), (cut(name, room_left), "name"))
        yield tuple(result)
    else:
        name = cut(name, name_room)
        gap = " " * (name_room - cell_len(name) + 2 if room < UNBROKEN else 2)
        yield (number, ("  ", "name"), (name, "name"), (mark, "status"), (gap, "name"), *result)
    if marks and not mark:
        yield ((cut(marks[0], room), "status"),)


def _marks(at_once: ChangesAtOnce | None) -> list[str]:
    """Return the marks of a round, from the longest to the shortest; none where one setting changed."""
    if at_once is None:
        return []
    count, missing = len(at_once.factors), len(at_once.between) - len(at_once.made)
    rounds = (
        f"{missing} round{'s' if missing != 1 else ''} missing" if missing else f"{name_rounds(at_once.made)} between"
    )
    return [f"{count} changed at once, {rounds}", f"{count} changed at once", f"{count} at once"]


def missing_round_commands(at_once: ChangesAtOnce) -> list[str]:
    """Return the command that makes each missing round."""
    parent = at_once.parent
    return [f"loratui new --from {parent.number} {set_line(spec, parent.spec)}" for spec in at_once.missing]


def cause_sentence(at_once: ChangesAtOnce) -> str:
    """Say which settings changed at once, and that rounds between are missing or which there are."""
    *first, last = (field_name(each.name) if "." in each.name else "effective batch" for each in at_once.factors)
    pair = f"round {at_once.round.number} against round {at_once.parent.number}"
    changed = f"{pair}: {', '.join(first)} and {last} changed"
    if at_once.missing:
        return f"{changed} at once, so no cause can be read; missing to change one at a time:"
    verb = "changes" if len(at_once.made) == 1 else "change"
    return f"{changed}; {name_rounds(at_once.made)} between {verb} one at a time"


def _result(kin: Kin, round_: Round, is_best: bool) -> list[Part]:
    result = round_.result
    status = "" if round_.status in COMPLETE else str(round_.status)
    perplexity = measured_text(result, "perplexity")
    if not perplexity:
        return [(status or "no result", "status")]
    parts: list[Part] = [(f"{status}  " if status else "", "status"), ("perplexity ", "result")]
    change = moved(kin.parent, round_) if kin.parent is not None else None
    if change is not None:
        parts.append((f"{format_perplexity(change.before)} → ", "result"))
    parts.append((f"{perplexity} ★" if is_best else perplexity, "best" if is_best else "result"))
    if change is not None and change.percent_text:
        parts.append((f" {change.percent_text}", "rose" if change.word == "rose" else "fell"))
    elif kin.parent is not None and not are_comparable(kin.parent, round_):
        parts.append((" on other held-out tokens", "status"))
    base = moved_from_base(round_)
    if base is not None:
        parts.append((f", base {format_perplexity(base.before)}", "result"))
        if base.percent_text:
            parts.append((f" {base.percent_text}", "rose" if base.word == "rose" else "fell"))
    return parts


def _change_texts(kin: Kin, family: Sequence[Kin]) -> list[str]:
    """Return the changes from the parent; for the first round, its values of the fields that were changed later."""
    if kin.parent is not None:
        texts = [f"{field_name(each.key)} {clean_line(each.old)} → {clean_line(each.new)}" for each in changes(kin)]
        return with_commas(texts) or ["the same spec"]
    if kin.round is None or kin is not family[0]:
        return []
    changed = dict.fromkeys(each.key for other in family for each in changes(other))
    return with_commas([f"{field_name(key)} {clean_line(spec_text(key, kin.round))}" for key in changed])


def with_commas(texts: Sequence[str]) -> list[str]:
    """Return `texts` with a comma at the end of each but the last."""
    return [f"{text}," for text in texts[:-1]] + list(texts[-1:])
