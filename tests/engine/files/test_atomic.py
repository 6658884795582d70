from __future__ import annotations

import stat
from pathlib import Path

import pytest

from engine.files.atomic import write_atomically


def test_file_is_written_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for data in (b"first", b"", b"second" * 100_000):
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


def test_file_is_nobody_elses_to_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"{}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_reader_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize("refusing", ["os.replace", "os.fsync"])
@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_refused_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: str, error: BaseException
) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"old")

    def refuse(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(refusing, refuse)
        with pytest.raises(type(error)):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_directory_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no" / "x.json", b"")
