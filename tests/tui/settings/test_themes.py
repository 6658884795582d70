"""Every theme can be read: contrast as WCAG 2.2 has it (https://www.w3.org/TR/WCAG22/#contrast-minimum)."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import Theme

from tui.settings.themes import CONTRAST, HELD_OUT_COLOUR, THEMES, TRAIN_COLOUR

TEXTS = (
    "text", "foreground", "text-muted", "text-primary", "text-accent", "text-warning", "text-error", "text-success",
    "footer-key-foreground",
)  # fmt: skip
GROUNDS = ("background", "surface", "panel")


def luminance(colour: Color) -> float:
    """WCAG's relative luminance of an sRGB colour."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour.rgb)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: Color, second: Color) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_ruler_knows_the_extremes() -> None:
    assert contrast(Color.parse("#000000"), Color.parse("#ffffff")) == pytest.approx(21)
    assert contrast(Color.parse("#777777"), Color.parse("#ffffff")) == pytest.approx(4.48, abs=0.005)  # WebAIM's figure


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_text_stands_out_from_every_ground(theme: Theme) -> None:
    colours = theme.to_color_system().generate()
    needed = 7.0 if theme is CONTRAST else 4.5
    for ground in GROUNDS:
        for text in TEXTS:
            reached = contrast(Color.parse(colours[text]), Color.parse(colours[ground]))
            assert reached >= needed, f"{text} on {ground}: {reached:.2f}"
    cursor = Color.parse(colours["block-cursor-foreground"]), Color.parse(colours["block-cursor-background"])
    assert contrast(*cursor) >= needed


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_curves_stand_out_from_the_background(theme: Theme) -> None:
    """3:1, as WCAG asks of graphics."""
    colours = theme.to_color_system().generate()
    for colour in (TRAIN_COLOUR, HELD_OUT_COLOUR):
        assert contrast(Color.parse(colours[colour]), Color.parse(colours["background"])) >= 3.0
