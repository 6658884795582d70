"""Prefetch of a model's weights by the kernel."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from engine.spec.schema import ModelSpec
from engine.system.allowance import Memory
from engine.training.runtime import prefetch
from engine.training.runtime.prefetch import STEP_BYTES, prefetch_files, prefetch_weights

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prefetch needs Linux")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, int]]]:
    """The requests to the kernel, (offset, bytes) by the name of the file."""
    requests: dict[str, list[tuple[int, int]]] = {}

    def advise(descriptor: int, start: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        requests.setdefault(name, []).append((start, length))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return requests


def prefetch_and_wait(path: Path) -> None:
    """Prefetch the weights, and wait for the thread that does it; test runners have threads of their own."""
    others = set(threading.enumerate())
    prefetch_weights(ModelSpec(str(path)))
    for thread in set(threading.enumerate()) - others:
        thread.join(5.0)


def test_all_weights_are_requested_and_nothing_else(tmp_path: Path, requests: dict[str, list[tuple[int, int]]]) -> None:
    for name, size in (("one.safetensors", 2 * STEP_BYTES + 1), ("two.safetensors", 3), ("model.bin", 9)):
        (tmp_path / name).write_bytes(bytes(size))
    prefetch_and_wait(tmp_path)
    assert requests == {
        "one.safetensors": [(step * STEP_BYTES, STEP_BYTES) for step in range(3)],
        "two.safetensors": [(0, STEP_BYTES)],
    }


def test_kernel_takes_the_request(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(STEP_BYTES + 1))
    prefetch_files([file])


def test_weights_larger_than_memory_are_not_requested(
    tmp_path: Path, requests: dict[str, list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file in files:
        file.write_bytes(bytes(50))
    monkeypatch.setattr(prefetch, "memory", lambda: Memory(1000, 801, 199))
    prefetch_files(files)
    assert requests == {}
    prefetch_files(files[:1])
    assert list(requests) == ["one.safetensors"]


def test_file_that_cannot_be_read_is_skipped(tmp_path: Path, requests: dict[str, list[tuple[int, int]]]) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "whole.safetensors").write_bytes(b"weights")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "nowhere")
    prefetch_files(sorted(tmp_path.iterdir()))
    assert requests == {"whole.safetensors": [(0, STEP_BYTES)]}
    for path in (tmp_path / "nothing", Path("somebody/something")):
        prefetch_and_wait(path)
    assert list(requests) == ["whole.safetensors"]
