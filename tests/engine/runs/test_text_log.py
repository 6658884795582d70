from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.runs.text_log import READ_BYTES, LogTail


def test_text_is_given_as_it_comes_unfinished_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    tail = LogTail(path)
    assert tail.poll() == ""
    path.write_text("one\n 10%")
    assert tail.poll() == "one\n 10%"
    assert tail.poll() == ""
    with path.open("a") as file:
        file.write("\r 20%")
    assert tail.poll() == "\r 20%"


def test_character_cut_in_two_is_put_together(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    tail = LogTail(path)
    path.write_bytes("█".encode()[:2])
    assert tail.poll() == ""
    path.write_bytes("█\n".encode())
    assert tail.poll() == "█\n"


def test_bytes_that_are_not_text_are_decoded_too(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(b"\xff\xfe\x00ok\n")
    assert LogTail(path).poll() == "\ufffd\ufffd\x00ok\n"


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.truncate(3 * 1024**3)  # of which nothing is on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    text = LogTail(path).poll()
    assert text.startswith("\n… 3.0 GiB of the log are skipped …\n") and text.endswith("last\n")
    assert len(text) <= READ_BYTES


def test_log_that_is_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("a long first line\n")
    tail = LogTail(path)
    tail.poll()
    path.write_text("anew\n")
    assert tail.poll() == "anew\n"


def test_log_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        LogTail(tmp_path).poll()
