"""Read the messages of a conversation as turns, in OpenAI's and ShareGPT's spelling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from engine.dataset.columns import MEDIA, REASONING, Columns, is_empty, short, text_of
from engine.dataset.rows import Role, Turn, Unusable
from engine.dataset.tools import as_json, calls_in_text, joined_calls, read_calls

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "bot": "assistant", "function_call": "assistant", "tool_call": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "function_response": "tool", "tool_response": "tool",
    "ipython": "tool",
}  # fmt: skip
CALLERS = ("function_call", "tool_call")  # roles whose content is a call in JSON
SPEAKERS = ("role", "from")
CONTENTS = ("content", "value", "text")
WEIGHTS = ("loss_weight", "weight", "loss", "train")
PART_REASONING = ("reasoning", "thinking")
# Keys of a question and its answer in one object, as Firefly, ms-swift and XTuner write conversations.
PAIRS = (("human", "assistant"), ("user", "assistant"), ("input", "output"))


class _Content(NamedTuple):
    """Text, reasoning and tool calls in the content of a message; each call is an object or its JSON."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Any, ...] = ()


def read_turns(messages: Sequence[Any], unused: set[str]) -> list[Turn]:
    """Read messages as turns, and add to `unused` the keys of messages that have a value and are not used.

    Raises:
        Unusable: a message cannot be read.
    """
    single = [part for message in messages for part in _single_messages(message)]
    turns: list[Turn] = []
    for number, message in enumerate(single, 1):
        turn = _read_turn(f"its message {number}", message, unused)
        if message.get("role") == "tool_call" and turns and turns[-1].role == "assistant":
            turns[-1] = _with_call(turns[-1], turn)
        else:
            turns.append(turn)
    return turns


def _with_call(turn: Turn, call: Turn) -> Turn:
    """Return an assistant's turn with a call that follows it as a message of its own, as ms-swift writes calls."""
    return Turn(
        "assistant",
        turn.content + call.content,
        turn.supervised if turn.content.strip() or turn.tool_calls else call.supervised,
        joined_calls(turn.tool_calls, call.tool_calls),
        reasoning=turn.reasoning + call.reasoning,
    )


def pair_of(message: Any) -> tuple[str, str] | None:
    """Return the keys of the question and the answer that one object holds, None if it does not hold both."""
    if not isinstance(message, dict) or any(name in message for name in SPEAKERS):
        return None
    return next((pair for pair in PAIRS if all(name in message for name in pair)), None)


def _single_messages(message: Any) -> Iterator[Any]:
    """Return a message as it is, but a question with its answer as two, after the system message beside them."""
    pair = pair_of(message)
    if pair is None:
        yield message
        return
    question, answer = pair
    if not is_empty(message.get("system")):
        yield {"role": "system", "content": message["system"]}
    yield {"role": "user", "content": message[question]}
    others = {name: value for name, value in message.items() if name not in (*pair, "system")}
    yield {"role": "assistant", "content": message[answer], **others}


def _read_turn(name: str, message: Any, unused: set[str]) -> Turn:
    if not isinstance(message, dict):
        raise Unusable(f"{name} is {type(message).__name__}, not an object")
    columns = Columns(message)
    speaker = columns.value(*SPEAKERS)
    word = speaker.strip().lower() if isinstance(speaker, str) else ""
    role = ROLES.get(word)
    if role is None:
        raise Unusable(f"{name} has the role {short(speaker)}, but it must be one of {', '.join(ROLES)}")
    if (media := columns.first(*MEDIA)) is not None:
        raise Unusable(f"{name} has {media}, and only text can be trained on")
    calls = columns.value("tool_calls", "function_call") if role == "assistant" else None
    content = _content(name, role, columns, message, unused, required=calls is None)
    text = content.text
    if calls is None:
        in_text = calls_in_text(text) if word in CALLERS else None
        calls, text = (in_text, "") if in_text is not None else (list(content.calls) or None, text)
    weight = 1 if (value := columns.value(*WEIGHTS)) is None else value
    if role == "assistant" and weight not in (0, 1):
        raise Unusable(f"{name} has the weight {short(weight)}, and only 0 and 1 are supported")
    function, call = (columns.text("name"), columns.text("tool_call_id")) if role == "tool" else ("", "")
    reasoning = columns.text(*REASONING) if role == "assistant" else ""
    tool_calls = "" if calls is None else read_calls(name, calls)
    unused.update(f"messages.{key}" for key in columns.unused())
    supervised = role == "assistant" and weight == 1 and bool(text.strip() or tool_calls)
    return Turn(role, text, supervised, tool_calls, function, call, reasoning or content.reasoning)


def _content(
    name: str, role: Role, columns: Columns, message: dict[str, Any], unused: set[str], *, required: bool
) -> _Content:
    """Return what a message says; only one that calls tools may have no content."""
    key = columns.first(*CONTENTS) or next((key for key in CONTENTS if key in message), None)
    if key is None:
        if required:
            raise Unusable(f"{name} has no content")
        return _Content()
    content = message[key]
    if role == "tool" and isinstance(content, dict):
        return _Content(as_json(content))
    parts = [_part(name, role, part, unused) for part in (content if isinstance(content, list) else [content])]
    return _Content(
        "".join(part.text for part in parts),
        "".join(part.reasoning for part in parts),
        tuple(call for part in parts for call in part.calls),
    )


def _part(name: str, role: Role, part: Any, unused: set[str]) -> _Content:
    if not isinstance(part, dict):
        return _Content("" if part is None else text_of(name, part))
    columns = Columns(part)
    kind = columns.value("type") or "text"
    if kind != "text" and (role != "assistant" or kind not in (*PART_REASONING, "tool_call")):
        raise Unusable(f"{name} has content of type {short(kind)}, and only text can be trained on")
    names = ("text", "value", *((kind,) if kind != "text" else ()))
    key = columns.first(*names) or next((key for key in names if key in part), None)
    if key is None:
        raise Unusable(f"{name} has content without {'text' if kind == 'text' else kind}")
    unused.update(f"messages.content.{key}" for key in columns.unused())
    if kind == "tool_call":
        return _Content(calls=(part[key],))
    text = "" if part[key] is None else text_of(name, part[key])
    return _Content(text) if kind == "text" else _Content(reasoning=text)
