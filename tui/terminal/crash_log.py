"""Write the traceback of a defect to a file: on a screen it helps nobody, and it may quote hostile text."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

from platformdirs import user_log_path

from tui.terminal.console import clean

KEPT_BYTES = 1_000_000


def crash_log() -> Path:
    """Return the path of the file that tracebacks are appended to."""
    return user_log_path("loratui") / "crash.log"


def record_crash(error: BaseException) -> str:
    """Append the traceback of `error` to the crash log; return a sentence that names the error and the file."""
    path = crash_log()
    sentence = f"unexpected {type(error).__name__}"
    text = f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} process {os.getpid()}\n"
    text += clean("".join(traceback.format_exception(error))) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        too_long = path.exists() and path.stat().st_size > KEPT_BYTES
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if too_long else os.O_APPEND)
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as refused:
        return f"{sentence}: {error} ({path} cannot be written: {refused.strerror})"
    return f"{sentence}, a defect of loratui: training goes on, and {path} has the details"
