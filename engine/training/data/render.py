"""Rows rendered as the text that is tokenised, with the parts of it that are supervised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from engine.dataset.rows import Conversation, PlainText, Row
from engine.dataset.templates import as_conversation, render_prompt, response_of
from engine.errors import ModelError
from engine.spec.data import DataSpec
from engine.training.data.chat_template import ChatTemplate, Span, give_plain_template


class RenderedRow(NamedTuple):
    """One row as text.

    Attributes:
        text: the text that is tokenised.
        supervised: its supervised parts, as (start, end) in characters.
        add_special_tokens: whether the tokenizer adds special tokens at the ends; a chat template writes them itself.
        append_eos: whether the end-of-sequence token follows, supervised.
    """

    text: str
    supervised: list[Span]
    add_special_tokens: bool
    append_eos: bool


class Renderer:
    """Renders rows by `data.prompt_template`.

    Attributes:
        begun: number of rows so far whose text begins with the start token, so that no other is put before it.
        plain_template: whether the tokenizer had no chat template and got a plain one, as the rows need one.

    Raises:
        ModelError: the tokenizer has several chat templates and none of them is the default.
    """

    def __init__(self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, data: DataSpec) -> None:
        self._data = data
        self._chat: ChatTemplate | None = None
        self._start = str(tokenizer.bos_token or "")
        self.begun = 0
        self.plain_template = False
        if data.prompt_template == "chat_template" or any(isinstance(row, Conversation) for row in rows):
            self.plain_template = not tokenizer.chat_template
            if self.plain_template:
                give_plain_template(tokenizer)
            try:
                self._chat = ChatTemplate(tokenizer, data.reasoning)
            except ValueError as error:
                raise ModelError(
                    f"{tokenizer.name_or_path!r} has several chat templates, and none is called default: keep only one "
                    f"in its tokenizer_config.json"
                ) from error

    @property
    def uses_chat_template(self) -> bool:
        """Return whether any row is rendered by the chat template."""
        return self._chat is not None

    @property
    def rewritten(self) -> int:
        """Number of assistant turns so far that are not supervised; see `ChatTemplate`."""
        return self._chat.rewritten if self._chat is not None else 0

    def render(self, row: Row) -> RenderedRow:
        """Return `row` as text; raises Unusable if the chat template refuses it."""
        if isinstance(row, PlainText):
            return self._plain(row.text, 0)
        if self._chat is not None and (isinstance(row, Conversation) or self._data.prompt_template == "chat_template"):
            conversation = as_conversation(row)
            text, spans = self._chat.render(conversation)
            append_eos = conversation.turns[-1].supervised and not self._chat.ends_with_marker(text)
            rendered = RenderedRow(text, spans, add_special_tokens=False, append_eos=append_eos)
        else:
            assert not isinstance(row, Conversation)
            prompt = render_prompt(row, self._data.prompt_template)
            rendered = self._plain(prompt + response_of(row), len(prompt))
        if self._data.supervised_tokens == "all":
            return rendered._replace(supervised=[(0, len(rendered.text))])
        return rendered

    def _plain(self, text: str, supervised_from: int) -> RenderedRow:
        """Return a text that no chat template wrote; the tokenizer adds its special tokens unless it has them."""
        has_start = bool(self._start) and text.startswith(self._start)
        self.begun += has_start
        return RenderedRow(text, [(supervised_from, len(text))], add_special_tokens=not has_start, append_eos=True)
