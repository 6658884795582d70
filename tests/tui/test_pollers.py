from __future__ import annotations

import asyncio
import threading

import pytest
from textual import work
from textual.app import App
from textual.message import Message
from textual.worker import WorkerCancelled

from tui.pollers import while_wanted


class News(Message):
    pass


class Reader(App[None]):
    """Reads for a long time, and posts what it has read."""

    def __init__(self) -> None:
        super().__init__()
        self.reading, self.has_read, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.posted: list[Message] = []

    @work(thread=True)
    def read(self) -> None:
        post = while_wanted(self.posted.append)
        post(News())
        self.reading.set()
        self.has_read.wait()
        post(News())
        self.ended.set()


async def test_cancelled_follower_posts_nothing_more() -> None:
    app = Reader()
    async with app.run_test():
        worker = app.read()
        await asyncio.to_thread(app.reading.wait)
        worker.cancel()
        app.has_read.set()
        with pytest.raises(WorkerCancelled):
            await worker.wait()
        await asyncio.to_thread(app.ended.wait)
    assert len(app.posted) == 1
