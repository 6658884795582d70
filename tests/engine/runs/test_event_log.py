from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runs import event_log
from engine.runs.curve import Steps
from engine.runs.event_log import EventTail, EventWriter, LineTail, read_events
from engine.runs.events import AnyEvent, Step, Warned, encode_event
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot
from tests.support.steps import step

FIRST: list[AnyEvent] = [Warned(time=1.0, message="one"), step(2), Warned(time=3.0, message="drei 🦙")]
NEXT = Warned(time=4.0, message="next")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def write(path: Path, *events: AnyEvent) -> None:
    writer = EventWriter(path)
    for event in events:
        writer.append(event)
    writer.close()


def test_events_read_back_in_order(log: Path) -> None:
    write(log, *FIRST)
    write(log, NEXT)
    assert read_events(log) == [*FIRST, NEXT]


def test_only_the_events_asked_for_are_read(log: Path) -> None:
    """A step whose text names a warning is none."""
    write(log, *FIRST, Warned(time=5.0, message='{"event":"step"'), NEXT)
    assert read_events(log, Step) == [step(2)]
    assert [event.time for event in read_events(log, Warned)] == [1.0, 3.0, 5.0, 4.0]
    assert len(read_events(log, Warned, Step)) == 5


def test_torn_last_line_is_trimmed_wherever_it_tore(log: Path) -> None:
    whole = b"".join(map(encode_event, FIRST))
    kept_of = [len(b"".join(map(encode_event, FIRST[:count]))) for count in range(len(FIRST) + 1)]
    for cut in range(len(whole) + 1):
        log.write_bytes(whole[:cut])
        survivors = FIRST[: sum(end <= cut for end in kept_of[1:])]
        assert read_events(log) == survivors
        write(log, NEXT)
        assert read_events(log) == [*survivors, NEXT]
        assert log.read_bytes() == b"".join(map(encode_event, [*survivors, NEXT]))


@pytest.mark.parametrize("length", [1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("before", [[], FIRST], ids=["alone", "after-events"])
def test_torn_line_of_any_length_is_trimmed(log: Path, before: list[AnyEvent], length: int) -> None:
    log.write_bytes(b"".join(map(encode_event, before)) + b"x" * length)
    write(log, NEXT)
    assert read_events(log) == [*before, NEXT]


def test_event_is_there_for_readers_at_once(log: Path) -> None:
    writer = EventWriter(log)
    tail = EventTail(log)
    for event in FIRST:
        writer.append(event)
        assert tail.poll() == [event]
    assert tail.poll() == []
    writer.close()


def test_disk_is_forced_at_intervals_and_at_the_end(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, forced = [0.0], []
    monkeypatch.setattr("os.fsync", lambda _: forced.append(now[0]))
    writer = EventWriter(log, clock=lambda: now[0])
    for now[0] in (0.5, 1.9, 2.0, 2.1, 3.9, 4.1, 9.0):
        writer.append(NEXT)
    assert forced == [2.0, 4.1, 9.0]
    now[0] = 9.5
    writer.close()
    assert forced == [2.0, 4.1, 9.0, 9.5]


@pytest.mark.parametrize("written", [0, 1, 20])
def test_refused_write_is_an_error_and_leaves_no_part(log: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    write(log, FIRST[0])
    writer = EventWriter(log)
    write_to = os.write

    def refuse(descriptor: int, data: bytes) -> int:
        if len(data) <= 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_to(descriptor, data[:written]) if written else refuse(descriptor, b"")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", refuse)
        with pytest.raises(OSError, match="No space left"):
            writer.append(FIRST[1])
    assert log.read_bytes() == encode_event(FIRST[0])
    writer.append(FIRST[2])
    writer.close()
    assert read_events(log) == [FIRST[0], FIRST[2]]


def test_link_in_the_place_of_a_log_is_not_followed(log: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("no newline at its end")
    log.symlink_to(tmp_path / "mine")
    with pytest.raises(OSError):
        EventWriter(log)
    assert (tmp_path / "mine").read_text() == "no newline at its end"
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(OSError, match="it is not a file"):
        EventWriter(log)


def test_consecutive_steps_come_joined_and_other_events_in_their_place(log: Path) -> None:
    events: list[AnyEvent] = [FIRST[0], *(step(n) for n in range(1, 6)), NEXT, step(6, loss=None), FIRST[2]]
    write(log, *events)
    news = RunTail(log).poll()
    assert [type(event) for event in news] == [Warned, Steps, Warned, Steps, Warned]
    assert [event.last for event in news if isinstance(event, Steps)] == [step(5), step(6, loss=None)]
    fast, slow = RunSnapshot(news), RunSnapshot(events)
    assert (fast.last_step, fast.last_time) == (slow.last_step, slow.last_time)
    for name in ("steps", "losses", "learning_rates", "grad_norms", "tokens", "seconds", "memory_bytes"):
        assert getattr(fast.curve, name).tobytes() == getattr(slow.curve, name).tobytes(), name
    assert fast.curve.epochs_per_step == slow.curve.epochs_per_step == pytest.approx(0.1)


DAMAGES = [
    b"\0" * 300,
    b'{"event":"step","step":3}',
    b'{"event":"step"',
    b'{"event":"step","time":1},{"event":"step"',
    b"\xff",
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("place", range(5))
def test_damaged_line_among_steps_takes_no_other_with_it(log: Path, damage: bytes, place: int) -> None:
    lines = [encode_event(step(n)) for n in range(1, 5)]
    log.write_bytes(b"".join([*lines[:place], damage + b"\n", *lines[place:]]))
    assert list(RunSnapshot(RunTail(log).poll()).curve.steps) == [1, 2, 3, 4]


def test_lines_that_are_not_an_event_are_skipped(log: Path) -> None:
    log.write_bytes(
        encode_event(FIRST[0]) + b'\n\xff\xfe\n{"event":"teleported","time":1}\nnull\n\0\0\n' + encode_event(NEXT)
    )
    assert read_events(log) == [FIRST[0], NEXT]


def test_file_may_appear_late(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "events.jsonl"
    tail = EventTail(path)
    assert tail.poll() == []
    path.parent.mkdir()
    assert tail.poll() == []
    write(path, NEXT)
    assert tail.poll() == [NEXT]


def test_file_that_shrank_is_read_from_its_beginning(log: Path) -> None:
    tail = EventTail(log)
    write(log, *FIRST)
    assert tail.poll() == FIRST
    log.write_bytes(encode_event(NEXT))
    assert tail.poll() == [NEXT]
    log.unlink()
    assert tail.poll() == []
    write(log, NEXT, NEXT)
    assert tail.poll() == [NEXT, NEXT]


def test_trimmed_torn_line_costs_the_tail_nothing(log: Path) -> None:
    tail = EventTail(log)
    log.write_bytes(encode_event(FIRST[0]) + b'{"event":"st')
    assert tail.poll() == [FIRST[0]]
    write(log, NEXT)
    assert tail.poll() == [NEXT]


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 40))
def test_tail_gives_every_line_whole_however_it_is_written(
    tmp_path_factory: Any, pieces: list[bytes], size: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "log"
    tail = LineTail(path)
    content = b"\n".join(piece.replace(b"\r", b"?") for piece in pieces)
    read: list[bytes] = []
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), size):
            file.write(content[start : start + size])
            read += tail.poll()
    assert read == content.split(b"\n")[:-1]


def test_tail_reads_a_long_log_in_parts(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "READ_BYTES", 100)
    lines = [b"%04d" % number for number in range(100)]
    log.write_bytes(b"\n".join(lines) + b"\n")
    tail, read = LineTail(log), []
    while part := tail.poll():
        assert len(part) <= 20
        read += part
    assert read == lines


def test_line_longer_than_one_read_is_whole(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "READ_BYTES", 100)
    lines = [b"x" * 50, b"y" * 700, b"z" * 99]
    log.write_bytes(b"\n".join(lines) + b"\n")
    tail, read = LineTail(log), []
    while part := tail.poll():
        read += part
    assert read == lines


def test_events_after_an_endless_line_are_found(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "READ_BYTES", 100)
    monkeypatch.setattr(event_log, "LONGEST_LINE", 1000)
    log.write_bytes(encode_event(FIRST[0]) + b"x" * 5000 + b"\n" + encode_event(NEXT))
    assert read_events(log) == [FIRST[0], NEXT]


def test_pipe_in_the_place_of_the_events_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    with pytest.raises(OSError, match="not seekable"):
        read_events(tmp_path / "events.jsonl")
