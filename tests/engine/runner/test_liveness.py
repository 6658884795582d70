from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.files.paths import RunDir
from engine.runner.liveness import LivenessMonitor, Stall, StallLimits
from engine.runs import engine_contract
from engine.runs.engine_contract import Heartbeat
from engine.runs.events import AnyEvent, Phase, encode_event
from engine.runs.run_tail import RunTail
from tests.support.steps import step as make_step
from tests.support.waiting import await_true

LIMITS = StallLimits(
    beat_warned=60, beat_ended=600, step_warned=100, step_warned_times=20, step_ended=1000, step_ended_times=100
)


class Watched:
    """A run whose signs of life the test gives, and the clock of who watches it."""

    def __init__(self, directory: Path) -> None:
        self.run = RunDir(directory)
        self.now = 1000.0
        self.beats = 0

    def start(self) -> None:
        """Begin to watch the run."""
        self.tail = RunTail(self.run.events)
        self.monitor = LivenessMonitor(self.run, LIMITS, clock=lambda: self.now)
        self.monitor.take(self.tail.poll())

    def look(self) -> Stall | None:
        self.monitor.take(self.tail.poll())
        return self.monitor.look()

    def beat(self) -> None:
        self.beats += 1
        self.run.heartbeat.touch()
        os.utime(self.run.heartbeat, (self.beats, self.beats))

    def say(self, event: AnyEvent) -> None:
        with self.run.events.open("ab") as file:
            file.write(encode_event(event))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def training() -> Phase:
    return Phase(time=1.0, name="training")


def test_file_is_touched_for_as_long_as_the_context_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_contract, "BEAT_SECONDS", 0.01)
    file = tmp_path / "heartbeat"
    with Heartbeat(file):
        await_true(file.exists, "the first beat")
        os.utime(file, (1, 1))
        await_true(lambda: file.stat().st_mtime > 1, "another beat")
    os.utime(file, (1, 1))
    assert file.stat().st_mtime == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_directory_that_is_gone_ends_no_beating_process(tmp_path: Path) -> None:
    with Heartbeat(tmp_path / "nowhere" / "heartbeat"):
        pass


def test_run_that_beats_is_alive_however_long_a_phase_takes(watched: Watched) -> None:
    watched.start()
    watched.say(Phase(time=1.0, name="loading"))
    for _ in range(100):
        watched.beat()
        watched.now += 59
        assert watched.look() is None


def test_run_that_stops_beating_is_told_and_then_past_hope(watched: Watched) -> None:
    watched.beat()
    watched.start()
    watched.now += 60
    assert watched.look() is None
    watched.now += 1
    assert watched.look() == Stall("has shown no sign of life", 61, hopeless=False)
    watched.beat()
    assert watched.look() is None
    watched.now += 601
    assert watched.look() == Stall("has shown no sign of life", 601, hopeless=True)


def test_run_that_never_beat_is_not_judged_by_it(watched: Watched) -> None:
    watched.start()
    watched.now += 10_000
    assert watched.look() is None


def test_events_are_signs_of_life_too(watched: Watched) -> None:
    watched.beat()
    watched.start()
    for number in range(20):
        watched.now += 50
        watched.say(make_step(number + 1))
        assert watched.look() is None


def test_training_without_steps_is_told_though_it_beats(watched: Watched) -> None:
    watched.start()
    watched.say(training())
    watched.look()
    stalls = []
    for _ in range(40):
        watched.now += 30
        watched.beat()
        stalls.append(watched.look())
    assert stalls[2] is None
    assert stalls[3] == Stall("has taken no step", 120, hopeless=False)
    assert stalls[32] == Stall("has taken no step", 990, hopeless=False)
    assert stalls[33] == Stall("has taken no step", 1020, hopeless=True)


def test_slow_steps_are_waited_for_longer(watched: Watched) -> None:
    watched.start()
    watched.say(make_step(1, seconds=60.0))
    watched.look()
    watched.now += 20 * 60
    assert watched.look() is None
    watched.now += 1
    assert watched.look() == Stall("has taken no step", 1201, hopeless=False)
    watched.now += 80 * 60
    assert watched.look() == Stall("has taken no step", 6001, hopeless=True)


def test_phases_that_take_no_steps_are_not_measured_by_them(watched: Watched) -> None:
    watched.start()
    watched.say(make_step(1))
    watched.say(Phase(time=1.0, name="evaluating"))
    watched.look()
    watched.now += 50_000
    watched.beat()
    assert watched.look() is None


def test_run_found_in_the_midst_of_training_is_given_its_time_anew(watched: Watched) -> None:
    watched.say(training())
    watched.say(make_step(7, seconds=1.0))
    watched.start()
    watched.now += 100
    assert watched.look() is None
    watched.now += 1
    assert watched.look() == Stall("has taken no step", 101, hopeless=False)
