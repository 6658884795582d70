from __future__ import annotations

import pytest

from tui.screens.run.sparkline import CELL_SECONDS, KEPT_CELLS, History, sparkline


@pytest.mark.parametrize(
    ("shares", "cells", "text"),
    [
        ([0.0, 0.13, 0.26, 0.38, 0.51, 0.63, 0.76, 1.0], 8, "▁▂▃▄▅▆▇█"),
        ([0.97, 0.98, 0.99], 3, "███"),  # not spread over the scale
        ([0.5], 3, "  ▅"),
        ([0.5, None, 0.5], 3, "▅·▅"),
        ([-1.0, 2.0], 2, "▁█"),
        ([0.1, 0.9], 1, "█"),
        ([0.5], 0, ""),
        ([], 2, "  "),
    ],
)
def test_each_share_is_a_block_of_its_height(shares: list[float | None], cells: int, text: str) -> None:
    assert sparkline(shares, cells) == text


def test_cell_is_the_mean_of_its_seconds_and_stands_still_afterwards() -> None:
    history = History()
    for second, share in ((100.0, 0.2), (102.0, 0.4), (109.9, 0.6), (110.0, 1.0)):
        history.add(second, share)
    assert history.shares(5) == pytest.approx([0.4, 1.0])
    history.add(112.0, 0.0)
    assert history.shares(5) == pytest.approx([0.4, 0.5])


def test_what_was_not_told_and_what_was_not_asked_is_unknown() -> None:
    history = History()
    assert history.shares(3) == []
    history.add(0.0, 0.5)
    history.add(1.0 * CELL_SECONDS, None)
    history.add(3.0 * CELL_SECONDS, 0.7)
    assert history.shares(10) == [0.5, None, None, 0.7]


def test_old_cells_are_forgotten() -> None:
    history = History()
    for cell in range(1000):
        history.add(cell * CELL_SECONDS, cell / 1000)
    assert history.shares(3) == pytest.approx([0.997, 0.998, 0.999])
    assert len(history.shares(1000)) == KEPT_CELLS
