"""A stop is never lost, whatever call the process is waiting in."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from engine.training.loop.stop import StopRequested, StopSignal

pytestmark = pytest.mark.timeout(60, method="thread")  # the other method needs the timer that is tested here
TAKEN = (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGHUP, signal.SIGINT)


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    before = {number: signal.getsignal(number) for number in TAKEN}
    listening = StopSignal()
    listening.listen()
    yield listening
    for number, handler in before.items():
        signal.signal(number, handler)


def test_stop_that_was_swallowed_is_raised_again(stop: StopSignal) -> None:
    """A stop is swallowed if the signal comes just before a call blocks, or inside a finaliser."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(StopRequested), stop.interruptible():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except StopRequested:
            ours.recv(1)  # nobody ever sends
        pytest.fail("the wait ended without a stop")
    assert stop.by_person
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("machines", [signal.SIGTERM, signal.SIGUSR1])
def test_stop_between_steps_raises_nothing(stop: StopSignal, machines: signal.Signals) -> None:
    os.kill(os.getpid(), machines)
    assert stop.requested and not stop.by_person
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with pytest.raises(StopRequested), stop.interruptible():
        pytest.fail("work was begun after the stop")


def test_stop_that_a_library_makes_another_error_of_is_still_a_stop(stop: StopSignal) -> None:
    """Before Python 3.12 the creation of a class does so with whatever is raised in it."""
    with pytest.raises(StopRequested), stop.interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except StopRequested as error:
            raise ModuleNotFoundError("could not import module 'LlamaConfig'") from error


def test_error_without_a_stop_is_that_error(stop: StopSignal) -> None:
    with pytest.raises(ModuleNotFoundError), stop.interruptible():
        raise ModuleNotFoundError("no module named 'llama'")
