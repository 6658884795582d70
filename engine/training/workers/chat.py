"""Answers of adapters in a chat: `python -P -m engine.training.workers.chat`.

Requests and replies are lines of JSON, as in `engine.chat.protocol`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from engine.chat.protocol import AnswerRequest, LoadRequest, TextDelta
from engine.system.worker_process import Refusal
from engine.text.redact import redact
from engine.training.runtime.imports import importing
from engine.training.workers.start import start_worker
from engine.training.workers.stop_flag import StopFlag

if TYPE_CHECKING:
    from engine.training.workers.chat_model import ChatModel


def main() -> None:
    replies = start_worker()
    stop = StopFlag()
    stop.listen()
    model: ChatModel | None = None
    for line in sys.stdin.buffer:
        stop.requested = False  # a stop before this request was not meant for it
        with replies.errors_as_refusals():
            request = msgspec.json.decode(line, type=LoadRequest | AnswerRequest)
            if isinstance(request, LoadRequest):
                model = _load(request)
                replies.send(model.loaded())
            elif model is None:
                replies.send(Refusal("no model is loaded: start again"))
            else:
                replies.send(model.answer(request, lambda text: replies.send(TextDelta(redact(text))), stop))


def _load(request: LoadRequest) -> ChatModel:
    with importing(request.model):
        from engine.training.workers.chat_model import ChatModel
    return ChatModel(request)


if __name__ == "__main__":
    main()
