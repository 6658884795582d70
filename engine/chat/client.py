"""Client of the process that chats: it alone loads the base model, so that nothing heavy is imported here.

The process is `engine.training.workers.chat`. It reads lines of JSON: a `LoadRequest` first, then one `AnswerRequest`
at a time. It writes a `Loaded`, then for each request its `TextDelta`s and a `Complete`, or a `Refusal`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator

import msgspec

from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, Reply, TextDelta
from engine.system.process import has_variable
from engine.system.worker_process import WorkerProcess

CHAT_VARIABLE = "LORATUI_TALK"  # tells such a process from an engine that trains


_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def talks_among(pids: Iterable[int]) -> frozenset[int]:
    """Those of these processes that hold a model to talk to."""
    return frozenset(pid for pid in pids if has_variable(pid, CHAT_VARIABLE))


class ChatClient(WorkerProcess):
    """A base model with adapters that answers questions, one at a time."""

    def __init__(self, request: LoadRequest) -> None:
        """Start the process; raises LoratuiError if the machine refuses that."""
        super().__init__("engine.training.workers.chat", "the model", {CHAT_VARIABLE: "1"})
        self._answering = False
        self.send(request)

    def loaded(self) -> Loaded:
        """Wait until the model is there, with those of the adapters that can be used.

        Raises:
            ProcessEnded: the process died of it.
            LoratuiError: the model cannot be used, in one sentence.
        """
        reply = self.receive(_replies)
        assert isinstance(reply, Loaded)
        return reply

    def ask(self, question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        """The answer as it is made, the last item a `Complete`. Take all of them before the next question.

        Raises:
            ProcessEnded: the process died, and answers no other question either.
            LoratuiError: this question cannot be answered, such as one of a conversation that is too long.
        """
        self.send(question)
        self._answering = True
        try:
            while isinstance(reply := self.receive(_replies), TextDelta):
                yield reply
        finally:
            self._answering = False
        assert isinstance(reply, Complete)
        yield reply

    def stop(self) -> None:
        """End the answer that is being made after its next token; nothing happens if there is none."""
        if self._answering:
            self.signal(signal.SIGINT)

    def __enter__(self) -> ChatClient:
        return self
