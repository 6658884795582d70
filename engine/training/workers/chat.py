"""Answers as a person talks to adapters: `python -P -m engine.training.workers.chat`.

Lines of JSON in and out, as `engine.chat.client` says.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, TextDelta
from engine.errors import LoratuiError
from engine.files.permissions import PRIVATE_UMASK
from engine.system.worker_process import Refusal
from engine.text.redact import redact, redact_output
from engine.training.runtime.imports import importing, quieten
from engine.training.workers.stop_flag import StopFlag

if TYPE_CHECKING:
    from engine.training.workers.chat_model import ChatModel


def main() -> None:
    os.umask(PRIVATE_UMASK)
    redact_output()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no reply
    stop = StopFlag()
    stop.listen()
    speakers: ChatModel | None = None
    for line in sys.stdin.buffer:
        stop.requested = False  # what was said before is not meant for this
        try:
            request = msgspec.json.decode(line, type=LoadRequest | AnswerRequest)
            if isinstance(request, LoadRequest):
                speakers = _load(request)
                reply(replies, speakers.loaded())
            elif speakers is None:
                reply(replies, Refusal("there is no model to ask: begin anew"))
            else:
                reply(replies, speakers.answer(request, lambda text: reply(replies, TextDelta(redact(text))), stop))
        except LoratuiError as error:
            reply(replies, Refusal(redact(error.message)))


def _load(request: LoadRequest) -> ChatModel:
    with importing(request.model):
        from engine.training.workers.chat_model import ChatModel
    return ChatModel(request)


def reply(replies: BinaryIO, answer: Loaded | TextDelta | Complete | Refusal) -> None:
    replies.write(msgspec.json.encode(answer) + b"\n")
    replies.flush()


if __name__ == "__main__":
    quieten()
    main()
