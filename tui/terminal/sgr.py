"""Styles as terminals know them: SGR parameters, and the shortest sequence from one style to another."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rich.color import ColorSystem
from rich.style import Style
from textual.strip import Strip

RESET = "0"
# The parameter that turns an attribute off (ECMA-48, 8.3.117, and xterm's ctlseqs); some turn off two.
OFF = {
    "1": "22", "2": "22", "3": "23", "4": "24", "21": "24", "5": "25", "6": "25", "7": "27", "8": "28", "9": "29",
    "51": "54", "52": "54", "53": "55",
}  # fmt: skip
SHOWN_ON_BLANKS = frozenset({"4", "5", "6", "7", "9", "21", "51", "52", "53"})
PLACEHOLDER = "x"


class Pen(NamedTuple):
    """The attributes and colours of text as SGR parameters ("" for the default colour), and its link.

    `link` is the OSC 8 sequence that starts the link, "" for none.
    """

    attributes: frozenset[str] = frozenset()
    foreground: str = ""
    background: str = ""
    link: str = ""

    def on_blank(self) -> Pen:
        """Return the simplest pen that draws a blank the same way."""
        if self.attributes & SHOWN_ON_BLANKS or self.link:
            return self
        return Pen(background=self.background)


PLAIN = Pen()
LINK_END = "\x1b]8;;\x1b\\"


@lru_cache(maxsize=4096)
def pen_of(style: Style | None, colours: ColorSystem) -> Pen:
    """Return the pen for a style, from what Textual would write for it with the colour system `colours`."""
    if style is None:
        return PLAIN
    before = Strip.render_style(style, PLACEHOLDER, color_system=colours).partition(PLACEHOLDER)[0]
    link, escape, sgr = before.rpartition("\x1b[")
    if not escape:
        return Pen(link=before)
    attributes, foreground, background = set(), "", ""
    parameters = sgr.removesuffix("m").split(";")
    while parameters:
        code = parameters.pop(0)
        if code in ("38", "48"):
            count = 4 if parameters[0] == "2" else 2
            colour = ";".join([code, *parameters[:count]])
            del parameters[:count]
        else:
            colour = code
        if (code[0] == "4" and len(code) == 2) or (len(code) == 3 and code.startswith("10")):
            background = "" if code == "49" else colour
        elif code[0] in "39" and len(code) == 2:
            foreground = "" if code == "39" else colour
        else:
            attributes.add(code)
    return Pen(frozenset(attributes), foreground, background, link)


@lru_cache(maxsize=4096)
def change(before: Pen, after: Pen) -> str:
    """Return the sequence that makes a terminal change from one pen to another."""
    link = "" if before.link == after.link else after.link or LINK_END
    if before[:3] == after[:3]:
        return link
    from_reset = ";".join([RESET, *sorted(after.attributes), *filter(None, (after.foreground, after.background))])
    steps = list(dict.fromkeys(OFF[code] for code in sorted(before.attributes - after.attributes)))
    steps += [code for code in sorted(after.attributes) if code not in before.attributes or OFF[code] in steps]
    if before.foreground != after.foreground:
        steps.append(after.foreground or "39")
    if before.background != after.background:
        steps.append(after.background or "49")
    return f"\x1b[{min(';'.join(steps), from_reset, key=len)}m{link}"
