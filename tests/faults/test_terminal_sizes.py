"""A storm of terminal sizes, as of a window that is dragged: the front end lives, and is right again afterwards."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.runs.event_log import EventWriter
from engine.runs.events import Evaluated, Sampled, Started, Step
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.process import own_identity
from tests.support.faults.tried import Tried
from tests.support.terminal import ENTER, ESCAPE, Terminal, ctrl

Times = Callable[[int, int], int]

LORATUI = str(Path(sys.executable).with_name("loratui"))
pytestmark = pytest.mark.usefixtures("forked_workers")
EDGES = [(0, 0), (1, 1), (0, 24), (80, 0), (1, 500), (500, 1), (500, 500), (2, 2), (40, 12), (60, 16), (79, 22)]
MAX_BYTES = 200 * 1024**2
START, FORM, PREVIEW = "Start the new round from", "New round", "the supervised part is"
# What is typed from the table on, with what then stands on the screen; and what goes with each Escape back.
PLACES: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "rounds": ([], []),
    "live": ([(ENTER, "learning rate")], ["learning rate"]),
    "samples": ([(ENTER, "learning rate"), ("s", "the dragon")], ["the dragon", "learning rate"]),
    "start from": ([("n", START)], [START]),
    "form": ([("n", START), (ENTER, FORM)], [FORM]),
    "preview": ([("n", START), (ENTER, FORM), (ctrl("o"), PREVIEW)], [PREVIEW, FORM]),
    "question": ([("e", "comparison is in"), ("e", "Overwrite (y)")], ["Overwrite (y)"]),
    "help": ([("?", "esc close")], ["esc close"]),
}


@pytest.fixture
def finished(workspace: Workspace, store: RoundStore, idle_cockpit: Cockpit, nano_spec: Spec) -> Workspace:
    """A workspace with one finished round that has a curve and samples."""
    round_ = idle_cockpit.queue(nano_spec, note="the only round", hold=True)
    writer = EventWriter(workspace.run_dir(round_.id).events)
    now = time.time()
    writer.append(Started(time=now, process=own_identity()))
    for step in range(1, 200):
        writer.append(
            Step(
                time=now + step, step=step, epoch=step / 200, loss=2 / step, learning_rate=1e-4, grad_norm=1.0,
                tokens=10, seconds=1.0, train_seconds=float(step), trained_tokens=10 * step, memory_bytes=1000,
            )
        )  # fmt: skip
    writer.append(Evaluated(time=now + 200, step=199, eval_loss=1.0, perplexity=2.7, supervised_tokens=10))
    writer.append(Sampled(time=now + 200, step=199, prompt="Who spits fire?", expected="the dragon", text="a dragon"))
    writer.close()
    store.update(round_.number, status=Status.FINISHED)
    return workspace


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
def test_storm_of_sizes_is_weathered(finished: Workspace, place: str, tried: Tried, times: Times) -> None:
    steps, back = PLACES[place]
    words = steps[-1][1] if steps else "the only round"
    chance, count = random.Random(place), times(12, 70)
    with Terminal([LORATUI], finished.root) as terminal:
        process = psutil.Process(terminal.process.pid)
        terminal.wait_for("the only round")
        for key, shown in steps:
            terminal.type(key)
            terminal.wait_for(shown)
        terminal.wait_for(words)
        terminal.read_all()
        line, most = _line_of(words, terminal.text), 0
        for number in range(count):
            size = EDGES[number % len(EDGES)] if number % 2 else (chance.randint(0, 500), chance.randint(0, 500))
            terminal.resize(*size)
            if chance.random() < 0.5:
                terminal.read(0.02)
            most = max(most, process.memory_info().rss)
        terminal.resize(80, 24)
        terminal.wipe()
        # In its old place: what was drawn for another size may arrive late, and then a key would too.
        screen = terminal.wait_until(lambda screen: _line_of(words, screen) == line, f"{words!r} where it was")
        for gone in back:
            terminal.type(ESCAPE)
            terminal.wait_until(partial(_lacks, gone), f"the end of {gone!r}")
        terminal.wait_for("the only round", "finished", "1 round")
        most = max(most, process.memory_info().rss)
        terminal.type("q")
        code, damage = terminal.wait_for_end(), terminal.damage()
    lost = code != 0 or bool(damage) or most > MAX_BYTES
    tried(
        "F22", f"sizes 0x0 to 500x500; the screen must be right again in less than {MAX_BYTES >> 20} MiB", count, lost
    )
    assert (code, damage) == (0, []), screen
    assert most < MAX_BYTES


def _line_of(words: str, screen: str) -> tuple[int, str] | None:
    """Which line has them, and all of that line."""
    return next(((number, line) for number, line in enumerate(screen.splitlines()) if words in line), None)


def _lacks(text: str, screen: str) -> bool:
    return text not in screen
