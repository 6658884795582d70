"""Tokens and keys, kept out of whatever is written down."""

from __future__ import annotations

import os
import re
import sys
from io import TextIOBase
from typing import Any, TextIO

REDACTED = "[redacted]"
# As their issuers write them: Hugging Face, OpenAI and Anthropic, GitHub, AWS, Slack; a bearer's header; user and
# password in a URL.
TOKEN = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{20,}|\b(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{20,}"
    r"|\bAKIA[A-Z0-9]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
NAMES_A_SECRET = re.compile(r"(?:^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS)S?$")
SHORTEST = 8  # a value any shorter, such as `1`, is no secret


def redact(text: str) -> str:
    """`text` without what looks like a token, and without what a variable such as `WANDB_API_KEY` holds."""
    for secret in _secrets_of_environment():
        text = text.replace(secret, REDACTED)
    return TOKEN.sub(REDACTED, text)


def holds_secret(text: str) -> bool:
    """Whether anything of `text` is to be redacted."""
    return redact(text) != text


def _secrets_of_environment() -> list[str]:
    """The longest first, as one may begin with another."""
    values = {value for name, value in os.environ.items() if NAMES_A_SECRET.search(name) and len(value) >= SHORTEST}
    return sorted(values, key=len, reverse=True)


def redact_output() -> None:
    """Have this process print no secret: whatever is written through `sys.stdout` and `sys.stderr` is redacted."""
    sys.stdout, sys.stderr = _Redacting(sys.stdout), _Redacting(sys.stderr)


class _Redacting(TextIOBase):
    """Passes text on redacted, in whole lines, as a token may come in two writes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""

    def write(self, text: str) -> int:
        self._line += text
        whole, newline, self._line = self._line.rpartition("\n")
        if newline:
            self._stream.write(redact(whole) + newline)
        return len(text)

    def flush(self) -> None:
        line, self._line = self._line, ""
        self._stream.write(redact(line))
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
