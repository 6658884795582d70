"""`--readonly`: a colleague's workspace is watched, and nothing in it is changed, started or locked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.runs.event_log import EventWriter
from engine.runs.events import Started
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.system.process import own_identity
from tests.support.pilot import OpenApp, on_screen, shown, until
from tests.support.rounds import damage
from tui.cli import main
from tui.settings.bindings import actions_on

WRITING_IDS = {"rounds.new", "rounds.export", "round.stop", "round.resume", "round.hold", "round.remove", "live.stop"}
CHANGES = [
    ["new", "--preset", "nano"], ["run", "--preset", "nano"], ["stop", "1"], ["resume", "1"], ["hold", "1"],
    ["release", "1"], ["rm", "1"], ["move", "1", "1"], ["rebuild"], ["share"],
]  # fmt: skip
READS = [["ls"], ["ls", "--json"], ["show", "1"], ["diff", "1", "2"], ["queue"], ["export"], ["keys"]]


def state(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything under `directory`: mode, time of change and content."""
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b""
        )
        for path in [directory, *directory.rglob("*")]
    }  # fmt: skip


def no_runner(_: Workspace) -> None:
    pytest.fail("a runner was started")


@pytest.fixture
def watched(idle_cockpit: Cockpit, nano_spec: Spec) -> Iterator[Workspace]:
    """A workspace with a queued and a running round, without the lock files of whoever made it."""
    for name in ("first", "second"):
        idle_cockpit.queue(nano_spec, name=name)
    idle_cockpit.store.update(2, status=Status.RUNNING)
    run = idle_cockpit.workspace.run_dir(idle_cockpit.store.get(2).id)
    writer = EventWriter(run.events)
    writer.append(Started(time=1.0, process=own_identity()))
    writer.close()
    for lock in idle_cockpit.workspace.root.rglob("*.lock"):
        lock.unlink()
    yield idle_cockpit.workspace


async def test_app_shows_everything_and_changes_nothing(open_app: OpenApp, watched: Workspace) -> None:
    before = state(watched.root)
    async with open_app(Cockpit(watched, no_runner, readonly=True)) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        assert shown(pilot, "#read-only") == "read-only"
        offered = {action.binding.id for action in actions_on(pilot.app.screen)}
        assert not offered & WRITING_IDS
        assert {"table.open", "rounds.queue", "app.quit"} <= offered
        await pilot.press(*"nexrwdzpRi", "escape")
        assert on_screen(pilot, "RoundsScreen")
        await pilot.press("u")
        await until(pilot, lambda: on_screen(pilot, "QueueScreen"), "the queue")
        assert not {action.binding.id for action in actions_on(pilot.app.screen)} & (
            WRITING_IDS | {"queue.earlier", "queue.later", "queue.next"}
        )
        await pilot.press(*"KJtxd", "escape", "enter")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")
        assert shown(pilot, "#read-only") == "read-only"
        assert not {action.binding.id for action in actions_on(pilot.app.screen)} & WRITING_IDS
        await pilot.press("x", "ctrl+g")
        await pilot.pause()
        assert on_screen(pilot, "LiveScreen")
    assert state(watched.root) == before


@pytest.mark.parametrize("command", CHANGES, ids=" ".join)
def test_command_that_would_change_something_is_refused(
    watched: Workspace, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    before = state(watched.root)
    for words in ([*command, "--readonly"], ["--readonly", *command]):
        assert main.main([*words, "--workspace", str(watched.root)], no_runner) == 2
        told = capsys.readouterr().err
        assert "is open for reading only: leave --readonly out to change it" in told
    assert state(watched.root) == before


@pytest.mark.parametrize("command", READS, ids=" ".join)
def test_command_that_reads_says_the_same(
    watched: Workspace, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    before = state(watched.root)
    assert main.main([*command, "--readonly", "--workspace", str(watched.root)], no_runner) == 0
    read_only = capsys.readouterr()
    assert state(watched.root) == before
    assert main.main([*command, "--workspace", str(watched.root)], lambda _: None) == 0
    printed = capsys.readouterr()
    assert printed.out == read_only.out and read_only.err == ""
    assert printed.err == "" or "no runner is at work" in printed.err  # which only finding a lock free tells


async def test_damaged_store_is_left_to_its_owner(open_app: OpenApp, watched: Workspace) -> None:
    damage(watched.store_path, b"{")
    before = state(watched.root)
    async with open_app(Cockpit(watched, no_runner, readonly=True)) as pilot:
        await until(pilot, lambda: shown(pilot, "#banner") != "", "what is wrong")
    assert state(watched.root) == before


async def test_absent_store_is_not_made(open_app: OpenApp, empty_directory: Path) -> None:
    async with open_app(Cockpit(Workspace(empty_directory), no_runner, readonly=True)) as pilot:
        await until(pilot, lambda: not pilot.app.is_running, "the end")
        assert "leave --readonly out to make one" in str(pilot.app.return_value)
    assert os.listdir(empty_directory) == []
