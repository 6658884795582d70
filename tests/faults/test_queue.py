"""The queue goes on whoever dies: each result is recorded, once."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Finished, Started
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.fake_engine import Script, result_at
from tests.support.fake_loratui import FRONT_END_COMMAND
from tests.support.fake_runner import RECORDED
from tests.support.faults.tried import Tried
from tests.support.terminal import Terminal
from tests.support.waiting import DEADLINE_SECONDS

STEPS = 3


@pytest.mark.long
@pytest.mark.timeout(900)
def test_queue_is_trained_whole_while_its_front_end_is_killed_every_second(
    workspace: Workspace,
    store: RoundStore,
    idle_cockpit: Cockpit,
    nano_spec: Spec,
    script: Callable[[Script], None],
    times: Callable[[int, int], int],
    tried: Tried,
) -> None:
    script(Script(steps=STEPS))
    count = times(5, 100)
    rounds = [idle_cockpit.queue(nano_spec) for _ in range(count)]
    deadline = time.monotonic() + DEADLINE_SECONDS + 5 * count
    kills = 0
    while any(round_.status is not Status.FINISHED for round_ in store.rounds()):
        assert time.monotonic() < deadline, [str(round_.status) for round_ in store.rounds()]
        with Terminal([*FRONT_END_COMMAND, str(workspace.root)], workspace.root) as terminal:
            until = time.monotonic() + 1
            while terminal.read() and time.monotonic() < until:
                pass
            terminal.process.kill(signal.SIGKILL)
            kills += 1
    recorded = Counter((workspace.root / RECORDED).read_text().splitlines())
    lost = sum(recorded[f"{round_.number} finished"] != 1 for round_ in rounds)
    tried("F6", "rounds of a queue whose front end is killed every second", count, lost)
    assert kills >= times(1, 20)
    assert recorded == Counter(f"{n} {status}" for n in range(1, count + 1) for status in ("running", "finished"))
    for round_ in store.rounds():
        assert round_.result == result_at(STEPS, STEPS, f"runs/{round_.id}/adapter")
        events = read_events(workspace.run_dir(round_.id).events)
        assert [sum(isinstance(event, kind) for event in events) for kind in (Started, Finished)] == [1, 1]
