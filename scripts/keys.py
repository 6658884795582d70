"""Write the table of all keys into docs/keys.md, from the bindings themselves: `python -m scripts.keys`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tui.app import LoratuiApp
from tui.keymap_table import as_typed, table_of_keys

PAGE = Path(__file__).resolve().parents[1] / "docs" / "keys.md"
BEGIN, END = "<!-- keys: written by scripts/keys.py -->", "<!-- end of keys -->"


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


def with_tables(page: str) -> str:
    """Return the page with new tables between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} must hold {BEGIN!r} and {END!r}: put the two lines where the tables belong")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
