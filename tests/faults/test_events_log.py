"""The event log of a process that is killed while it writes, of a machine that crashes, and of a disk that fills up."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.compare.columns import columns
from engine.runs.event_log import FSYNC_SECONDS, EventTail, EventWriter, read_events
from engine.runs.events import (
    AnyEvent,
    Evaluated,
    Sampled,
    Saved,
    Started,
    Step,
    Warned,
    decode_event,
    encode_event,
)
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot, measured_by
from engine.spec.round import Result
from engine.system.process import ProcessIdentity
from engine.training.evaluation.perplexity import Evaluation
from tests.support.disks import ENVIRONMENT, in_small_disk, needs_strace
from tests.support.faults.kills import killed_while_writing
from tests.support.faults.tried import Tried
from tests.support.rounds import make_round
from tests.support.steps import step

Times = Callable[[int, int], int]
LARGE = "what the model says 🦙 " * 20_000  # long enough that a kill tears it

# Appends events numbered from where it starts, and says the number of each once it is written.
WRITER = """
import sys
from pathlib import Path
from engine.runs.events import Sampled, Warned
from engine.runs.event_log import EventWriter
path, number, large = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
writer = EventWriter(path)
while True:
    number += 1
    if number % 7:
        writer.append(Warned(time=float(number), message=str(number)))
    else:
        text = "what the model says 🦙 " * 20_000
        writer.append(Sampled(time=float(number), step=number, prompt="", expected="", text=text))
    print(number, flush=True)
"""


def numbers(events: list[AnyEvent]) -> list[int]:
    return [int(event.time) for event in events]


def test_killed_writer_loses_no_event_that_it_told_of(tmp_path: Path, tried: Tried, times: Times) -> None:
    """And the next writer heals what was torn: no event is there twice, and every line can be read."""
    log, draw = tmp_path / "events.jsonl", random.Random(0)
    kills, torn, lost, acknowledged = times(15, 200), 0, 0, 0
    for _ in range(kills):
        before = numbers(read_events(log))
        told = [acknowledged + 1, *map(int, killed_while_writing(draw, WRITER, log, acknowledged, "x").split())]
        torn += not log.read_bytes().endswith(b"\n")
        EventWriter(log).close()
        kept = numbers(read_events(log))
        lost += len({*before, *told} - {*kept})
        assert kept == list(range(1, len(kept) + 1)), "an event is there twice, or out of order"
        assert all(decode_event(line) is not None for line in log.read_bytes().splitlines())
        acknowledged = len(kept)
        if log.stat().st_size > 30e6:  # begin anew before reading takes longer than writing
            log.unlink()
            acknowledged = 0
    tried("F5", f"kill -9 at a random moment of appending, {'some' if torn else 'no'} lines torn", kills, lost)
    assert lost == 0


TAILS = {
    "zeros, as ext4 and xfs leave them": b"\0" * 4096,
    "zeros within a line": encode_event(step(4))[:50] + b"\0" * 900,
    "a letter cut in two": encode_event(Warned(time=4.0, message="🦙"))[:38],
    "valid JSON without its newline": encode_event(step(4))[:-1],
    "a line cut at a comma": encode_event(step(4)).rpartition(b",")[0],
    "half of a large line": encode_event(Sampled(time=4.0, step=4, prompt="", expected="", text=LARGE))[:200_000],
    "rubbish": bytes(range(128, 256)) * 40,
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_tail_of_a_crash_is_cut_off_and_nothing_before_it(tmp_path: Path, tried: Tried, tail: bytes) -> None:
    log = tmp_path / "events.jsonl"
    whole: list[AnyEvent] = [step(1), step(2), Warned(time=3.0, message="three")]
    lost = 0
    cuts = range(1, len(tail) + 1, max(1, len(tail) // 50))
    for cut in cuts:
        log.write_bytes(b"".join(map(encode_event, whole)) + tail[:cut])
        follower, runs = EventTail(log), RunTail(log)
        lost += follower.poll() != whole or RunSnapshot(runs.poll()).last_step != step(2)
        writer = EventWriter(log)
        writer.append(step(5))
        writer.close()
        lost += log.read_bytes() != b"".join(map(encode_event, [*whole, step(5)]))
        lost += follower.poll() != [step(5)]
    tried("F5", "a torn or zero-filled tail", len(cuts), lost)
    assert lost == 0


def test_zeros_in_the_middle_cost_only_the_lines_they_lie_in(tmp_path: Path, tried: Tried) -> None:
    """A block that a crash left unwritten while later ones were."""
    log = tmp_path / "events.jsonl"
    lines = [encode_event(step(number)) for number in range(1, 200)]
    data = bytearray(b"".join(lines))
    data[4096:8192] = bytes(4096)
    log.write_bytes(data)
    ends = [sum(map(len, lines[: count + 1])) for count in range(len(lines))]
    whole = [n + 1 for n, end in enumerate(ends) if end <= 4096 or end - len(lines[n]) >= 8192]
    for events in (RunSnapshot(read_events(log)), RunSnapshot(RunTail(log).poll())):
        kept = list(events.curve.steps)
        tried("F5", "zeros in the middle of the log", 1, len(set(whole) - set(kept)))
        assert kept == whole


def test_second_writer_shears_no_line(tmp_path: Path, tried: Tried, times: Times) -> None:
    """There is a lock against it; should there be one all the same, each appends whole lines."""
    log, count = tmp_path / "events.jsonl", times(200, 2000)
    code = """
import sys
from pathlib import Path
from engine.runs.events import Warned
from engine.runs.event_log import EventWriter
writer = EventWriter(Path(sys.argv[1]))
input()
for number in range(int(sys.argv[2])):
    writer.append(Warned(time=float(number), message=sys.argv[3] * 300))
"""
    command = [sys.executable, "-P", "-c", code, str(log), str(count)]
    writers = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, env=ENVIRONMENT) for name in "abc"]
    for writer in writers:
        writer.communicate(b"\n")
    events = [event for event in read_events(log) if isinstance(event, Warned)]
    written = {name: [event.time for event in events if event.message[0] == name] for name in "abc"}
    lost = 3 * count - len(events)
    tried("F5", "appends by three processes at once", 3 * count, lost)
    assert all(found == list(range(count)) for found in written.values())


@needs_strace
def test_steps_are_written_at_once_and_forced_to_disk_every_few_seconds(tmp_path: Path, tried: Tried) -> None:
    """As the kernel sees it: one write for each event, and a sync for each `FSYNC_SECONDS` of them."""
    code = """
import sys
from pathlib import Path
from engine.runs.event_log import EventWriter
from tests.support.steps import step
now = [0.0]
writer = EventWriter(Path(sys.argv[1]), clock=lambda: now[0])
for number in range(1, 401):
    now[0] = number * 0.05
    writer.append(step(number))
"""
    log, trace = tmp_path / "events.jsonl", tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=write,fsync", "-o", str(trace), sys.executable, "-P", "-c", code]
    subprocess.run([*command, str(log)], env=ENVIRONMENT, check=True)
    calls = re.findall(r"\b(write|fsync)\(\d+<" + re.escape(str(log)), trace.read_text())
    syncs = calls.count("fsync")
    at_risk = max(map(len, "".join(call[0] for call in calls).split("f")))  # steps between two syncs
    tried("F21", "400 steps of 50 ms, each write and sync counted by strace", 400, max(0, at_risk - 41))
    assert calls.count("write") == 400
    assert syncs == int(400 * 0.05 / FSYNC_SECONDS)
    assert at_risk <= 41


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
def test_disk_that_refuses_an_append_leaves_every_event_before_it(
    tmp_path: Path, tried: Tried, times: Times, error: str
) -> None:
    """At each write of a log in turn: the writer is told, and the log can be appended to when there is room again."""
    code = """
import sys
from pathlib import Path
from engine.runs.event_log import EventWriter
from tests.support.steps import step
writer = EventWriter(Path(sys.argv[1]))
for number in range(1, 9):
    try:
        writer.append(step(number))
        print(number)
    except OSError:
        pass
writer.close()
"""
    places, lost = range(1, times(3, 8) + 1), 0
    for place in places:
        log = tmp_path / f"{place}.jsonl"
        inject = f"inject=pwrite64,write:error={error}:when={place}"
        # -P tells strace to look at calls on this file alone, and to inject into none but these
        command = ["strace", "-f", "-P", str(log), "-e", "trace=write", "-e", inject, "-o", "/dev/null"]
        done = subprocess.run(
            [*command, sys.executable, "-P", "-c", code, str(log)],
            env=ENVIRONMENT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        told = list(map(int, done.stdout.split()))
        assert told == [number for number in range(1, 9) if number != place]
        lost += [event.step for event in read_events(log) if isinstance(event, Step)] != told
    tried("F21", "ENOSPC, EIO or EDQUOT at a write of the log", len(places), lost)
    assert lost == 0


def test_full_disk_leaves_every_event_that_was_told(small_disk: Path, tmp_path: Path, tried: Tried) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from engine.runs.event_log import EventWriter; from tests.support.steps import step\n"
        "writer = EventWriter(Path(sys.argv[1]))\n"
        "for number in range(1, 10000):\n"
        "    writer.append(step(number)); print(number, flush=True)\n"
    )
    log, copy = small_disk / "events.jsonl", tmp_path / "events.jsonl"
    done = in_small_disk(
        small_disk, 64, '"$1" -P -c "$2" "$3"; cp "$3" "$4"', sys.executable, code, str(log), str(copy)
    )
    told = list(map(int, done.stdout.split()))
    kept = [event.step for event in read_events(copy) if isinstance(event, Step)]
    tried("F5", "a disk that fills up while it is appended to", 1, len(set(told) - set(kept)))
    assert "No space left on device" in done.stderr
    assert kept == told and len(told) > 100
    assert copy.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_measure_that_is_no_number_is_told_wherever_it_is_shown(tried: Tried, value: float) -> None:
    word = {"nan": "not a number", "inf": "infinite", "-inf": "minus infinite"}[str(value)]
    told = [
        Evaluated(time=0.0, step=0, eval_loss=value, perplexity=value, supervised_tokens=1),
        Evaluated(time=0.0, step=9, eval_loss=1000.0, perplexity=value, supervised_tokens=1),
    ]
    read = [decode_event(encode_event(event)) for event in told]
    assert all("NaN" not in encode_event(event).decode() for event in told)
    result = RunSnapshot(event for event in read if event is not None).result
    round_ = make_round(result=result)
    shown = {name: columns()[name].text(round_) for name in ("eval_loss", "perplexity", "base_perplexity")}
    lost = shown != {"eval_loss": "1000.0000", "perplexity": word, "base_perplexity": word}
    tried("F19", "nan, inf and -inf as loss and perplexity", 1, lost)
    assert not lost, shown
    assert json.loads(json.dumps(result.nonfinite)) == {"perplexity": str(value), "base_perplexity": str(value)}


@pytest.mark.parametrize("loss", [709.0, 710.0, 1000.0, 1e308, math.inf])
def test_perplexity_that_no_float_holds_is_infinite(tried: Tried, loss: float) -> None:
    perplexity = Evaluation((loss,), (1,)).perplexity
    tried("F19", "perplexity of an eval loss up to 1e308", 1)
    assert perplexity == (math.exp(loss) if loss < 709.7 else math.inf)
    evaluated = Evaluated(time=0.0, step=1, eval_loss=loss, perplexity=perplexity, supervised_tokens=1)
    read = decode_event(encode_event(evaluated))
    assert isinstance(read, Evaluated)
    assert measured_by(None, read) == Result(
        eval_loss=loss if math.isfinite(loss) else None,
        perplexity=perplexity if math.isfinite(perplexity) else None,
        nonfinite=read.nonfinite,
        step=1,
    )


def test_log_of_a_million_steps_is_read_whole_and_in_little_memory(
    tmp_path: Path, tried: Tried, times: Times, record_property: Callable[[str, object], None]
) -> None:
    """Two runs of a round, the second from a checkpoint: each step once, in a fifth of the memory of events."""
    count, log = times(100_000, 1_000_000), tmp_path / "events.jsonl"
    kept = count // 2
    identity = ProcessIdentity("boot", 1, 1)
    between: list[AnyEvent] = [
        Saved(time=1.0, step=kept, path=f"checkpoints/checkpoint-{kept}"),
        Started(time=1.0, process=identity, resumed_from=kept),
    ]
    with log.open("wb") as file:
        file.writelines(encode_event(step(number, loss=1 / number)) for number in range(1, kept + 1001))
        file.writelines(map(encode_event, between))
        file.writelines(encode_event(step(number, loss=2 / number)) for number in range(kept + 1, count + 1))
    begun = time.perf_counter()
    run = RunSnapshot(RunTail(log).poll())
    record_property("seconds", time.perf_counter() - begun)
    lost = count - len(run.curve)
    tried("F20", "a log of as many steps as the number says", count, lost)
    assert list(run.curve.steps) == list(range(1, count + 1))
    halves = (1 / number if number <= kept else 2 / number for number in range(1, count + 1))
    assert all(loss == pytest.approx(wanted) for loss, wanted in zip(run.curve.losses, halves, strict=True))
    assert run.last_step is not None and run.last_step.step == count
    code = (
        "import resource, sys; from pathlib import Path; from engine.runs.run_tail import RunTail\n"
        "from engine.runs.snapshot import RunSnapshot\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run = RunSnapshot(RunTail(Path(sys.argv[1])).poll())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(log)], env=ENVIRONMENT, capture_output=True, check=True
    )
    assert int(done.stdout) / 1024 < 30 + 100 * count / 1e6, "MiB"
