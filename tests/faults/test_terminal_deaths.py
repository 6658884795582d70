"""The terminal goes, or the front end is told to go: it goes, what trains stays, and the terminal is given back."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil
import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.fake_engine import Script
from tests.support.faults.tried import Tried
from tests.support.processes import is_running
from tests.support.terminal import ENTER, Terminal, ctrl
from tests.support.waiting import await_rounds, await_true

Follow = Callable[[Script], None]
Times = Callable[[int, int], int]

LORATUI = str(Path(sys.executable).with_name("loratui"))
IGNORING_HANGUP = ["sh", "-c", f"trap '' HUP; exec {LORATUI}"]
ENDLESS = Script(steps=1_000_000, step_seconds=0.02)
PAYLOAD = "\x1b]52;c;MzEzMzc=\x07\x1b[31337m[bold]"
LEAVE_SECONDS = 15.0
KEYS = {"rounds": "", "live": ENTER, "form": "n" + ENTER, "deletion": "d", "start from": "n", "help": "?"}


@pytest.fixture
def engine(
    workspace: Workspace, store: RoundStore, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> psutil.Process:
    """The engine of a round that trains on and on."""
    script(ENDLESS)
    cockpit.queue(nano_spec, note="it trains on")
    (round_,) = await_rounds(store, lambda rounds: rounds[0].process is not None)
    assert round_.process is not None
    return psutil.Process(round_.process.pid)


def events_size(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in workspace.runs_dir.glob("*/events.jsonl"))


def goes(process: psutil.Process, seconds: float = LEAVE_SECONDS) -> bool:
    """Whether a process ends in time; one that does not is killed."""
    deadline = time.monotonic() + seconds
    while is_running(process):
        if time.monotonic() > deadline:
            process.kill()
            return False
        time.sleep(0.02)
    return True


def trains_on(workspace: Workspace, engine: psutil.Process) -> bool:
    before = events_size(workspace)
    await_true(lambda: events_size(workspace) > before or not is_running(engine), "the next step")
    return is_running(engine)


@pytest.mark.parametrize("command", [[LORATUI], IGNORING_HANGUP], ids=["hangup", "hangup ignored"])
def test_hangup_ends_the_front_end_and_not_the_engine(
    workspace: Workspace, engine: psutil.Process, command: Sequence[str], tried: Tried, times: Times
) -> None:
    chance, left, killed = random.Random(1), 0, 0
    count = times(2, 15)
    for number in range(count):
        with Terminal(command, workspace.root) as terminal:
            terminal.wait_for("it trains on")
            if number % 2 == 0:
                terminal.type(ENTER)
                terminal.wait_for("tokens/s")
            until = time.monotonic() + chance.random() / 2
            while time.monotonic() < until:
                terminal.read()
            front_end = psutil.Process(terminal.process.pid)
            terminal.hang_up()
            left += not goes(front_end)
            killed += not trains_on(workspace, engine)
    what = "terminal closed" + (", SIGHUP ignored" if command is IGNORING_HANGUP else "")
    tried("F8", f"{what}; the front end must go, the engine stay", count, left + killed)
    assert (left, killed) == (0, 0)


class Tmux:
    """A server of its own with one window that runs a shell command."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "tmux"

    def __call__(self, *words: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "TMUX"}
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words],
            capture_output=True, text=True, timeout=20, env=environment,
        )  # fmt: skip
        return done.stdout

    def await_text(self, text: str) -> str:
        await_true(lambda: text in self("capture-pane", "-p"), f"{text!r} in the window")
        return self("capture-pane", "-p")

    def state(self) -> dict[str, str]:
        """What tmux, as a terminal, was told."""
        names = ("alternate_on", "cursor_flag", "mouse_any_flag", "keypad_flag", "wrap_flag")
        told = self("display-message", "-p", " ".join(f"#{{{name}}}" for name in names))
        return dict(zip(names, told.split(), strict=True))


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    if shutil.which("tmux") is None:
        pytest.skip("there is no tmux here")
    server = Tmux(tmp_path)
    yield server
    server("kill-server")


@pytest.mark.long
def test_end_of_tmux_ends_the_front_end_and_not_the_engine(
    workspace: Workspace, engine: psutil.Process, tmux: Tmux, tried: Tried, times: Times
) -> None:
    count, left, killed = times(2, 10), 0, 0
    for number in range(count):
        command = f"exec {LORATUI}" if number % 2 else f"trap '' HUP; exec {LORATUI}"
        tmux("new-session", "-d", "-x", "100", "-y", "30", "-c", str(workspace.root), command)
        tmux.await_text("it trains on")
        tmux("send-keys", "Enter")
        tmux.await_text("tokens/s")
        front_end = psutil.Process(int(tmux("display-message", "-p", "#{pane_pid}")))
        assert "loratui" in " ".join(front_end.cmdline())
        tmux("kill-server")
        left += not goes(front_end)
        killed += not trains_on(workspace, engine)
    tried("F8", "tmux kill-server under a live run; the front end must go, the engine stay", count, left + killed)
    assert (left, killed) == (0, 0)


@pytest.mark.long
def test_front_end_that_reads_no_more_ends_when_told(
    workspace: Workspace, engine: psutil.Process, tried: Tried, times: Times
) -> None:
    """A terminal that is stopped, as by a dead connection before it is noticed, takes no last words either."""
    count, left = times(1, 3), 0
    for _ in range(count):
        with Terminal([LORATUI], workspace.root, columns=200, rows=60) as terminal:
            terminal.wait_for("it trains on")
            terminal.type(ENTER)
            terminal.wait_for("tokens/s")
            terminal.type("?" + "q?" * 40)  # more to draw than a terminal's buffer holds
            time.sleep(1.0)  # nobody reads
            terminal.process.kill(signal.SIGTERM)
            left += not goes(psutil.Process(terminal.process.pid))
    tried("F8", "SIGTERM while the terminal takes no output", count, left)
    assert left == 0
    assert is_running(engine)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_ends_the_front_end_and_the_terminal_is_as_before(
    reference_workspace: Workspace, signum: signal.Signals, tried: Tried, times: Times
) -> None:
    found, places = [], list(KEYS)[:: times(3, 1)] * times(1, 3)
    for number, place in enumerate(places):
        directory = reference_workspace.root / str(number)  # a round that one deletes is not there for the next
        directory.mkdir()
        shutil.copy(reference_workspace.store_path, directory)
        with Terminal([LORATUI], directory) as terminal:
            terminal.wait_for("Round 4 came out worse")
            for key in KEYS[place]:
                terminal.type(key)
                terminal.read(0.3)
            terminal.process.kill(signum)
            code = terminal.wait_for_end()
            if code != 128 + signum or terminal.damage():
                found.append((place, code, terminal.damage()))
    tried("F9", f"{signum.name}; the terminal must be as before", len(places), len(found))
    assert found == []


@pytest.mark.long
def test_signals_at_any_moment_of_the_start_leave_the_terminal_as_before(
    reference_workspace: Workspace, tried: Tried, times: Times
) -> None:
    chance, count, found = random.Random(2), times(4, 40), []
    for _ in range(count):
        with Terminal([LORATUI], reference_workspace.root) as terminal:
            wait = chance.uniform(0.0, 1.2)
            until = time.monotonic() + wait
            while time.monotonic() < until:
                terminal.read(0.01)
            terminal.process.kill(signal.SIGTERM)
            terminal.wait_for_end()
            if terminal.damage():
                found.append((wait, terminal.damage()))
    tried("F9", "SIGTERM in the first 1.2 s; the terminal must be as before", count, len(found))
    assert found == []


@pytest.mark.long
def test_tmux_finds_its_window_as_it_was(reference_workspace: Workspace, tmux: Tmux, tried: Tried) -> None:
    """A second opinion on what it is to be as before: that of a terminal in wide use."""
    tmux("new-session", "-d", "-x", "100", "-y", "30", "-c", str(reference_workspace.root), "sh")
    tmux("send-keys", "echo stood here; stty -g > before; PS1='$ '", "Enter")
    tmux.await_text("stood here")
    before = tmux.state()
    found = []
    signals = ("TERM", "HUP", "INT")
    for name in signals:
        tmux("send-keys", f"{LORATUI}; echo left with $?", "Enter")
        tmux.await_text("Round 4 came out worse")
        (front_end,) = psutil.Process(int(tmux("display-message", "-p", "#{pane_pid}"))).children()
        front_end.send_signal(getattr(signal, f"SIG{name}"))
        text = tmux.await_text(f"left with {128 + getattr(signal, f'SIG{name}')}")
        if "stood here" not in text or "Round 4" in text or tmux.state() != before:
            found.append((name, tmux.state(), text))
    tmux("send-keys", "stty -g | cmp - before && echo the same line", "Enter")
    tmux.await_text("the same line\n")
    tried("F9", "SIGTERM, SIGHUP, SIGINT in tmux; the window must be as before", len(signals), len(found))
    assert found == []


def test_suspended_front_end_gives_the_terminal_back_and_comes_again(
    reference_workspace: Workspace, tried: Tried
) -> None:
    hows = (signal.SIGTSTP, signal.SIGSTOP)
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        front_end = psutil.Process(terminal.process.pid)

        def suspended() -> bool:
            return terminal.read() and front_end.status() == psutil.STATUS_STOPPED

        for how in hows:
            terminal.wait_for("Round 4 came out worse")
            front_end.send_signal(how)
            await_true(suspended, "the suspension")
            if how is not signal.SIGSTOP:  # which leaves nobody to give anything back
                await_true(lambda: suspended() and not terminal.damage(), "the terminal as it was before")
            terminal.wipe()
            front_end.send_signal(signal.SIGCONT)
        terminal.wait_for("Round 4 came out worse")
        terminal.type("q")
        code, damage = terminal.wait_for_end(), terminal.damage()
    what = "SIGTSTP, SIGSTOP, each continued; the screen must be drawn anew"
    tried("F9", what, len(hows), code != 0 or bool(damage))
    assert (code, damage) == (0, [])


@pytest.mark.long
def test_suspension_comes_while_the_screen_is_drawn(
    reference_workspace: Workspace, tried: Tried, times: Callable[[int, int], int]
) -> None:
    def is_suspended(terminal: Terminal, front_end: psutil.Process) -> bool:
        return terminal.read() and front_end.status() == psutil.STATUS_STOPPED

    for _ in range(starts := times(2, 60)):
        with Terminal([LORATUI], reference_workspace.root) as terminal:
            front_end = psutil.Process(terminal.process.pid)
            terminal.wait_for("Round 4 came out worse")
            front_end.send_signal(signal.SIGTSTP)
            await_true(partial(is_suspended, terminal, front_end), "the suspension")
            front_end.kill()
    tried("F9", "SIGTSTP while the first screen is drawn", starts)


def test_ctrl_z_gives_the_terminal_to_the_shell_that_started_the_app(
    reference_workspace: Workspace, tried: Tried
) -> None:
    jobs = f"set -m; {LORATUI}; echo suspended; read line; fg; echo left with $?"
    with Terminal(["/bin/sh", "-c", jobs], reference_workspace.root) as terminal:
        terminal.wait_for("Round 4 came out worse")
        terminal.type(ctrl("z"))
        terminal.wait_for("suspended")
        damage = terminal.damage()
        terminal.type("\n")
        terminal.wait_for("Round 4 came out worse")
        terminal.type("q")
        terminal.wait_for("left with 0")
    tried("F9", "Ctrl+Z, then fg", 1, bool(damage))
    assert damage == []


def test_ctrl_z_stops_nothing_that_no_shell_could_continue(reference_workspace: Workspace, tried: Tried) -> None:
    """As in `tmux new loratui` and `ssh -t HOST loratui`."""
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        terminal.wait_for("Round 4 came out worse")
        terminal.type(ctrl("z"))
        terminal.wait_for("no shell started loratui here")
        terminal.type("q")
        code = terminal.wait_for_end()
    tried("F9", "Ctrl+Z where no shell is", 1, code)
    assert code == 0


@pytest.mark.long
def test_front_end_is_drawn_anew_however_often_it_is_continued(
    reference_workspace: Workspace, tried: Tried, times: Times
) -> None:
    """Whichever of its threads the system tells."""
    count = times(30, 600)
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        front_end = psutil.Process(terminal.process.pid)
        terminal.wait_for("Round 4 came out worse")
        terminal.read_all()
        for _ in range(count):
            front_end.send_signal(signal.SIGSTOP)
            await_true(lambda: front_end.status() == psutil.STATUS_STOPPED, "the suspension")
            terminal.wipe()
            front_end.send_signal(signal.SIGCONT)
            terminal.wait_for("Round 4 came out worse")
            terminal.read_all(0.05)
        terminal.type("q")
        code = terminal.wait_for_end()
    tried("F9", "SIGSTOP and SIGCONT again and again; the screen must be drawn anew", count, code != 0)
    assert code == 0


DEFECTS = {
    "handler": ("from tui.screens.rounds.screen import RoundsScreen as X; X.action_new = broken", "n"),
    "handler of a message": ("from tui.screens.rounds.screen import RoundsScreen as X; X.show_rounds = broken", ""),
    "worker": ("import tui.screens.rounds.screen as X; X.follow_store = broken", ""),
    "worker of a run": ("import tui.screens.run.screen as X; X.follow_run = broken", ENTER),
    "compose": ("from tui.screens.rounds.detail import RoundDetail as X; X.compose = broken", ""),
    "compose of a screen": ("from tui.screens.dialogs.help import HelpScreen as X; X.compose = broken", "?"),
    "render": ("from tui.screens.rounds.table import RoundTable as X; X.render_line = broken", ""),
    "start": ("from tui.app import LoratuiApp as X; X.get_default_screen = broken", ""),
    "timer": ("from tui.screens.run.screen import LiveScreen as X; X._tick = broken", ENTER),
    "input": ("from textual.drivers import linux_driver as X; X.XTermParser.feed = broken", "x"),
}
BROKEN = f"def broken(*a, **k): raise ValueError({PAYLOAD!r})\n"


@pytest.mark.parametrize("place", DEFECTS)
def test_defect_ends_the_front_end_with_a_sentence_and_a_file(
    reference_workspace: Workspace, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    defect, keys = DEFECTS[place]
    code = f"import sys\n{BROKEN}{defect}\nfrom tui.cli.main import main\nsys.exit(main([]))"
    with Terminal([sys.executable, "-P", "-c", code], reference_workspace.root, columns=200) as terminal:
        if keys:
            terminal.wait_for("Round 4 came out worse")
            terminal.type(keys)
        exit_code, damage = terminal.wait_for_end(), terminal.damage()
    (log,) = tmp_path.rglob("crash.log")
    words = terminal.text
    wrong = [
        *damage,
        *(["exit code"] if exit_code != 1 else []),
        *(["traceback on the screen"] if "Traceback" in words or b"Traceback" in terminal.written else []),
        *(["no sentence"] if "loratui: unexpected ValueError, a defect" not in words or str(log) not in words else []),
        *(["escape sequence"] if b"31337" in terminal.written or b"MzEz" in terminal.written else []),
        *(["no traceback in the file"] if "ValueError: ␛]52" not in log.read_text() else []),
        *(["open to others"] if log.stat().st_mode & 0o077 else []),
    ]
    tried("F9", "defect in a handler, worker, compose, render, timer, input", 1, bool(wrong))
    assert wrong == [], words


STUCK = {
    "asleep": "import time; broken = lambda *a: time.sleep(1000)",
    "waiting for a lock": "import threading; l = threading.Lock(); l.acquire(); broken = lambda *a: l.acquire()",
    "busy": "def broken(*a):\n    while True: pass",
}


@pytest.mark.long
def test_stuck_front_end_ends_all_the_same_when_told(
    reference_workspace: Workspace, tried: Tried, times: Times
) -> None:
    defect, keys = DEFECTS["handler"]
    hows = list(STUCK)[: times(1, 3)]
    found = []
    for how in hows:
        code = f"import sys\n{STUCK[how]}\n{defect}\nfrom tui.cli.main import main\nsys.exit(main([]))"
        with Terminal([sys.executable, "-P", "-c", code], reference_workspace.root) as terminal:
            terminal.wait_for("Round 4 came out worse")
            terminal.type(keys)
            terminal.read(0.5)
            terminal.process.kill(signal.SIGTERM)
            exit_code = terminal.wait_for_end(LEAVE_SECONDS)
            if exit_code != 143 or terminal.damage():
                found.append((how, exit_code, terminal.damage()))
    tried("F9", "SIGTERM to a front end that is stuck", len(hows), len(found))
    assert found == []


def test_standard_input_that_ends_ends_the_front_end(reference_workspace: Workspace, tried: Tried) -> None:
    """Its output is a terminal still, but one that nobody types at."""
    keyboard, line = os.openpty()
    command = f"exec {LORATUI} < {os.ttyname(line)}"
    with Terminal(["sh", "-c", command], reference_workspace.root) as terminal:
        terminal.wait_for("Round 4 came out worse")
        os.close(line)
        os.close(keyboard)
        code = terminal.wait_for_end(LEAVE_SECONDS)
        damage = terminal.damage()
    tried("F8", "standard input ended, output still there", 1, code == 0 or bool(damage))
    assert (code, damage) == (129, [])
