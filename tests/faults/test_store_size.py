"""F23: ten thousand rounds are listed, shown, filtered, exported and added to as five are."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.round import Result, Status
from engine.store.round_store import RoundStore
from tests.support.faults.store_writers import notes_in
from tests.support.faults.tried import Tried
from tests.support.pilot import OpenApp, shown, until
from tests.support.pilot import open_app as open_app
from tests.support.rounds import make_round
from tui.cli.main import main
from tui.screens.rounds.table import RoundTable


async def test_ten_thousand_rounds(
    empty_directory: Path,
    open_app: OpenApp,
    times: Callable[[int, int], int],
    tried: Tried,
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = times(1_000, 10_000)
    workspace = Workspace(empty_directory)
    RoundStore(workspace).create(
        tuple(
            make_round(number, note=f"note {number}", result=Result(perplexity=1 + number / 10_000))
            for number in range(1, count + 1)
        )
    )
    cockpit = Cockpit(workspace, lambda _: None)
    where = ("--workspace", str(workspace.root))
    assert main(["ls", "--json", *where], lambda _: None) == 0
    listed = json.loads(capsys.readouterr().out)
    lost = count - sum(item["note"] == f"note {item['number']}" for item in listed)
    assert main(["ls", "--filter", "ppl<1.001", *where], lambda _: None) == 0
    assert re.findall(r"note \d+", capsys.readouterr().out) == [f"note {number}" for number in range(1, 10)]
    assert main(["export", "--format", "csv", *where], lambda _: None) == 0
    exported = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    lost += count - len(exported)
    async with open_app(cockpit, size=(120, 40)) as pilot:
        await until(pilot, lambda: f"{count} rounds" in shown(pilot, "#title"), "all rounds counted")
        table = pilot.app.screen.query_one(RoundTable)
        await until(pilot, lambda: table.selected_number == count, "the last round under the cursor")
        assert f"note {count}" in shown(pilot, "#detail")
        await pilot.press("k")
        await until(pilot, lambda: f"note {count - 1}" in shown(pilot, "#detail"), "the round above")
        await pilot.press("g")
        await until(pilot, lambda: table.selected_number == 1, "the first round under the cursor")
        added = RoundStore(workspace).add(lambda number: make_round(number, Status.HELD, note="new"))
        assert added.number == count + 1
        await until(pilot, lambda: f"{count + 1} rounds" in shown(pilot, "#title"), "the new round")
        assert table.selected_number == 1
        await pilot.press("G")
        await until(pilot, lambda: table.selected_number == count + 1, "the new round under the cursor")
        await pilot.press("w")
        await until(pilot, lambda: cockpit.store.get(count + 1).status is Status.QUEUED, "the release")
    notes = notes_in(workspace.store_path)
    lost += sum(notes[number] != f"note {number}" for number in range(1, count + 1))
    tried("F23", "rounds in one store: listed, filtered, exported, inserted, changed, shown in the TUI", count, lost)
    assert lost == 0
