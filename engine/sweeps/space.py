"""The space of a sweep: which fields it varies, and the spec of each of its settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from msgspec import Struct

from engine.errors import SpecError
from engine.spec.fields import build_spec, flatten, parse_value
from engine.spec.overrides import split_setting
from engine.spec.schema import Spec
from engine.sweeps.expressions import Expression, is_expression, read_expression
from engine.sweeps.ranges import Range, ValueList, is_range, read_range

MOST_POINTS = 10_000  # of a grid

Point = Mapping[str, str]  # a text for each varied field, by its key


class Space(Struct, frozen=True):
    """The ranges of a sweep and the fields that depend on them, each by its key."""

    ranges: dict[str, Range]
    expressions: dict[str, Expression]

    def spec_at(self, base: Spec, point: Point) -> Spec:
        """Return the spec of a setting: `base` with the values of `point`, and what depends on them.

        Raises:
            SpecError: a value is not allowed there.
        """
        values = flatten(base) | {key: parse_value(key, text) for key, text in point.items()}
        for key in self._in_order():
            values[key] = self.expressions[key].value(values)
        return build_spec(values)

    def grid(self) -> Iterator[dict[str, str]]:
        """Yield all points, the field that was named last changing first.

        Raises:
            SpecError: they cannot be counted, or there are too many.
        """
        texts = {
            key: [*each.texts] if isinstance(each, ValueList) else each.texts() for key, each in self.ranges.items()
        }
        if (count := math.prod(map(len, texts.values()))) > MOST_POINTS:
            raise SpecError(
                f"the grid has {count:,} points, more than {MOST_POINTS:,}: give fewer values, or take another sampler"
            )
        return (dict(zip(texts, combination, strict=True)) for combination in product(*texts.values()))

    def corners(self) -> Iterator[dict[str, str]]:
        """Yield points in which each field has its least and its greatest value once."""
        for end in (0, -1):
            yield {
                key: each.texts[end] if isinstance(each, ValueList) else each.text_of((each.low, each.high)[end])
                for key, each in self.ranges.items()
            }

    def _in_order(self) -> list[str]:
        """Return the keys of expressions, each after those that it names; raises SpecError for a circle."""
        ordered: list[str] = []
        while len(ordered) < len(self.expressions):
            ready = [
                key
                for key, each in self.expressions.items()
                if key not in ordered and each.names & self.expressions.keys() <= set(ordered)
            ]
            if not ready:
                circle = sorted(self.expressions.keys() - set(ordered))
                raise SpecError(f"{' and '.join(circle)} depend on each other: give one of them a number", circle[0])
            ordered += ready
        return ordered


def read_space(settings: Sequence[str]) -> tuple[Space, list[str]]:
    """Return the space that `KEY=VALUE` settings describe, and those settings that have one value.

    Raises:
        SpecError: a range or an expression that is not allowed.
    """
    ranges: dict[str, Range] = {}
    expressions: dict[str, Expression] = {}
    single = []
    for setting in settings:
        key, text = split_setting(setting)
        for earlier in (ranges, expressions):
            earlier.pop(key, None)
        if is_range(key, text):
            ranges[key] = read_range(key, text)
        elif is_expression(key, text):
            expressions[key] = read_expression(key, text)
        else:
            single.append(setting)
    return Space(ranges, expressions), single


def checked_space(space: Space, base: Spec) -> Space:
    """Return a space whose corners are specs, one that varies something.

    Raises:
        SpecError: nothing varies, or a corner is not allowed.
    """
    if not space.ranges:
        raise SpecError("no field has several values: give one a range, such as --set lora.r=8,16,32")
    for corner in space.corners():
        space.spec_at(base, corner)
    return space


def short_name(key: str) -> str:
    """Return the name of a field without its group, also of one that only another version of loratui has."""
    return key.rpartition(".")[2]
