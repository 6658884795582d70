"""A small base model and a round trained on it, made once for all that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.events import AnyEvent
from engine.workspace import RunDir


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of 40,000 parameters that anything can be trained on in a second."""
    from tests.integration.tiny_model import write_model

    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[RunDir, list[AnyEvent]]:
    """A round trained without a break, and its events."""
    from tests.integration.rounds_to_train import make_run, train_here

    run = make_run(tmp_path_factory.mktemp("reference") / "runs" / "0001-c0ffee", tiny_model)
    return run, train_here(run)
