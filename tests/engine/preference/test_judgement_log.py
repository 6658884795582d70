from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.preference.judgement_log import (
    Judgements,
    Retraction,
    append_judgement,
    read_judgements,
)
from tests.support.disks import ENVIRONMENT
from tests.support.judged import BASE, SECOND, preferred


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judgements.jsonl"


def test_judgements_read_back_in_order(path: Path) -> None:
    assert read_judgements(path) == Judgements()
    lines = [preferred("a", "first"), preferred("b", "tie"), preferred("a", "skip", sides=(BASE, SECOND))]
    for line in lines:
        append_judgement(path, line)
    assert read_judgements(path) == Judgements(tuple(lines))
    assert os.stat(path).st_mode & 0o077 == 0


def test_judgement_that_was_taken_back_does_not_count(path: Path) -> None:
    for line in (preferred("a", "first"), preferred("b", "tie"), Retraction(id="a", time=2.0)):
        append_judgement(path, line)
    assert read_judgements(path).valid == (preferred("b", "tie"),)


def test_later_judgement_of_the_same_takes_the_place_of_the_earlier(path: Path) -> None:
    for line in (preferred("a", "skip"), preferred("b", "tie"), preferred("a", "second", mark="again")):
        append_judgement(path, line)
    assert read_judgements(path).valid == (preferred("b", "tie"), preferred("a", "second", mark="again"))


def test_lines_that_are_no_judgement_are_counted_and_passed_over(path: Path) -> None:
    append_judgement(path, preferred("a", "first"))
    with path.open("ab") as file:
        file.write(b'{"judgement":"weighed","id":"x"}\n\xff\xfe\n\n{"judgement":"given","id":"torn')
    assert read_judgements(path) == Judgements((preferred("a", "first"),), unread=3)
    append_judgement(path, preferred("b", "tie"))
    assert read_judgements(path) == Judgements((preferred("a", "first"), preferred("b", "tie")), unread=3)


def test_whole_last_line_without_its_newline_counts(path: Path) -> None:
    append_judgement(path, preferred("a", "first"))
    path.write_bytes(path.read_bytes().rstrip())
    assert read_judgements(path).valid == (preferred("a", "first"),)
    append_judgement(path, preferred("b", "tie"))
    assert read_judgements(path).valid == (preferred("a", "first"), preferred("b", "tie"))


@pytest.mark.parametrize("written", [0, 1, 20])
@pytest.mark.parametrize("before", [b"", b'{"torn'])
def test_refused_write_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, written: int, before: bytes
) -> None:
    append_judgement(path, preferred("a", "first"))
    with path.open("ab") as file:
        file.write(before)
    content, write_to, calls = path.read_bytes(), os.write, iter([written])

    def refuse(descriptor: int, data: bytes) -> int:
        if count := next(calls, 0):
            return write_to(descriptor, data[:count])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", refuse)
        with pytest.raises(StoreError, match=r"could not be written to .*judgements.jsonl \(no space left on device\)"):
            append_judgement(path, preferred("b", "tie"))
    assert path.read_bytes() == content
    append_judgement(path, preferred("b", "tie"))
    assert read_judgements(path).valid == (preferred("a", "first"), preferred("b", "tie"))


def test_what_is_no_file_is_neither_read_nor_written(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine\n")
    path.symlink_to(tmp_path / "elsewhere")
    for act in (lambda: read_judgements(path), lambda: append_judgement(path, preferred("a", "tie"))):
        with pytest.raises(StoreError, match=r"judgements\.jsonl"):
            act()
    assert (tmp_path / "elsewhere").read_text() == "mine\n"
    path.unlink()
    os.mkfifo(path)
    for act in (lambda: read_judgements(path), lambda: append_judgement(path, preferred("a", "tie"))):
        with pytest.raises(StoreError, match=r"no file|not a file"):
            act()


WRITER = """
import sys
from pathlib import Path
from engine.preference.judgement_log import append_judgement
from tests.support.judged import preferred
for number in range(60):
    append_judgement(Path(sys.argv[1]), preferred(f"{sys.argv[2]}-{number}", "first"))
"""


def test_two_judges_at_once_lose_nothing(path: Path) -> None:
    command = [sys.executable, "-P", "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name], env=ENVIRONMENT) for name in ("one", "other")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    judgements = read_judgements(path)
    assert (len(judgements.valid), judgements.unread) == (120, 0)
