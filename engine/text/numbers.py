"""Numbers as people type them."""

from __future__ import annotations

import math
import re
from decimal import Decimal

TYPED_SIGNS = str.maketrans("−–⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹\u00a0", "--" + "-+0123456789 ")
TIMES_TEN = re.compile(r"(?:(?P<mantissa>[+-]?[\d._]+)\s*[×x*·]\s*)?10(?:\^|\*\*|(?=[+-]))\s*(?P<exponent>[+-]?\d+)")
SPACED_EXPONENT = re.compile(r"(\d\.?)\s*[eE]\s*([+-]?\d)")
THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")


DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)\s*h)?\s*(?:(?P<m>\d+(?:\.\d+)?)\s*m(?:in)?)?\s*(?:(?P<s>\d+)\s*s)?")


def read_duration(text: str) -> float:
    """Return the seconds of a time such as `90m`, `2h`, `1h30m` or `45s`; raises ValueError for another text, or 0."""
    match = DURATION.fullmatch(text.strip())
    parts = {unit: float(part) for unit, part in match.groupdict().items() if part} if match else {}
    seconds = 3600 * parts.get("h", 0) + 60 * parts.get("m", 0) + parts.get("s", 0)
    if not seconds:
        raise ValueError(text)
    return seconds


def read_int(text: str) -> int:
    """Read a whole number, also as `2,600` or `1e3`; raises ValueError, or OverflowError for one that is too large."""
    plain = text.replace(",", "") if THOUSANDS.fullmatch(text) else _plain_number(text)
    number = float(plain) if "e" in plain.lower() else int(plain)
    if number != int(number):
        raise ValueError(text)
    return int(number)


def read_float(text: str) -> float:
    """Read a number, also as `2×10^-4` or `10 %`; raises ValueError or InvalidOperation if `text` is none."""
    plain = _plain_number(text.removesuffix("%"))
    value = float(Decimal(plain) / 100) if text.endswith("%") else float(plain)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _plain_number(text: str) -> str:
    """Rewrite a number for Python, from what people type: `2e−4`, `2 E-4`, `2×10^-4`, `2*10**-4`, `2·10⁻⁴`."""
    text = text.translate(TYPED_SIGNS).strip()
    if power := TIMES_TEN.fullmatch(text):
        return f"{power['mantissa'] or 1}e{power['exponent']}"
    return SPACED_EXPONENT.sub(r"\1e\2", text)
