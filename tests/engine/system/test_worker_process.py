from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest

from engine.errors import ProcessEnded, ProcessError
from engine.system.worker_process import WorkerProcess


def test_machine_without_room_for_a_temporary_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ProcessError, match="the preview could not be started, as no temporary file can be made"):
        WorkerProcess("engine.training.workers.preview", "the preview")


def test_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="the evaluation could not be started"):
        WorkerProcess("engine.training.workers.score", "the evaluation", directory=tmp_path / "gone")


def test_process_that_was_closed_answers_that_it_ended() -> None:
    """Another thread may close it before the first request is sent."""
    process = WorkerProcess("engine.training.workers.preview", "the preview")
    process.close()
    process.send(7)
    with pytest.raises(ProcessEnded, match="it was closed"):
        process.receive(msgspec.json.Decoder(int))
