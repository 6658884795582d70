"""Client of the process that chats: it alone loads the base model, so that nothing heavy is imported here.

The process is `engine.training.workers.chat`. It reads lines of JSON: a `LoadRequest` first, then one `AnswerRequest`
at a time. It writes a `Loaded`, then for each request its `TextDelta`s and a `Complete`, or a `Refusal`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, Reply, TextDelta
from engine.system.process import has_variable
from engine.system.worker_process import WorkerProcess

CHAT_VARIABLE = "LORATUI_TALK"  # set in a process that chats, not in an engine that trains


_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def talks_among(pids: Iterable[int]) -> frozenset[int]:
    """Return those of these processes that are chat processes."""
    return frozenset(pid for pid in pids if has_variable(pid, CHAT_VARIABLE))


class ChatClient(WorkerProcess):
    """A base model with adapters that answers questions, one at a time."""

    def __init__(self, request: LoadRequest, directory: Path | None = None) -> None:
        """Start the process in `directory`, where the relative paths of adapters begin.

        Raises:
            LoratuiError: the system refuses that, or a path is not UTF-8 text.
        """
        super().__init__("engine.training.workers.chat", "the model", {CHAT_VARIABLE: "1"}, directory)
        self._answering = False
        self.send(request)

    def loaded(self) -> Loaded:
        """Wait until the model is loaded, with the adapters that can be used.

        Raises:
            ProcessEnded: the process died while loading.
            LoratuiError: the model cannot be used, in one sentence.
        """
        reply = self.receive(_replies)
        assert isinstance(reply, Loaded)
        return reply

    def ask(self, request: AnswerRequest) -> Iterator[TextDelta | Complete]:
        """Yield the answer as it is generated, at last a `Complete`. Take all of it before the next request.

        Raises:
            ProcessEnded: the process died; there is no answer to other requests either.
            LoratuiError: this request cannot be answered, for example as the conversation is too long.
        """
        self.send(request)
        self._answering = True
        try:
            while isinstance(reply := self.receive(_replies), TextDelta):
                yield reply
        finally:
            self._answering = False
        assert isinstance(reply, Complete)
        yield reply

    def stop(self) -> None:
        """Stop the current answer after its next token; does nothing between answers."""
        if self._answering:
            self.signal(signal.SIGINT)

    def __enter__(self) -> ChatClient:
        return self
