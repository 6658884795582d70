"""Make text from elsewhere safe to show in a terminal, and in a file that somebody prints on one."""

from __future__ import annotations

import re
import unicodedata

_EMOJI = "#*0-9©®\u203c-\u21ff\u2300-\u27bf\u2900-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_JOINED_LETTERS = "\u0600-\u0fff\u1000-\u109f\u1780-\u17b3"  # Arabic to Tibetan, Myanmar, Khmer

JOINERS = re.compile(
    f"\u200d(?<=[{_EMOJI}\ufe0f]\u200d)(?=[{_EMOJI}])|[\ufe0e\ufe0f](?<=[{_EMOJI}].)"
    f"|[\u200c\u200d](?<=[{_JOINED_LETTERS}].)(?=[{_JOINED_LETTERS}])"
)
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
BEYOND_ASCII = re.compile("[^\x00-\x7f]")


def clean(text: str) -> str:
    """Replace every character in `text` that controls a terminal, reorders letters or is invisible by a symbol.

    These are Unicode's control characters except newline and tab, its format characters except those that are drawn
    (such as the Arabic number sign), its line and paragraph separators, lone surrogates, and the characters that a
    renderer may ignore (Default_Ignorable_Code_Point, https://www.unicode.org/reports/tr44/): bidirectional controls,
    zero-width characters, tags, variation selectors, fillers. C0 and DEL become their control pictures, the others
    U+FFFD.

    Removed without a symbol, because the text reads the same and a symbol would split it: a joiner between two emoji
    (which then stand side by side) or between two letters of a script that uses joiners, and the selector after an
    emoji. Terminals disagree on the width of such sequences. Combining marks stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return HIDDEN.sub(_symbol, JOINERS.sub("", text))


def clean_line(text: str) -> str:
    """Clean `text`, and put it on one line."""
    return clean(" ".join(text.split()))


def escape_json(document: str) -> str:
    """Write the characters that `clean` replaces as `\\uXXXX` in a JSON document, whose values stay the same."""
    return HIDDEN.sub(_escape, document)


def escape_beyond_ascii(document: str) -> str:
    """Write the characters that are not ASCII as `\\uXXXX` in a JSON document, whose values stay the same."""
    return BEYOND_ASCII.sub(_escape, document)


def _symbol(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures, U+2400 to U+241F
    return "␡" if code == 0x7F else unicodedata.lookup("REPLACEMENT CHARACTER")


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))
