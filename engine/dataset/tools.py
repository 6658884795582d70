"""Read the tools of a row and the calls of a message, in OpenAI's and ShareGPT's spelling.

Both become what chat templates expect:
https://huggingface.co/docs/transformers/chat_extras
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.dataset.columns import is_encodable, short
from engine.dataset.rows import Unusable

Object = dict[str, Any]


def read_tools(name: str, value: Any) -> str:
    """Return a list of tools as JSON, each with its type; raises Unusable if it is none."""
    tools = _decoded(value)
    if isinstance(tools, dict):
        tools = [tools]
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Unusable(f"its {name} is {short(value)}, not a list of functions")
    functions = [_without_nulls(tool) for tool in tools]
    for function in functions:
        if not isinstance(_function_of(function).get("name"), str):
            raise Unusable(f"its {name} have a function without a name: {short(function)}")
    typed = [
        function if "function" in function else {"type": "function", "function": function} for function in functions
    ]
    return _encoded(f"its {name}", typed)


def read_calls(name: str, value: Any) -> str:
    """Return the calls of a message as JSON, their arguments as an object; raises Unusable if they are none.

    `name` names the message.
    """
    calls = _decoded(value)
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list) or not all(is_call(call) for call in map(_decoded, calls)):
        raise Unusable(f"{name} has the tool calls {short(value)}, not a list of functions with name and arguments")
    return _encoded(name, [_read_call(_decoded(call)) for call in calls])


def joined_calls(*texts: str) -> str:
    """Return the calls of several texts as one list in JSON, "" if there are none."""
    calls = [call for text in texts if text for call in msgspec.json.decode(text)]
    return msgspec.json.encode(calls).decode() if calls else ""


def is_call(value: Any) -> bool:
    """Return whether `value` names a function to call."""
    return isinstance(value, dict) and isinstance(_function_of(value).get("name"), str)


def calls_in_text(text: str) -> list[Any] | None:
    """Return the calls that ShareGPT writes as the JSON text of a message; None if it is another text."""
    value = _decoded(text)
    calls = value if isinstance(value, list) else [value]
    return calls if calls and all(is_call(call) for call in calls) else None


def as_json(value: Any) -> str:
    """Return a value as JSON text; raises Unusable for what JSON cannot write."""
    return _encoded("its value", value)


def _read_call(call: Object) -> Object:
    # Columns of nested values hold the keys of all rows, so a key of another row's call is a null here.
    call = _without_nulls(call)
    function = _function_of(call)
    arguments = _decoded(function.get("arguments", function.get("parameters")) or "{}")
    called = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **called} if isinstance(call.get("id"), str) else called


def _function_of(value: Object) -> Object:
    function = value.get("function")
    return function if isinstance(function, dict) else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _decoded(value: Any) -> Any:
    """Decode an object or a list that is written as JSON."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return value
    return value


def _encoded(name: str, value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:  # a ValueError is half of a character
        raise Unusable(f"{name} cannot be written as JSON") from error
    assert is_encodable(text)
    return text
