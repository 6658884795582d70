"""Calling somebody who is not looking: the `[notify]` table of the configuration, and the command in it.

The command is run by the runner, which is there when nobody is logged in; the bell and OSC 9 are the terminal's, and so
the app's.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from platformdirs import user_config_path

from engine.alerts.run_monitor import Alarm, Kind
from engine.errors import LoratuiError, reason_of
from engine.files.atomic import NoPlainFile, read_plain
from engine.text.sanitize import clean_line

COMMAND_SECONDS = 30.0
MAX_BYTES = 1024 * 1024
MAX_CHARACTERS = 500  # of a message


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """How to call, and for what.

    Attributes:
        bell: the terminal's bell.
        osc9: a notification of the terminal's, where it has any (OSC 9).
        command: a program with its arguments, "" for none; the message is put behind them.
        on: the kinds of occasion.
    """

    bell: bool = True
    osc9: bool = True
    command: str = ""
    on: tuple[Kind, ...] = tuple(Kind)

    def __post_init__(self) -> None:
        """Raise ValueError, which msgspec passes on, for a command with a quotation that does not end."""
        try:
            shlex.split(self.command)
        except ValueError as error:
            raise ValueError(f"command {self.command!r}: {error}") from error


def config_path() -> Path:
    """Where the person's configuration lies: `~/.config/loratui/config.toml` on Linux."""
    return user_config_path("loratui") / "config.toml"


def read_notify(path: Path | None = None) -> Notify:
    """The `[notify]` table; the defaults where there is none.

    Raises:
        LoratuiError: the file cannot be read, or does not hold together.
    """
    path = path or config_path()
    try:
        document = tomllib.loads(read_plain(path, max_bytes=MAX_BYTES, follow_link=True).decode())
        return msgspec.convert(document.get("notify", {}), Notify)
    except FileNotFoundError:
        return Notify()
    except OSError as error:
        raise LoratuiError(f"{path} cannot be read: {reason_of(error)}") from error
    except (NoPlainFile, ValueError, RecursionError) as error:  # TOML's, msgspec's and Unicode's are ValueErrors
        raise LoratuiError(f"[notify] in {path} does not hold together: {error}") from error


def call_by_command(alarm: Alarm) -> None:
    """Run the configured command for an alarm of a kind that it is wanted for; never fails, and waits for nothing."""
    try:
        notify = read_notify()
    except LoratuiError as error:
        with contextlib.suppress(OSError):  # of a log on a full disk
            print(error.message, flush=True)
        return
    if alarm.kind in notify.on:
        run_command(notify.command, alarm)


def run_command(command: str, alarm: Alarm, environment: Mapping[str, str] = os.environ) -> threading.Thread | None:
    """Run a command apart from this process and without a shell; end it and all it started after `COMMAND_SECONDS`.

    `command` is one that `Notify` took. The message is its last argument, and in LORATUI_MESSAGE; LORATUI_EVENT is the
    kind, LORATUI_ROUND the number. Of what it writes nothing is kept.

    Returns:
        The thread that waits for it; None if it could not be started.
    """
    words = shlex.split(command)
    if not words:
        return None
    message = clean_line(alarm.message)[:MAX_CHARACTERS]
    told = {"LORATUI_ROUND": str(alarm.number), "LORATUI_EVENT": str(alarm.kind), "LORATUI_MESSAGE": message}
    try:
        process = subprocess.Popen(
            [*words, message],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**environment, **told},
        )
    except (OSError, ValueError):
        return None
    thread = threading.Thread(target=_await_end, args=(process,), name="notify")
    with contextlib.suppress(RuntimeError):  # there may be no room for another thread
        thread.start()
    return thread


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
