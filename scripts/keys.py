"""Write the table of all keys into docs/keys.md, from the bindings themselves: `python -m scripts.keys`."""

from __future__ import annotations

from itertools import groupby

from scripts.pages import DOCS, Part
from tui.app import LoratuiApp
from tui.keymap_table import as_typed, table_of_keys

PART = Part(DOCS / "keys.md", "<!-- keys: written by scripts/keys.py -->", "<!-- end of keys -->")


def tables() -> str:
    """Return a Markdown table for each screen and widget that has keys."""
    parts: list[str] = []
    for where, rows in groupby(table_of_keys(LoratuiApp), key=lambda row: row[0]):
        lines = [f"### {where.capitalize()}", "", "| key | what it does | name |", "|---|---|---|"]
        for _, binding, keys in rows:
            typed = " ".join(f"`{as_typed(key)}`" for key in keys)
            lines.append(f"| {typed} | {binding.tooltip} | `{binding.id}` |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    PART.write(tables())
