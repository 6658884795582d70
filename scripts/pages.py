"""Write a part of a page of docs/ that is made from what it tells about."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"


class Part(NamedTuple):
    """The part of a page between two lines, which are comments in Markdown."""

    page: Path
    begin: str
    end: str

    def is_written(self, part: str) -> bool:
        """Return True if the page holds `part` there."""
        page = self.page.read_text(encoding="utf-8")
        return self.replaced(page, part) == page

    def write(self, part: str) -> None:
        """Put `part` there in the place of what the page holds."""
        self.page.write_text(self.replaced(self.page.read_text(encoding="utf-8"), part), encoding="utf-8")

    def replaced(self, page: str, part: str) -> str:
        """Return the text of the page with another part; raises ValueError if the lines are missing."""
        before, _, rest = page.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not end:
            raise ValueError(f"{self.page} must hold {self.begin!r} and {self.end!r}: put the two lines in it")
        return f"{before}{self.begin}\n\n{part}\n\n{end}{after}"
