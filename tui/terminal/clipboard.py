"""Copy to the clipboard of the person's terminal, through SSH, tmux and GNU screen."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress

TMUX_SECONDS = 2.0
SCREEN_CHUNK = 200  # screen passes on no more than its MAXSTR in one string


def as_bytes(text: str) -> bytes:
    """Return a text as UTF-8, and a path that is none as the bytes that it consists of."""
    return text.encode(errors="surrogateescape")


def osc_52(text: str, environment: Mapping[str, str]) -> str:
    """Return the escape sequence that sets the clipboard (xterm's OSC 52), wrapped so that GNU screen passes it on."""
    sequence = f"\x1b]52;c;{base64.b64encode(as_bytes(text)).decode()}\x07"
    if "STY" not in environment:
        return sequence
    chunks = (sequence[start : start + SCREEN_CHUNK] for start in range(0, len(sequence), SCREEN_CHUNK))
    return "".join(f"\x1bP{chunk}\x1b\\" for chunk in chunks)


def copy(text: str, write: Callable[[str], object], environment: Mapping[str, str]) -> None:
    """Put `text` into the clipboard; `write` writes to the terminal.

    By default tmux ignores OSC 52 from programs in it (`set-clipboard external`), but sends its own when it loads a
    buffer (`load-buffer -w`, tmux 3.2).
    """
    if "TMUX" in environment:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["tmux", "load-buffer", "-w", "-"],
                input=as_bytes(text), check=True, capture_output=True, timeout=TMUX_SECONDS,
            )  # fmt: skip
            return
    write(osc_52(text, environment))
