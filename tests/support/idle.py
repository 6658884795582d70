"""Wait until an app is idle, however little of the processor this process gets.

Textual's own wait looks at the processor time of the process: one that other processes keep from running looks idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

FRAME_SECONDS = 1 / 50  # a little longer than Textual waits from one frame to the next


async def work_off() -> None:
    """Let the event loop run until it only waits for timers, threads and the system."""
    loop: Any = asyncio.get_running_loop()
    await asyncio.sleep(0)
    while loop._ready:
        await asyncio.sleep(0)


async def wait_for_frame(min_sleep: float = FRAME_SECONDS, max_sleep: float = 1.0) -> None:
    """Take the place of `textual._wait.wait_for_idle`."""
    await asyncio.sleep(FRAME_SECONDS)
    await work_off()


@pytest.fixture(scope="session", autouse=True)
def waiting_for_idle() -> Iterator[None]:
    """Have pilots wait for a frame and an empty event loop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textual.pilot.wait_for_idle", wait_for_frame)
        patch.setattr("textual.app.wait_for_idle", wait_for_frame)
        yield
