"""Families of rounds as trees: each round below the one it came from, in an order that tells what was tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from msgspec import Struct

from engine.compare.causes import ChangesAtOnce, changes_at_once, numbers_by_factors
from engine.compare.comparability import moved, moved_from_base, why_incomparable
from engine.compare.diff import spec_text
from engine.errors import RoundError
from engine.spec.fields import changed_keys, flatten, spec_fields
from engine.spec.overrides import set_line
from engine.spec.round import Round


class Kin(Struct, frozen=True, kw_only=True):
    """A round's place in its family.

    Attributes:
        number: of the round, or of a deleted one that others came from.
        round: None for a deleted one.
        parent: the round it came from; None for the first of a family.
        depth: number of branches between it and the first round.
        branches: whether it begins a branch of its own, one deeper than its parent; else it continues its parent's
            line, below the branches there.
        goes_on: whether any round came from it.
        circular: the parent that it names came from it, so that it is shown as the first of a family.
    """

    number: int
    round: Round | None
    parent: Round | None
    depth: int
    branches: bool
    goes_on: bool
    circular: bool


class Change(Struct, frozen=True):
    """A field of the spec that differs from the parent's, with both values as people read them."""

    key: str
    old: str
    new: str


def families(rounds: Iterable[Round]) -> list[list[Kin]]:
    """Return every family, by its first round's number, each in reading order.

    A round is below the one it came from. Where several came from one, the line with most rounds comes last and keeps
    its depth, so that n rounds are never deeper than log2(n); the others branch off above it, by number. Rounds whose
    parent was deleted stay together below its number. Linear in the number of rounds, without recursion.
    """
    by_number = {round_.number: round_ for round_ in rounds}
    parents = {number: round_.parent for number, round_ in by_number.items()}
    for parent in [*parents.values()]:
        if parent is not None:
            parents.setdefault(parent, None)
    circular = _cut_circles(parents)
    children: dict[int, list[int]] = {number: [] for number in sorted(parents)}
    for number in children:
        if (parent := parents[number]) is not None:
            children[parent].append(number)
    sizes = _sizes(parents, children)
    return [
        [
            Kin(
                number=number,
                round=by_number.get(number),
                parent=by_number.get(parent) if (parent := parents[number]) is not None else None,
                depth=depth,
                branches=branches,
                goes_on=bool(children[number]),
                circular=number in circular,
            )
            for number, depth, branches in _in_reading_order(first, children, sizes)
        ]
        for first in children
        if parents[first] is None
    ]


def family_of(rounds: Iterable[Round], number: int) -> list[Kin]:
    """Return the family of round `number`; a deleted round has the family of those that came from it.

    Raises:
        RoundError: there is no such round.
    """
    for family in families(rounds):
        if any(kin.number == number for kin in family):
            return family
    raise RoundError(f"there is no round {number}: `loratui ls` lists them")


def _cut_circles(parents: dict[int, int | None]) -> set[int]:
    """Remove the parent of the lowest number in each circle, which a file edited by hand may have; return these."""
    cut: set[int] = set()
    met_from: dict[int, int] = {}
    for start in sorted(parents):
        path: list[int] = []
        number: int | None = start
        while number is not None and number not in met_from:
            met_from[number] = start
            path.append(number)
            number = parents[number]
        if number is not None and met_from[number] == start:
            first = min(path[path.index(number) :])
            parents[first] = None
            cut.add(first)
    return cut


def _sizes(parents: Mapping[int, int | None], children: Mapping[int, list[int]]) -> dict[int, int]:
    """Count the rounds that came from each round, including itself."""
    order = [number for number, parent in parents.items() if parent is None]
    for number in order:  # which grows meanwhile: parents before their children
        order.extend(children[number])
    sizes = dict.fromkeys(order, 1)
    for number in reversed(order):
        if (parent := parents[number]) is not None:
            sizes[parent] += sizes[number]
    return sizes


def _in_reading_order(
    first: int, children: Mapping[int, list[int]], sizes: Mapping[int, int]
) -> list[tuple[int, int, bool]]:
    """Return (number, depth, whether it branches off) of all rounds that came from `first`."""
    order: list[tuple[int, int, bool]] = []
    ahead = [(first, 0, False)]
    while ahead:
        number, depth, branches = ahead.pop()
        order.append((number, depth, branches))
        if line := children[number]:
            main = max(line, key=lambda child: (sizes[child], child))
            ahead.append((main, depth, False))
            ahead.extend((child, depth + 1, True) for child in reversed(line) if child != main)
    return order


def changes(kin: Kin) -> list[Change]:
    """Return the fields of a round's spec that differ from its parent's; empty for the first of a family."""
    if kin.round is None or kin.parent is None:
        return []
    return [
        Change(key, spec_text(key, kin.parent), spec_text(key, kin.round))
        for key in changed_keys(kin.parent.spec, kin.round.spec)
    ]


def all_changes_at_once(family: Iterable[Kin], rounds: Iterable[Round]) -> dict[int, ChangesAtOnce]:
    """Return the settings that changed at once, by the number of the round; a round with one or none is left out.

    Args:
        rounds: all rounds, also of other families, as these may be among those between.
    """
    numbers = numbers_by_factors(rounds)
    all_changes = {
        kin.number: changes_at_once(kin.parent, kin.round, numbers)
        for kin in family
        if kin.parent is not None and kin.round is not None
    }
    return {number: each for number, each in all_changes.items() if each is not None}


@cache
def field_name(key: str) -> str:
    """Return peft's or transformers' own name of a field, with its group where another field has the same name."""
    name = spec_fields()[key].name
    return key if sum(field.name == name for field in spec_fields().values()) > 1 else name


def kin_fields(kin: Kin, at_once: ChangesAtOnce | None = None) -> dict[str, object]:
    """Return a round's place for JSON outputs, null where unknown; a change of perplexity is in percent."""
    round_, parent = kin.round, kin.parent
    changed: dict[str, object] = {}
    movement = None
    if parent is not None and round_ is not None:
        old, new = flatten(parent.spec), flatten(round_.spec)
        changed = {change.key: {"old": old[change.key], "new": new[change.key]} for change in changes(kin)}
        movement = moved(parent, round_)
    base = moved_from_base(round_) if round_ is not None else None
    return {
        "number": kin.number,
        "deleted": round_ is None,
        "parent": parent.number if parent is not None else round_.parent if round_ is not None else None,
        "circular": kin.circular,
        "depth": kin.depth,
        "name": round_.name if round_ is not None else None,
        "status": str(round_.status) if round_ is not None else None,
        "note": round_.note if round_ is not None else None,
        "changes": changed,
        "changed_at_once": [factor.name for factor in at_once.factors] if at_once is not None else [],
        "missing": _missing_fields(at_once) if at_once is not None else [],
        "perplexity": round_.result.perplexity if round_ is not None else None,
        "against_parent": movement.percent if movement is not None else None,
        "against_base": base.percent if base is not None else None,
        "other_held_out_tokens": why_incomparable(parent, round_) if parent is not None and round_ is not None else "",
    }


def _missing_fields(at_once: ChangesAtOnce) -> list[dict[str, object]]:
    """Return each missing round as the number of the round it would be made from, and what is to be set there."""
    parent = at_once.parent
    return [
        {
            "from": parent.number,
            "set": {key: flatten(spec)[key] for key in changed_keys(parent.spec, spec)},
            "set_line": set_line(spec, parent.spec),
        }
        for spec in at_once.missing
    ]
