"""Notes for the table of faults."""

from __future__ import annotations

from typing import Protocol


class Tried(Protocol):
    """Notes for the table how often `fault` (`F1` ...) was tried, in the way that `what` says, and what was lost."""

    def __call__(self, fault: str, what: str, times: int, lost: int = 0) -> None: ...
