"""Wait for what another process or thread does, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from engine.spec.round import Round, Status
from engine.store.round_store import RoundStore

DEADLINE_SECONDS = 60.0  # of which a busy machine may take half to import what an engine needs


def await_rounds(store: RoundStore, condition: Callable[[list[Round]], bool]) -> list[Round]:
    """The rounds as soon as they meet `condition`; fails the test after `DEADLINE_SECONDS`."""
    seen = None
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if (signature := store.signature()) != seen:
            seen = signature
            if condition(rounds := store.rounds()):
                return rounds
        time.sleep(0.01)
    listed = [(round_.number, str(round_.status), round_.message) for round_ in store.rounds()]
    pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s; the rounds are {listed}")


def await_status(store: RoundStore, number: int, status: Status) -> Round:
    """Round `number` as soon as it has `status`."""
    rounds = await_rounds(store, lambda listed: any(item.number == number and item.status is status for item in listed))
    return next(item for item in rounds if item.number == number)


def await_true(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as `condition` holds; fails the test after `DEADLINE_SECONDS`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.01)
