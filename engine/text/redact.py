"""Keep tokens and keys out of everything that is written down."""

from __future__ import annotations

import os
import re
import sys
from io import TextIOBase
from typing import Any, TextIO

REDACTED = "[redacted]"
# The formats of Hugging Face, OpenAI and Anthropic, GitHub, AWS, Slack; the token of a bearer header;
# user and password in a URL.
TOKEN = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{20,}|\b(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{20,}"
    r"|\bAKIA[A-Z0-9]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
NAMES_A_SECRET = re.compile(r"(?:^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS)S?$")
SHORTEST = 8  # a shorter value, such as `1`, is not a secret


def redact(text: str) -> str:
    """Replace what looks like a token in `text`, and the values of variables such as `WANDB_API_KEY`."""
    for secret in _secrets_of_environment():
        text = text.replace(secret, REDACTED)
    return TOKEN.sub(REDACTED, text)


def holds_secret(text: str) -> bool:
    """Return True if `redact` would change `text`."""
    return redact(text) != text


def _secrets_of_environment() -> list[str]:
    """Return them longest first, since one may begin with another."""
    values = {value for name, value in os.environ.items() if NAMES_A_SECRET.search(name) and len(value) >= SHORTEST}
    return sorted(values, key=len, reverse=True)


def redact_output() -> None:
    """Redact everything that this process writes through `sys.stdout` and `sys.stderr`."""
    sys.stdout, sys.stderr = _RedactedOutput(sys.stdout), _RedactedOutput(sys.stderr)


class _RedactedOutput(TextIOBase):
    """Pass text on redacted, line by line, since a token may be split over two writes."""

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
