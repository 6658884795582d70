"""Text that was not typed here, made safe to show."""

from __future__ import annotations

import re
import unicodedata

# C0 but newline and tab, DEL, C1, and what reorders or hides letters: bidi controls, zero-width, tags, surrogates.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def clean(text: str) -> str:
    """`text` with every control character shown as a symbol, so that none of them reaches the terminal."""
    return UNSAFE.sub(_symbol, text)


def clean_line(text: str) -> str:
    """`clean`, on one line."""
    return clean(" ".join(text.split()))


def _symbol(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures, U+2400 to U+241F
    return "␡" if code == 0x7F else unicodedata.lookup("REPLACEMENT CHARACTER")
