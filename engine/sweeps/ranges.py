"""Ranges that a person types into a field: several values, or all values between two numbers.

`8, 16, 32`, `q_proj | all-linear`, `1e-5..1e-3 log`, `4..64 step 4`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct

from engine.errors import SpecError
from engine.spec.fields import SpecField, format_value, parse_value, spec_fields
from engine.text.numbers import THOUSANDS, read_float, read_int

INTERVAL = re.compile(r"(?P<low>.+?)\s*\.\.\s*(?P<high>.+?)(?:\s+(?P<scale>log)|\s+step\s+(?P<step>\S.*))?")
BAR = " | "  # between values of any field, as a comma may be part of a text
MOST_VALUES = 10_000  # of one field
SIGNIFICANT_DIGITS = 3  # of a number that is drawn from an interval: a person reads it, and no result depends on more
SHOWN = 60


class ValueList(Struct, frozen=True, dict=True, tag="choices"):
    """Several values of a field, as texts that `parse_value` reads; numbers in ascending order."""

    key: str
    texts: tuple[str, ...]

    @cached_property
    def values(self) -> tuple[Any, ...]:
        return tuple(parse_value(self.key, text) for text in self.texts)

    @property
    def is_ordered(self) -> bool:
        """Return True if the values are numbers."""
        return spec_fields()[self.key].kind in ("int", "float")


class NumberRange(Struct, frozen=True, tag="numbers"):
    """All numbers from `low` to `high`, on a logarithmic scale with `log`, only every `step`th with a step."""

    key: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Return True if only whole numbers are allowed."""
        return spec_fields()[self.key].kind == "int"

    @property
    def distance(self) -> float | None:
        """The distance of two neighbours; None if all real numbers between are allowed."""
        return 1 if self.is_whole and self.step is None else self.step

    def text_of(self, number: float) -> str:
        """Write a number of this interval as a person types it, in few digits where that is allowed."""
        if self.is_whole:
            return format_value(round(number))
        if self.step is None:
            number = float(f"{number:.{SIGNIFICANT_DIGITS}g}")
        else:
            number = float(f"{self.low + round((number - self.low) / self.step) * self.step:.12g}")
        return format_value(min(max(number, self.low), self.high))

    def texts(self) -> list[str]:
        """Return all numbers as texts.

        Raises:
            SpecError: they cannot be counted, or there are too many.
        """
        distance = self.distance
        if distance is None or self.log:
            raise SpecError(
                f"{self.key} has no single values to make a grid of: name them, such as "
                f"{self.text_of(self.low)}, {self.text_of(self.high)}, give a step, or choose another sampler",
                self.key,
            )
        count = int((self.high - self.low) / distance + 1e-9) + 1
        if count > MOST_VALUES:
            raise SpecError(
                f"{self.key} has {count:,} values, more than {MOST_VALUES:,}: give a larger step, or choose another "
                f"sampler",
                self.key,
            )
        return [self.text_of(self.low + index * distance) for index in range(count)]


Range = ValueList | NumberRange


def is_range(key: str, text: str) -> bool:
    """Return True if a text is meant as several values of the field `key`, rather than as one."""
    field = spec_fields().get(key)
    return field is not None and (_is_interval(field, text) or len(_parts(field, text)) > 1)


def read_range(key: str, text: str) -> Range:
    """Read a text that `is_range`.

    Raises:
        SpecError: a value that is not allowed, twice the same, or numbers between which there are no others.
    """
    field = spec_fields()[key]
    if _is_interval(field, text):
        return _read_interval(field, text.strip())
    parts = _parts(field, text)
    values = [parse_value(key, part) for part in parts]
    different = {format_value(value): value for value in values}
    if len(different) < len(values):
        raise SpecError(f"{key} is {_short(text)!r}, which has a value twice: name each once", key)
    if field.kind in ("int", "float") and None not in values:
        return ValueList(key, tuple(sorted(different, key=lambda each: different[each])))
    return ValueList(key, tuple(parts))


def _is_interval(field: SpecField, text: str) -> bool:
    return field.kind in ("int", "float") and ".." in text


def _parts(field: SpecField, text: str) -> Sequence[str]:
    """Return the texts of the values that a text is meant to have."""
    if BAR in text:
        return [part.strip() for part in text.split(BAR)]
    if field.kind in ("int", "float", "choice") and not THOUSANDS.fullmatch(text.strip()):
        return [part.strip() for part in text.split(",")]
    return [text]


def _read_interval(field: SpecField, text: str) -> NumberRange:
    key, shown = field.key, f"{field.key} is {_short(text)!r}"
    match = INTERVAL.fullmatch(text)
    if match is None or (match["scale"] and "step" in text) or "log" in match["high"]:
        raise SpecError(
            f"{shown}: a range is written as 4..64, 4..64 step 4 or 1e-5..1e-3 log, several values as 8, 16, 32",
            key,
        )
    low, high = (_number(field, match[name], shown) for name in ("low", "high"))
    if low >= high:
        way_out = "write the smaller number first" if low > high else "write the number alone"
        raise SpecError(f"{shown}, from {match['low']} to {match['high']}: {way_out}", key)
    if match["scale"] and low <= 0:
        raise SpecError(f"{shown}, but a logarithmic scale has no {match['low']}: begin above 0", key)
    if match["step"] is None:
        return NumberRange(key, low, high, log=match["scale"] is not None)
    step = _number(field, match["step"], shown, is_value=False)
    if not 0 < step <= high - low:
        raise SpecError(
            f"{shown}, but its step must be above 0 and at most {format_value(float(f'{high - low:.12g}'))}", key
        )
    # Optuna's distributions want an end that a step reaches.
    return NumberRange(key, low, float(f"{low + int((high - low) / step + 1e-9) * step:.12g}"), step=step)


def _number(field: SpecField, text: str, shown: str, is_value: bool = True) -> float:
    """Read an end of an interval, which must be an allowed value, or its step."""
    try:
        number = parse_value(field.key, text) if is_value else _read_step(field, text)
    except SpecError as error:
        raise SpecError(f"{shown}: {error.message}", field.key) from error
    if number is None:
        raise SpecError(f"{shown}: {text.strip()!r} is not a number", field.key)
    return number


def _read_step(field: SpecField, text: str) -> float:
    try:
        return read_int(text) if field.kind == "int" else read_float(text)
    except (ValueError, ArithmeticError) as error:
        raise SpecError(f"the step is {_short(text)!r}: it must be a number", field.key) from error


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
