"""A short history in one line of text, legible without colour."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
UNKNOWN = "·"
CELL_SECONDS = 10.0
KEPT_CELLS = 60


class History:
    """The mean of a share, 0 to 1, over each `CELL_SECONDS`; None where it was not measured.

    A finished cell never changes, so that a picture of it moves only once in `CELL_SECONDS`.
    """

    def __init__(self) -> None:
        self._cells: deque[tuple[int, float, int]] = deque(maxlen=KEPT_CELLS)  # number, sum, count

    def add(self, at: float, share: float | None) -> None:
        """Add the share measured at the time `at`, in seconds of any clock that goes forward."""
        number = int(at // CELL_SECONDS)
        if not self._cells or self._cells[-1][0] < number:
            self._cells.append((number, 0.0, 0))
        if share is not None:
            last, total, count = self._cells.pop()
            self._cells.append((last, total + share, count + 1))

    def shares(self, count: int) -> list[float | None]:
        """Return the last `count` cells, or all if there are fewer."""
        if not self._cells:
            return []
        means = {number: total / count for number, total, count in self._cells if count}
        newest = self._cells[-1][0]
        oldest = max(self._cells[0][0], newest - count + 1)
        return [means.get(number) for number in range(oldest, newest + 1)]


def sparkline(shares: Sequence[float | None], cells: int) -> str:
    """Return one block per share between 0 and 1, the newest on the right; `UNKNOWN` for None.

    The scale is fixed, unlike that of Textual's `Sparkline`, which goes from the least to the greatest value: a GPU
    that is 97 to 99 % busy must look busy.
    """
    blocks = [UNKNOWN if share is None else BLOCKS[_level(share)] for share in shares[-cells:]] if cells else []
    return "".join(blocks).rjust(cells)


def _level(share: float) -> int:
    return min(len(BLOCKS) - 1, max(0, int(share * len(BLOCKS))))
