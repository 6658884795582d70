"""Tests of training that start engines as processes use `no_engine_is_left`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import end_processes_of


@pytest.fixture
def no_engine_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_processes_of(tmp_path)
