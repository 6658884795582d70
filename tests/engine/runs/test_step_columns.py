"""A run is the same with the columns beside its log as from the log alone, whatever happens to either file."""

from __future__ import annotations

import errno
import math
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.runs import run_tail, step_columns
from engine.runs.curve import Curve, Steps, read_steps
from engine.runs.event_log import EventWriter
from engine.runs.events import AnyEvent, Step, Warned, encode_event
from engine.runs.run_tail import RunTail
from engine.runs.step_columns import CHECKSUM, HEADER, MARK, read_blocks
from tests.support.steps import step

OTHER = Warned(time=4.0, message="other")
ODD = [
    step(7, loss=math.nan),
    step(8, loss=math.inf, grad_norm=None),
    step(9, loss=1e300),
    step(2**63),
    msgspec.structs.replace(step(10), learning_rate=math.nan),  # whose line is then not an event
    msgspec.structs.replace(step(11), memory_bytes=None),
]
Joined = list[AnyEvent | tuple[list[bytes], float, Step]]


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Make blocks so small that every run has some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_columns, "BLOCK_BYTES", 2500)
        patch.setattr(step_columns, "FEWEST_STEPS", 3)
        patch.setattr(run_tail, "MUCH_BYTES", 1)
        yield


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "events.jsonl"


def columns_of(log: Path) -> Path:
    return log.with_name("steps.bin")


def write(log: Path, *events: AnyEvent) -> None:
    writer = EventWriter(log)
    for event in events:
        writer.append(event)
    writer.close()


def many(count: int, first: int = 1) -> list[AnyEvent]:
    return [step(number, loss=1 / number) for number in range(first, first + count)]


def joined(news: Iterable[AnyEvent | Steps]) -> Joined:
    """Join consecutive steps, since it does not matter in which parts they were read."""
    result: Joined = []
    curve: Curve | None = None
    for event in news:
        if not isinstance(event, Step | Steps) or (isinstance(event, Step) and event.step >= 2**63):
            result.append(event)
            curve = None
            continue
        if curve is None:
            curve = Curve()
            result.append(([], 0.0, step(0)))
        curve.append(event) if isinstance(event, Step) else curve.extend(event.curve)
        last = event if isinstance(event, Step) else event.last
        result[-1] = [column.tobytes() for column in curve.columns()], curve.epochs_per_step, last
    return result


def alone(log: Path) -> Joined:
    """Read the log without the columns."""
    copy = log.parent.with_name("alone") / log.name
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(log, copy)
    return joined(RunTail(copy).poll())


def check(log: Path) -> None:
    """Check that reading both is like reading the log alone, and goes on at the same place."""
    tail = RunTail(log)
    assert joined(tail.poll()) == alone(log)
    assert tail.poll() == []


def spans(log: Path, offset: int = 0) -> list[tuple[int, int]]:
    return [(block.begin, block.end) for block in read_blocks(columns_of(log), log, offset)]


def valid_bytes(log: Path) -> int:
    """Return how much of the columns' file is valid."""
    return max((block.place for block in read_blocks(columns_of(log), log, 0)), default=0)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the number of bytes of each parsing of lines."""
    sizes: list[int] = []

    def read(lines: bytes) -> Steps | None:
        sizes.append(len(lines))
        return read_steps(lines)

    monkeypatch.setattr(run_tail, "read_steps", read)
    return sizes


def test_steps_are_not_parsed_where_their_columns_are_kept(log: Path, parsed: list[int]) -> None:
    write(log, OTHER, *many(50), OTHER, *many(50, 51), OTHER)
    expected = alone(log)
    parsed.clear()
    assert joined(RunTail(log).poll()) == expected
    assert parsed == [len(encode_event(OTHER))] * 3
    assert sum(end - begin for begin, end in spans(log)) == log.stat().st_size - sum(parsed)


def test_reader_that_stands_within_a_block_takes_those_behind_it(log: Path, parsed: list[int]) -> None:
    writer, tail = EventWriter(log), RunTail(log)
    for event in many(15):
        writer.append(event)
    news = tail.poll()
    for event in many(50, 16):
        writer.append(event)
    writer.close()
    parsed.clear()
    (_, middle), *rest = spans(log)[1:]
    news += tail.poll()
    assert sum(parsed) == middle - len(b"".join(map(encode_event, many(15))))
    assert len(rest) > 3
    assert joined(news) == alone(log)


def test_run_of_few_steps_has_no_columns(log: Path) -> None:
    write(log, OTHER, *many(2), OTHER)
    assert [path.name for path in log.parent.iterdir()] == [log.name]
    write(log, *many(3))
    assert len(spans(log)) == 1
    check(log)


def test_step_that_no_curve_holds_is_left_to_the_log(log: Path) -> None:
    write(log, *many(50), *ODD, *many(50, 51))
    assert spans(log)
    check(log)


def test_columns_are_there_while_the_run_goes_on(log: Path) -> None:
    writer, tail, news = EventWriter(log), RunTail(log), []
    for place, event in enumerate([*many(70), OTHER, *many(70, 71)]):
        writer.append(event)
        if place % 30 == 0:
            check(log)
            news += tail.poll()
    assert spans(log)
    writer.close()
    assert joined(news + tail.poll()) == alone(log)


def test_resumed_run_keeps_its_columns(log: Path) -> None:
    write(log, *many(40))
    before = columns_of(log).read_bytes()
    write(log, OTHER, *many(40, 20))
    assert columns_of(log).read_bytes().startswith(before)
    assert spans(log)[-1][1] == log.stat().st_size
    check(log)


@pytest.mark.parametrize("tail", [b"\0" * 100, b"half of a block", HEADER.pack(MARK, 0, 2000, 20)])
def test_resumed_run_cuts_off_what_is_not_a_block(log: Path, tail: bytes) -> None:
    write(log, *many(40))
    before = columns_of(log).read_bytes()
    columns_of(log).write_bytes(before + tail)
    check(log)
    write(log, *many(40, 41))
    assert columns_of(log).read_bytes().startswith(before)
    assert not columns_of(log).read_bytes().startswith(before + tail)
    assert spans(log)[-1][1] == log.stat().st_size


def test_columns_of_a_log_that_a_crash_shortened_are_written_again(log: Path) -> None:
    write(log, *many(60))
    os.truncate(log, log.stat().st_size // 2)
    check(log)
    write(log, *many(60, 30))
    check(log)
    assert spans(log)[-1][1] == log.stat().st_size


def test_refused_append_moves_no_step(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, write_to, writes = EventWriter(log), os.write, iter(range(10**6))

    def refuse(descriptor: int, data: Any) -> int:
        if next(writes) % 3 == 1 and len(data) < 400:
            write_to(descriptor, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_to(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr("os.write", refuse)
        for event in many(90):
            try:
                writer.append(event)
            except OSError:
                continue
    writer.close()
    assert spans(log)[-1][1] == log.stat().st_size
    check(log)


PIECES = st.one_of(
    st.tuples(st.just("steps"), st.integers(1, 40)),
    st.tuples(st.just("again"), st.integers(1, 40)),
    st.tuples(st.just("odd"), st.integers(0, len(ODD) - 1)),
    st.tuples(st.just("other"), st.just(1)),
    st.tuples(st.just("torn"), st.integers(1, 200)),
    st.tuples(st.just("poll"), st.just(1)),
    st.tuples(st.just("reopened"), st.just(1)),
)
PARTS = st.floats(0, 1, exclude_max=True)
DAMAGES = st.lists(
    st.tuples(st.sampled_from(["steps.bin", "events.jsonl"]), st.sampled_from(["cut", "flip", "other"]), PARTS),
    max_size=4,
)


class Run:
    """A run that is written and followed as `PIECES` say."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.writer = EventWriter(log)
        self.tail = RunTail(log)
        self.news: list[AnyEvent | Steps] = []
        self.number = 0

    def do(self, name: str, count: int) -> None:
        match name:
            case "steps" | "again":
                self.number = max(0, self.number - count) if name == "again" else self.number
                for event in many(count, self.number + 1):
                    self.writer.append(event)
                self.number += count
            case "odd":
                self.writer.append(ODD[count])
            case "other":
                self.writer.append(OTHER)
            case "poll":
                self.news += self.tail.poll()
            case "torn":
                with self.log.open("ab") as file:
                    file.write(encode_event(step(5))[:count])
                self.do("reopened", 1)
            case "reopened":
                self.writer.close()
                self.writer = EventWriter(self.log)


@given(st.lists(PIECES, max_size=12))
def test_run_that_is_followed_is_what_its_log_says(tmp_path_factory: Any, pieces: list[tuple[str, int]]) -> None:
    run = Run(tmp_path_factory.mktemp("run") / "run.jsonl")
    for piece in pieces:
        run.do(*piece)
    run.writer.close()
    assert joined(run.news + run.tail.poll()) == alone(run.log)
    check(run.log)


@given(st.lists(PIECES, min_size=1, max_size=8), DAMAGES, st.lists(PIECES, max_size=4))
@example([("steps", 1)] * 3 + [("steps", 5)], [("events.jsonl", "flip", 0.75)], [("steps", 3), ("other", 1)])  # a tag
@example([("steps", 1)] * 3 + [("steps", 13)], [("events.jsonl", "flip", 0.75)], [("steps", 11), ("odd", 3)])  # a time
def test_damage_to_either_file_leaves_what_the_log_says(
    tmp_path_factory: Any,
    pieces: list[tuple[str, int]],
    damages: list[tuple[str, str, float]],
    more: list[tuple[str, int]],
) -> None:
    log = tmp_path_factory.mktemp("run") / "events.jsonl"
    run = Run(log)
    for piece in pieces:
        run.do(*piece)
    run.writer.close()
    for name, how, part in damages:
        damage(log.with_name(name), how, part)
    check(log)
    run = Run(log)
    for piece in more:
        run.do(*piece)
    run.writer.close()
    check(log)


def damage(path: Path, how: str, part: float) -> None:
    data = bytearray(path.read_bytes() if path.exists() else b"")
    place = int(part * len(data))
    if how == "cut":
        del data[place:]
    elif how == "flip" and data:
        data[place] ^= 1 << place % 8
    elif how == "other":
        other = path.parent / "other" / "events.jsonl"
        other.parent.mkdir(exist_ok=True)
        write(other, *many(30 + place % 7, 1 + place % 3))
        data = bytearray(other.with_name(path.name).read_bytes())
    path.write_bytes(data)


def test_columns_cut_or_changed_at_any_byte_are_not_used(log: Path) -> None:
    write(log, *many(15))
    whole, expected = columns_of(log).read_bytes(), alone(log)
    assert len(spans(log)) == 2
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        for content in (whole[:place], changed):
            columns_of(log).write_bytes(content)
            assert joined(RunTail(log).poll()) == expected
            assert len(spans(log)) < 2


HOSTILE = {
    "more than there is": (0, 2**63, 2**58),
    "more rows than lines": (0, 100, 2**59),
    "no rows": (0, 100, 0),
    "no lines": (100, 100, 3),
    "backwards": (200, 100, 3),
    "beyond the log": (2**40, 2**40 + 100, 3),
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_header_that_lies_makes_nothing_be_read(log: Path, header: tuple[int, int, int]) -> None:
    write(log, *many(30))
    columns_of(log).write_bytes(HEADER.pack(MARK, *header) + bytes(300))
    assert spans(log) == []
    check(log)


def sealed(begin: int, end: int, lines: bytes, log: bytes) -> bytes:
    """A block of `lines` that are not the log's, with the checksum that it would have if they were."""
    steps = read_steps(lines)
    assert steps is not None
    block = HEADER.pack(MARK, begin, end, len(steps.curve)) + steps.curve.packed()
    return block + CHECKSUM.pack(zlib.crc32(log[begin:end], zlib.crc32(block)))


def test_block_that_begins_within_a_line_or_does_not_end_with_a_step_is_not_used(log: Path) -> None:
    write(log, *many(3), OTHER)
    content = log.read_bytes()
    lines = content[: -len(encode_event(OTHER))]
    for begin, end in ((10, len(lines)), (0, len(content))):
        columns_of(log).write_bytes(sealed(begin, end, b"".join(map(encode_event, many(3, 50))), content))
        check(log)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, None], ids=["ENOSPC", "EIO", "in part"])
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("stuck", [False, True], ids=["", "what is written stays"])
def test_disk_that_refuses_columns_costs_the_run_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch, error: int | None, place: int, stuck: bool
) -> None:
    writer, write_to, blocks = EventWriter(log), os.write, iter(range(100))
    events = many(60)

    def refuse(descriptor: int, data: Any) -> int:
        if os.path.samestat(os.fstat(descriptor), log.stat()) or next(blocks) != place:
            return write_to(descriptor, data)
        written = write_to(descriptor, data[:50])
        if error is not None:
            raise OSError(error, os.strerror(error))
        return written

    def truncate(descriptor: int, size: int) -> None:
        raise OSError(errno.EIO, "it does not")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", refuse)
        for event in events:
            if stuck and columns_of(log).exists():
                patch.setattr("os.ftruncate", truncate)
            writer.append(event)
        writer.close()
    assert log.read_bytes() == b"".join(map(encode_event, events))
    assert len(spans(log)) == place
    assert stuck or columns_of(log).stat().st_size == valid_bytes(log)
    check(log)
    write(log, *many(60, 61))
    assert spans(log)[-1][1] == log.stat().st_size
    check(log)


def test_columns_that_are_refused_as_they_are_closed_cost_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, close = EventWriter(log), os.close
    for event in many(40):
        writer.append(event)

    def refuse(descriptor: int) -> None:
        ours = os.path.samestat(os.fstat(descriptor), columns_of(log).stat())
        close(descriptor)
        if ours:
            raise OSError(errno.EIO, "what was written is lost")

    with monkeypatch.context() as patch:
        patch.setattr("os.close", refuse)
        writer.close()
    check(log)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "link to nothing"])
def test_directory_link_or_pipe_in_the_place_of_the_columns_is_left_alone(log: Path, tmp_path: Path, kind: str) -> None:
    mine, path = tmp_path / "mine", columns_of(log)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(mine)
    if kind == "link":
        write(tmp_path / "events.jsonl", *many(40))
        columns_of(tmp_path / "events.jsonl").rename(mine)
    before = mine.read_bytes() if mine.exists() else None
    mode = path.lstat().st_mode
    write(log, *many(40))
    assert log.read_bytes() == b"".join(map(encode_event, many(40)))
    assert spans(log) == []
    check(log)
    assert (mine.read_bytes() if mine.exists() else None) == before
    assert path.lstat().st_mode == mode


def test_strange_file_of_that_name_is_left_alone(log: Path) -> None:
    columns_of(log).write_bytes(b"what I counted of my steps")
    write(log, *many(40))
    assert columns_of(log).read_bytes() == b"what I counted of my steps"
    check(log)


def test_process_killed_at_any_write_leaves_a_run_that_can_be_read(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copy the files with none, some or almost all bytes of each write, as a kill would leave them."""
    write_to, copy = os.write, tmp_path / "copy" / log.name

    def killed(descriptor: int, data: Any) -> int:
        path = log if os.path.samestat(os.fstat(descriptor), log.stat()) else columns_of(log)
        for size in {0, 1, len(data) // 2, len(data) - 1}:
            shutil.rmtree(copy.parent, ignore_errors=True)
            shutil.copytree(log.parent, copy.parent)
            with copy.with_name(path.name).open("ab") as file:
                file.write(data[:size])
            check(copy)
        return write_to(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr("os.write", killed)
        write(log, *many(20), OTHER, *many(20, 15))
    assert len(spans(log)) > 3
    write(copy, *many(20, 35))
    check(copy)
