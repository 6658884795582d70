"""Read the messages of a conversation as turns, in OpenAI's and ShareGPT's spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.dataset.columns import MEDIA, REASONING, Columns, short, text_of
from engine.dataset.rows import Role, Turn, Unusable
from engine.dataset.tools import as_json, calls_in_text, read_calls

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "bot": "assistant", "function_call": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip
SPEAKERS = ("role", "from")
CONTENTS = ("content", "value", "text")
WEIGHTS = ("loss_weight", "weight", "train")


def read_turns(messages: Sequence[Any], unused: set[str]) -> list[Turn]:
    """Read messages as turns, and add to `unused` the keys of messages that have a value and are not used.

    Raises:
        Unusable: a message cannot be read.
    """
    return [_read_turn(f"its message {number}", message, unused) for number, message in enumerate(messages, 1)]


def _read_turn(name: str, message: Any, unused: set[str]) -> Turn:
    if not isinstance(message, dict):
        raise Unusable(f"{name} is {type(message).__name__}, not an object")
    columns = Columns(message)
    speaker = columns.value(*SPEAKERS)
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise Unusable(f"{name} has the role {short(speaker)}, but it must be one of {', '.join(ROLES)}")
    if (media := columns.first(*MEDIA)) is not None:
        raise Unusable(f"{name} has {media}, and only text can be trained on")
    calls = columns.value("tool_calls", "function_call") if role == "assistant" else None
    text = _content(name, role, columns, message, unused, required=calls is None)
    if calls is None and speaker == "function_call":
        calls, text = (in_text, "") if (in_text := calls_in_text(text)) is not None else (None, text)
    weight = 1 if (value := columns.value(*WEIGHTS)) is None else value
    if role == "assistant" and weight not in (0, 1):
        raise Unusable(f"{name} has the weight {short(weight)}, and only 0 and 1 are supported")
    function, call = (columns.text("name"), columns.text("tool_call_id")) if role == "tool" else ("", "")
    reasoning = columns.text(*REASONING) if role == "assistant" else ""
    tool_calls = "" if calls is None else read_calls(name, calls)
    unused.update(f"messages.{key}" for key in columns.unused())
    supervised = role == "assistant" and weight == 1 and bool(text.strip() or tool_calls)
    return Turn(role, text, supervised, tool_calls, function, call, reasoning)


def _content(
    name: str, role: Role, columns: Columns, message: dict[str, Any], unused: set[str], *, required: bool
) -> str:
    """Return the text of a message; only one that calls tools may have no content."""
    key = columns.first(*CONTENTS) or next((key for key in CONTENTS if key in message), None)
    if key is None:
        if required:
            raise Unusable(f"{name} has no content")
        return ""
    content = message[key]
    return as_json(content) if role == "tool" and isinstance(content, dict) else _content_text(name, content, unused)


def _content_text(name: str, content: Any, unused: set[str]) -> str:
    """Return a message's text: a value, or the parts of a list joined."""
    parts = content if isinstance(content, list) else [content]
    return "".join(_part_text(name, part, unused) for part in parts)


def _part_text(name: str, part: Any, unused: set[str]) -> str:
    if not isinstance(part, dict):
        return "" if part is None else text_of(name, part)
    columns = Columns(part)
    kind = columns.value("type") or "text"
    if kind != "text":
        raise Unusable(f"{name} has content of type {short(kind)}, and only text can be trained on")
    key = columns.first("text", "value") or next((key for key in ("text", "value") if key in part), None)
    if key is None:
        raise Unusable(f"{name} has content without text")
    unused.update(f"messages.content.{key}" for key in columns.unused())
    return "" if part[key] is None else text_of(name, part[key])
