"""Asking a talking process, in a thread that posts what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from textual.message import Message

from engine.chat.client import ChatClient
from engine.chat.conversation import ChatAnswer, answer_of
from engine.chat.protocol import AnswerRequest, TextDelta
from engine.errors import LoratuiError, ProcessEnded
from tui.messages import AnswerEnded, AnswerGrew

Post = Callable[[Message], object]

PIECE_SECONDS = 0.1  # a person reads no faster, and each look is laid out and written to the terminal


def put_questions(talk: ChatClient, questions: Mapping[str, AnswerRequest], post: Post, sitting: int) -> None:
    """Ask one after the other, by the keys of the speakers, and post the answers as they grow and as they end.

    A process that dies over a question answers none of those behind it; what it said before is kept.
    """
    died = ""
    for key, question in questions.items():
        if died:
            post(AnswerEnded(sitting, key, ChatAnswer("", refusal=died), died=True))
            continue
        text, told = "", 0.0
        try:
            for item in talk.ask(question):
                if not isinstance(item, TextDelta):
                    post(AnswerEnded(sitting, key, answer_of(item)))
                    break
                text += item.text
                if (now := time.monotonic()) - told >= PIECE_SECONDS:
                    told = now
                    post(AnswerGrew(sitting, key, text))
        except LoratuiError as error:
            died = error.message if isinstance(error, ProcessEnded) else ""
            ending = ChatAnswer(text, ending="stopped" if text else "complete", refusal=error.message)
            post(AnswerEnded(sitting, key, ending, died=bool(died)))
