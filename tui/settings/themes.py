"""The themes, and the theme variables that name our colours."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import Theme

TRAIN_COLOUR = "primary-lighten-2"
HELD_OUT_COLOUR = "warning"

DARK = Theme(
    name="loratui-dark",
    primary="#2A78BF",
    secondary="#3D6E99",
    warning="#E8A33D",
    error="#B93C5B",
    success="#4EBF71",
    accent="#E8A33D",
    foreground="#E2E6EA",
    background="#11151A",
    surface="#1A2028",
    panel="#232C36",
    variables={
        "text": "#E2E6EA",
        "text-muted": "#A0ABB6",
        "text-disabled": "#7D8893",
        "text-primary": "#72B7F2",
        "text-secondary": "#8DB3D3",
        "text-accent": "#FFC473",
        "text-warning": "#FFC473",
        "text-error": "#F08CA2",
        "text-success": "#8AD4A1",
        "block-cursor-foreground": "#FFFFFF",
        "block-cursor-background": "#1F62A0",
        "footer-key-foreground": "#FFC473",
    },
)

LIGHT = Theme(
    name="loratui-light",
    primary="#0B5CAD",
    secondary="#3D6E99",
    warning="#B06A00",
    error="#B3203C",
    success="#1F7A3D",
    accent="#B06A00",
    foreground="#1C2126",
    background="#FBFBFB",
    surface="#F0F2F4",
    panel="#E3E7EB",
    dark=False,
    variables={
        "text": "#1C2126",
        "text-muted": "#4A545E",
        "text-disabled": "#6E7882",
        "text-primary": "#0A4F96",
        "text-secondary": "#2F5B82",
        "text-accent": "#774600",
        "text-warning": "#774600",
        "text-error": "#A3162F",
        "text-success": "#14602C",
        "primary-lighten-2": "#2F79C4",
        "block-cursor-foreground": "#FFFFFF",
        "block-cursor-background": "#0B5CAD",
        "footer-key-foreground": "#0A4F96",
    },
)

CONTRAST = Theme(
    name="loratui-contrast",
    primary="#66B3FF",
    secondary="#9CCBFF",
    warning="#FFD84A",
    error="#FF8FA3",
    success="#7CFF9E",
    accent="#FFD84A",
    foreground="#FFFFFF",
    background="#000000",
    surface="#181818",
    panel="#262626",
    variables={
        "text": "#FFFFFF",
        "text-muted": "#D6D6D6",
        "text-disabled": "#B5B5B5",
        "text-primary": "#8CC8FF",
        "text-secondary": "#B5D8FF",
        "text-accent": "#FFD84A",
        "text-warning": "#FFD84A",
        "text-error": "#FF9FB0",
        "text-success": "#7CFF9E",
        "primary-lighten-2": "#8CC8FF",
        "block-cursor-foreground": "#000000",
        "block-cursor-background": "#FFD84A",
        "block-cursor-blurred-foreground": "#FFFFFF",
        "block-cursor-blurred-background": "#333333",
        "border": "#FFFFFF",
        "footer-key-foreground": "#FFD84A",
        "input-cursor-background": "#FFFFFF",
        "input-cursor-foreground": "#000000",
    },
)

THEMES = (DARK, LIGHT, CONTRAST)


def without_colours(theme: Theme) -> Theme:
    """Return a theme of the same name for `NoColours`: dark except for the cursor and what must stand out."""
    cursor = {"block-cursor-background": "#FFFFFF", "block-cursor-blurred-background": "#333333"}
    return replace(CONTRAST, name=theme.name, variables=CONTRAST.variables | cursor)
