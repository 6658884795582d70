"""Conversations rendered by a chat template, with the parts of the text that are supervised."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import msgspec
from jinja2 import TemplateError, UndefinedError
from msgspec.structs import replace
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from engine.dataset.rows import Conversation, Turn, Unusable
from engine.errors import ModelError
from engine.training.runtime.hub_errors import first_line
from engine.training.runtime.time_limit import TimeLimit, TimeLimitExceeded

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")  # as transformers looks for it
RENDER_SECONDS = 10.0  # a row takes milliseconds
THINKING = re.compile(r"\s*<think>\s*(.*?)\s*</think>\s*", re.DOTALL)
END_OF_THINKING = re.compile(r"\s*(?:</think>\s*)?")
UNUSED = "\ue000"  # a character of the private use area

# For a tokenizer that has no template: words instead of markers it would have no tokens for, its end-of-sequence token
# after each answer, as Vicuna had it (https://github.com/lm-sys/FastChat).
PLAIN_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{ 'ASSISTANT:' }}{% generation %}{{ ' ' + message.content + eos_token }}{% endgeneration %}{{ '\n' }}
{%- elif message.role == 'user' -%}
{{ 'USER: ' + message.content + '\n' }}
{%- else -%}
{{ message.content + '\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}
"""

Span = tuple[int, int]
Reasoning = Literal["learned", "shown", "left_out"]


def give_plain_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a chat template `PLAIN_TEMPLATE`."""
    tokenizer.chat_template = start_of(tokenizer) + PLAIN_TEMPLATE


def start_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the beginning of a template for a tokenizer: the start token, if it puts that before any text."""
    return "{{ bos_token }}" if tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else ""


def common_prefix(text: str, other: str) -> int:
    """Return the number of characters that both texts begin with."""
    pairs = zip(text, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(text), len(other)))


class ChatTemplate:
    """A tokenizer's chat template, rendered by transformers in jinja2's sandbox.

    Attributes:
        rewritten: number of assistant turns so far that are not supervised, as the template writes them differently
            when more turns follow, for example without the reasoning of earlier answers.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, reasoning: Reasoning = "learned") -> None:
        self.rewritten = 0
        self._reasoning = reasoning
        self._limit = TimeLimit(RENDER_SECONDS)
        self._name: str = tokenizer.name_or_path
        self._template: str = tokenizer.get_chat_template()
        self._special_tokens: dict[str, Any] = tokenizer.special_tokens_map
        added = (token.content for token in tokenizer.added_tokens_decoder.values())
        self._markers = tuple({token for token in (*added, *tokenizer.all_special_tokens) if token.strip()})
        longest_first = sorted(self._markers, key=len, reverse=True)
        self._marker = re.compile(r"\s*(?:" + "|".join(map(re.escape, longest_first)) + ")")

    def ends_with_marker(self, text: str) -> bool:
        """Return whether `text` ends with a special token, which ends its last turn."""
        return text.rstrip().endswith(self._markers)

    def end_of_last_answer(self, turns: Sequence[Turn]) -> str | None:
        """Return the special token behind the words of the last of `turns`; raises as `render`."""
        text, _ = self._render(Conversation(tuple(turns)))
        words = turns[-1].content
        marker = self._marker.match(text, text.rfind(words) + len(words)) if words in text else None
        return marker[0].strip() if marker else None

    def prompt(self, turns: Sequence[Turn]) -> str:
        """Return the conversation as text up to where the assistant's answer begins; raises as `render`."""
        return self._render(Conversation(tuple(turns)), add_generation_prompt=True)[0]

    def render(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """Return the conversation as text, and its supervised parts as (start, end) in characters.

        A supervised part is what the assistant has to write: all that follows the generation prompt, with the token
        that ends the turn.

        Raises:
            Unusable: the template refuses the conversation, leaves out parts of it, or rewrites all supervised turns.
            ModelError: the template does not terminate.
        """
        conversation = self._with_reasoning(conversation)
        marked = self._spans_by_marks(conversation) if GENERATION.search(self._template) else None
        text, spans = marked or self._spans_by_comparison(conversation)
        self._refuse_loss(conversation, text)
        if not spans:
            raise Unusable("the chat template changes its answers, so none of them can be learned")
        return text, spans

    def _with_reasoning(self, conversation: Conversation) -> Conversation:
        """Return the conversation with its reasoning left out, or where the template writes it."""
        turns = conversation.turns
        if self._reasoning != "learned":
            turns = tuple(reasoning_apart(turn) for turn in turns)
        if self._reasoning == "left_out":
            turns = tuple(replace(turn, reasoning="") for turn in turns)
        elif any(turn.reasoning for turn in turns) and not self._writes_reasoning:
            turns = tuple(reasoning_in_content(turn) for turn in turns)
        return replace(conversation, turns=turns)

    @cached_property
    def _writes_reasoning(self) -> bool:
        """Return whether the template writes the reasoning of the last answer."""
        answer = Turn("assistant", "answer", reasoning=UNUSED)
        try:
            return UNUSED in self._render(Conversation((Turn("user", "question"), answer)))[0]
        except Unusable:
            return False

    def _refuse_loss(self, conversation: Conversation, text: str) -> None:
        """Raise Unusable if the template writes the same text without some part of the conversation."""
        if (thought := thought_of(conversation.turns[-1])) and thought not in text:
            raise Unusable("the model's chat template does not write its reasoning: set data.reasoning to left_out")
        for part, others in conversation_without(conversation):
            try:
                lost = self._render(others)[0] == text
            except Unusable:  # the template insists on the part, so it has written it
                continue
            if lost:
                raise Unusable(
                    f"the model's chat template does not write its {part}: take a model whose template does, or write "
                    f"them into its messages as text"
                )

    def _spans_by_marks(self, conversation: Conversation) -> tuple[str, list[Span]] | None:
        """Find the parts by the template's `{% generation %}`; None where they do not hold the assistant's words.

        The library miscounts them where a template has them in a macro.
        """
        text, marks = self._render(conversation, marked=True)
        answers = [turn for turn in conversation.turns if turn.role == "assistant"]
        if len(marks) != len(answers):
            return None
        if not all(
            words in text[slice(*mark)]
            for mark, turn in zip(marks, answers, strict=True)
            for words in (turn.content.strip(), *called_functions(turn))
        ):
            return None
        supervised = [(mark, turn) for mark, turn in zip(marks, answers, strict=True) if turn.supervised]
        return text, [
            (self._after_reasoning(text, start, turn), self._end_of_turn(text, start, end))
            for (start, end), turn in supervised
        ]

    def _after_reasoning(self, text: str, start: int, turn: Turn) -> int:
        """Return `start`, moved behind the reasoning of the turn that begins there if it is only shown."""
        thought = thought_of(turn)
        place = text.find(thought, start)
        if self._reasoning == "learned" or not thought or place < 0:
            return start
        end_of_thinking = END_OF_THINKING.match(text, place + len(thought))
        return end_of_thinking.end() if end_of_thinking else place + len(thought)

    def _end_of_turn(self, text: str, start: int, end: int) -> int:
        """Return `end`, moved behind the token that ends the turn if the template does not mark it."""
        if self.ends_with_marker(text[start:end]):
            return end
        marker = self._marker.match(text, end)
        return marker.end() if marker else end

    def _spans_by_comparison(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """Find the parts by what each assistant turn adds to the text of the turns before it."""
        text, _ = self._render(conversation)
        spans = []
        for index, turn in enumerate(conversation.turns):
            if not turn.supervised:
                continue
            so_far = replace(conversation, turns=conversation.turns[: index + 1])
            text_so_far, _ = self._render(so_far)
            if not text.startswith(text_so_far):
                self.rewritten += 1
                continue
            start = self._after_reasoning(text, self._answer_start(so_far, text_so_far), turn)
            end = len(text_so_far.rstrip()) if self.ends_with_marker(text_so_far) else len(text_so_far)
            if start < end:
                spans.append((start, end))
        return text, spans

    def _answer_start(self, so_far: Conversation, text_so_far: str) -> int:
        """Return where the last turn begins: after the generation prompt, or else with its content."""
        before = so_far.turns[:-1]
        if "add_generation_prompt" in self._template:
            prompt, _ = self._render(replace(so_far, turns=before), add_generation_prompt=True)
            if text_so_far.startswith(prompt):
                return len(prompt)
        other, _ = self._render(replace(so_far, turns=(*before, Turn("assistant", UNUSED))))
        return common_prefix(text_so_far, other)

    def _render(
        self, conversation: Conversation, *, marked: bool = False, add_generation_prompt: bool = False
    ) -> tuple[str, list[Span]]:
        """Return the text, and with `marked` the parts that the template marks as generated."""
        try:
            with self._limit:
                rendered: Any = render_jinja_template(
                    [[as_message(turn) for turn in conversation.turns]],
                    tools=msgspec.json.decode(conversation.tools) if conversation.tools else None,
                    chat_template=self._template,
                    return_assistant_tokens_mask=marked,
                    add_generation_prompt=add_generation_prompt,
                    **self._special_tokens,
                )
        except TimeLimitExceeded as error:
            raise ModelError(
                f"the chat template of {self._name!r} took more than {RENDER_SECONDS:g} s for one row: replace it in "
                f"its tokenizer_config.json"
            ) from error
        except Exception as error:  # a template may raise any exception
            raise Unusable(f"the chat template refuses it{_line_of(error)}: {first_line(error)}") from error
        (text,), marks = rendered
        return text, marks[0] if marked else []


def _line_of(error: BaseException) -> str:
    """Return ` in line N` for an error that a line of a template raised, "" for one it raises on purpose."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    on_purpose = isinstance(error, TemplateError) and not isinstance(error, UndefinedError)
    return f" in line {frames[-1].lineno}" if frames and not on_purpose else ""


def as_message(turn: Turn) -> dict[str, Any]:
    """Return a turn as chat templates expect a message, with only those keys that it has a value for."""
    message: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        message["tool_calls"] = msgspec.json.decode(turn.tool_calls)
    named = {"name": turn.name, "tool_call_id": turn.tool_call_id, "reasoning_content": turn.reasoning}
    return message | {key: value for key, value in named.items() if value}


def thought_of(turn: Turn) -> str:
    """Return the reasoning of an assistant's turn, be it apart or at the beginning of its content."""
    match = THINKING.match(turn.content) if turn.role == "assistant" else None
    return turn.reasoning.strip() or (match[1] if match else "")


def reasoning_apart(turn: Turn) -> Turn:
    """Return an assistant's turn with the reasoning that its content begins with as its reasoning."""
    match = THINKING.match(turn.content) if turn.role == "assistant" else None
    return replace(turn, content=turn.content[match.end() :], reasoning=turn.reasoning or match[1]) if match else turn


def reasoning_in_content(turn: Turn) -> Turn:
    """Return a turn with its reasoning at the beginning of its content, as reasoning models write it."""
    if not turn.reasoning:
        return turn
    return replace(turn, content=f"<think>\n{turn.reasoning}\n</think>\n\n{turn.content}", reasoning="")


def called_functions(turn: Turn) -> list[str]:
    """Return the names of the functions that a turn calls."""
    calls = msgspec.json.decode(turn.tool_calls) if turn.tool_calls else []
    return [call["function"]["name"] for call in calls]


def conversation_without(conversation: Conversation) -> Iterator[tuple[str, Conversation]]:
    """Return the name of each part that a chat template may leave out, and the conversation without that part."""
    turns = conversation.turns
    if conversation.tools:
        yield "tools", replace(conversation, tools="")
    if any(turn.tool_calls for turn in turns):
        yield "tool calls", replace(conversation, turns=tuple(replace(turn, tool_calls="") for turn in turns))
    if any(turn.role == "tool" for turn in turns):
        without = tuple(replace(turn, content="") if turn.role == "tool" else turn for turn in turns)
        yield "tool results", replace(conversation, turns=without)
