"""The process that a chat asks: started, asked and stopped in threads, which post what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Thread

from textual.message import Message
from textual.worker import get_current_worker

from engine.chat.client import ChatClient
from engine.chat.conversation import ChatAnswer, answer_of
from engine.chat.protocol import AnswerRequest, Loaded, LoadRequest, TextDelta
from engine.errors import LoratuiError, ProcessEnded
from tui.messages import AnswerEnded, AnswerGrew, ChatNews, ChatOpened
from tui.screens.workspace_screen import WorkspaceScreen

Post = Callable[[Message], object]

UPDATE_SECONDS = 0.1  # a person reads no faster, and each update is laid out and written to the terminal


class ChatConnection:
    """One process at a time, which posts its news to `screen`.

    Attributes:
        loaded: the base model, once it is loaded.
        is_loading: True while it is being loaded.
        trouble: why there is no model, in a sentence; "" for no trouble.
    """

    def __init__(self, screen: WorkspaceScreen) -> None:
        self._screen = screen
        self._client: ChatClient | None = None
        self._session_id = 0
        self.loaded: Loaded | None = None
        self.is_loading = False
        self.trouble = ""

    def open(self, request: LoadRequest) -> None:
        """Start a process that loads what `request` says, and end the one before; `ChatOpened` says how it went."""
        self.close()
        self.is_loading, self.trouble = True, ""
        self._screen.run_worker(partial(self._open, self._session_id, request), thread=True, group="chat")

    def _open(self, session_id: int, request: LoadRequest) -> None:
        outcome: Loaded | LoratuiError
        try:
            client = ChatClient(request, self._screen.cockpit.workspace.root)
            if get_current_worker().is_cancelled or session_id != self._session_id:  # nobody waits for it any more
                client.close()
                return
            self._client = client
            outcome = client.loaded()
        except LoratuiError as error:
            outcome = error
        self._screen.post_message(ChatOpened(session_id, outcome))

    def take(self, outcome: Loaded | LoratuiError) -> None:
        """Take note of how the loading went."""
        self.is_loading = False
        if isinstance(outcome, LoratuiError):
            self.give_up(outcome.message)
        else:
            self.loaded = outcome

    def give_up(self, trouble: str) -> None:
        """End the process, with a sentence on why."""
        self.close()
        self.trouble = trouble

    def close(self) -> None:
        """End the process and ignore what it still sends."""
        self._session_id += 1
        client, self._client, self.loaded, self.is_loading = self._client, None, None, False
        if client is not None:
            Thread(target=client.close, name="close chat").start()  # a big model takes a while to end

    def sent(self, news: ChatNews) -> bool:
        """Return True if `news` is of the process that is used now, not of an earlier one."""
        return news.session_id == self._session_id

    def ask(self, questions: Mapping[str, AnswerRequest]) -> None:
        """Put the questions, by the keys of the speakers; `AnswerGrew` and `AnswerEnded` bring the answers."""
        if self._client is not None:
            ask = partial(put_questions, self._client, questions, self._screen.post_message, self._session_id)
            self._screen.run_worker(ask, thread=True, group="chat")

    def stop_answer(self) -> bool:
        """Stop the current answer; returns False if there is no process."""
        if self._client is None:
            return False
        self._client.stop()
        return True


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
