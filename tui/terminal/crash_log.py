"""Where the traceback of a defect goes: into a file, since it is no use on a screen and may quote hostile text."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

from platformdirs import user_log_path

from tui.terminal.console import clean

KEPT_BYTES = 1_000_000


def crash_log() -> Path:
    """The file that tracebacks are appended to."""
    return user_log_path("loratui") / "crash.log"


def record_crash(error: BaseException) -> str:
    """Append the traceback of `error` to the crash log; returns a sentence on what happened and where to read on."""
    path = crash_log()
    sentence = f"{type(error).__name__} where none was expected"
    text = f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} process {os.getpid()}\n"
    text += clean("".join(traceback.format_exception(error))) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        again = path.exists() and path.stat().st_size > KEPT_BYTES
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if again else os.O_APPEND)
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as refused:
        return f"{sentence}: {error} ({path} could not be written: {refused.strerror})"
    return f"{sentence}, which is a defect: what trains goes on, and {path} tells where it happened"
