"""Answers as a person talks to adapters: `python -P -m engine.training.talking`.

Lines of JSON in and out, as `engine.talk` says.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from engine.dialogue import Refusal
from engine.errors import LoratuiError
from engine.redaction import redact, redact_output
from engine.sharing import PRIVATE_UMASK
from engine.talk import Complete, Opened, Opening, Piece, Question
from engine.training.libraries import importing, quieten

if TYPE_CHECKING:
    from engine.training.generation import Speakers


class StopFlag:
    """What ends an answer once it is `wanted`, which SIGINT makes it."""

    def __init__(self) -> None:
        self.wanted = False

    def listen(self) -> None:
        """Take SIGINT from here on."""
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "wanted", True))


def main() -> None:
    os.umask(PRIVATE_UMASK)
    redact_output()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no reply
    stop = StopFlag()
    stop.listen()
    speakers: Speakers | None = None
    for line in sys.stdin.buffer:
        stop.wanted = False  # what was said before is not meant for this
        try:
            request = msgspec.json.decode(line, type=Opening | Question)
            if isinstance(request, Opening):
                speakers = _load(request)
                reply(replies, speakers.opened())
            elif speakers is None:
                reply(replies, Refusal("there is no model to ask: begin anew"))
            else:
                reply(replies, speakers.answer(request, lambda text: reply(replies, Piece(redact(text))), stop))
        except LoratuiError as error:
            reply(replies, Refusal(redact(error.message)))


def _load(opening: Opening) -> Speakers:
    with importing(opening.model):
        from engine.training.generation import Speakers
    return Speakers(opening)


def reply(replies: BinaryIO, answer: Opened | Piece | Complete | Refusal) -> None:
    replies.write(msgspec.json.encode(answer) + b"\n")
    replies.flush()


if __name__ == "__main__":
    quieten()
    main()
