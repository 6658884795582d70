"""The table of a ranking cuts no number, however narrow it is."""

from __future__ import annotations

import pytest
from rich.console import Console

from engine.preference.judgement_log import Judgements, Side
from engine.preference.ranking import rank
from tests.support.judged import preferred
from tui.views.ranking import RankingTable, ranking_table

RANKING = rank(
    Judgements(
        tuple(
            preferred(
                prompt,
                "first",
                sides=(Side("a-model/that-has-a-name-without-a-space"), Side(f"another model {number}")),
            )
            for number in range(3)
            for prompt in ("a", "b")
        )
    ),
    [],
)


def lines(table: object, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as written:
        console.print(table)
    return written.get().splitlines()


@pytest.mark.parametrize("width", [40, 58, 77, 120])
def test_table_cuts_no_number_at_any_width(width: int) -> None:
    drawn = lines(RankingTable(RANKING), width)
    assert len(RANKING.places) == 4
    assert all("…" not in line[: drawn[0].index("name")] for line in drawn)
    assert ("judgements" in drawn[0]) == (width > 40)
    assert {"round", "preferred", "95", "name"} <= set(drawn[0].split())


def test_table_has_all_columns_where_there_is_room() -> None:
    assert lines(RankingTable(RANKING), 120) == lines(ranking_table(RANKING), 120)
