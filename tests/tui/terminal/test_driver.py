"""What the app does to a real terminal when it is told to end."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from engine.files.paths import Workspace
from tests.support.terminal import Terminal

LORATUI = str(Path(sys.executable).with_name("loratui"))
LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_app(reference_workspace: Workspace, signum: signal.Signals) -> None:
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        terminal.wait_for("Round 4 came out worse")
        terminal.process.kill(signum)
        terminal.wait_for_end()
        if signum is signal.SIGTERM:
            assert LEAVE_ALTERNATE_SCREEN in terminal.written


def test_terminal_that_is_too_small_says_what_it_needs(reference_workspace: Workspace) -> None:
    with Terminal([LORATUI], reference_workspace.root, columns=40, rows=12) as terminal:
        terminal.wait_for("needs 60×16 characters", "has 40×12")
        terminal.resize(80, 22)
        terminal.wait_for("5 rounds", "imported", "? Help")
        terminal.type("q")
        assert terminal.wait_for_end() == 0


def test_size_is_the_terminals_own_whatever_the_environment_says(
    reference_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    with Terminal([LORATUI], reference_workspace.root, columns=120, rows=30) as terminal:
        terminal.wait_until(lambda screen: "? Help" in screen.splitlines()[29], "the footer on the last of 30 lines")
        terminal.type("q")
        assert terminal.wait_for_end() == 0
