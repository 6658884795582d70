"""Write the traceback of a defect to a file: on a screen it helps nobody, and it may quote hostile text."""

from __future__ import annotations

import errno
import os
import time
import traceback
from pathlib import Path

from platformdirs import user_log_path

from engine.errors import reason_of
from tui.terminal.console import clean

KEPT_BYTES = 1_000_000


def crash_log() -> Path:
    """Return the path of the file that tracebacks are appended to."""
    return user_log_path("loratui") / "crash.log"


def shortage_of(error: BaseException) -> str:
    """Say what the system has too little of if that is the error, which is no defect; "" for any other."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return "there is not enough memory: end other programs, or raise the limit (ulimit -v)"
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return "too many files are open: end other programs, or raise the limit (ulimit -n)"
    if getattr(error, "errno", None) == errno.EAGAIN or "can't start new thread" in str(error):
        return "no more processes or threads can be started: end other programs, or raise the limit (ulimit -u)"
    return ""


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
        return shortage_of(error) or f"{sentence}: {error} ({path} cannot be written: {reason_of(refused)})"
    if shortage := shortage_of(error):
        return f"{shortage}; training goes on"
    return f"{sentence}, a defect of loratui: training goes on, and {path} has the details"
