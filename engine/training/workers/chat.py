"""Answers of adapters in a chat: `python -P -m engine.training.workers.chat`.

Requests and replies are lines of JSON, as in `engine.chat.protocol`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from engine.chat.protocol import AnswerRequest, LoadRequest, TextDelta
from engine.errors import LoratuiError
from engine.files.permissions import PRIVATE_UMASK
from engine.system.allowance import limit_threads
from engine.system.worker_process import Refusal
from engine.text.redact import redact, redact_output
from engine.training.runtime.imports import importing, quieten
from engine.training.workers.replies import Replies
from engine.training.workers.stop_flag import StopFlag

if TYPE_CHECKING:
    from engine.training.workers.chat_model import ChatModel


def main() -> None:
    os.umask(PRIVATE_UMASK)
    redact_output()
    replies = Replies()
    stop = StopFlag()
    stop.listen()
    model: ChatModel | None = None
    for line in sys.stdin.buffer:
        stop.requested = False  # a stop before this request was not meant for it
        try:
            request = msgspec.json.decode(line, type=LoadRequest | AnswerRequest)
            if isinstance(request, LoadRequest):
                model = _load(request)
                replies.send(model.loaded())
            elif model is None:
                replies.send(Refusal("no model is loaded: start again"))
            else:
                replies.send(model.answer(request, lambda text: replies.send(TextDelta(redact(text))), stop))
        except LoratuiError as error:
            replies.send(Refusal(redact(error.message)))


def _load(request: LoadRequest) -> ChatModel:
    with importing(request.model):
        from engine.training.workers.chat_model import ChatModel
    return ChatModel(request)


if __name__ == "__main__":
    quieten()
    limit_threads()
    main()
