"""Asking a chat process in a thread, which posts the answers."""

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

UPDATE_SECONDS = 0.1  # a person reads no faster, and each update is laid out and written to the terminal


def put_questions(client: ChatClient, questions: Mapping[str, AnswerRequest], post: Post, session_id: int) -> None:
    """Ask the questions, by the keys of the speakers, one after the other, and post the answers as they grow and end.

    If the process dies, the text so far is the answer, and the remaining questions are answered with a refusal.
    """
    died = ""
    for key, question in questions.items():
        if died:
            post(AnswerEnded(session_id, key, ChatAnswer("", refusal=died), died=True))
            continue
        text, posted = "", 0.0
        try:
            for message in client.ask(question):
                if not isinstance(message, TextDelta):
                    post(AnswerEnded(session_id, key, answer_of(message)))
                    break
                text += message.text
                if (now := time.monotonic()) - posted >= UPDATE_SECONDS:
                    posted = now
                    post(AnswerGrew(session_id, key, text))
        except LoratuiError as error:
            died = error.message if isinstance(error, ProcessEnded) else ""
            ending = ChatAnswer(text, ending="stopped" if text else "complete", refusal=error.message)
            post(AnswerEnded(session_id, key, ending, died=bool(died)))
