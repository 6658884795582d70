"""Notifications: the `[notify]` table of the configuration, and the command in it.

The runner runs the command, so that it works when nobody is logged in; the bell and OSC 9 are the app's.
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

from engine.alerts.run_monitor import Alarm, Kind
from engine.errors import ConfigError, reason_of
from engine.files.atomic import NoPlainFile, read_plain
from engine.files.paths import config_path
from engine.text.sanitize import clean_line

COMMAND_SECONDS = 30.0
MAX_BYTES = 1024 * 1024
MAX_CHARACTERS = 500  # of a message


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """The person's choice of notifications.

    Attributes:
        bell: ring the terminal's bell.
        osc9: show a notification of the terminal, if it supports OSC 9.
        command: a program with its arguments, "" for none; the message is added as its last argument.
        on: the kinds of alarm to notify about.
    """

    bell: bool = True
    osc9: bool = True
    command: str = ""
    on: tuple[Kind, ...] = tuple(Kind)

    def __post_init__(self) -> None:
        """Raise ValueError, which msgspec passes on, for a command with an unclosed quotation mark."""
        try:
            shlex.split(self.command)
        except ValueError as error:
            raise ValueError(f"command {self.command!r}: {error}") from error


def read_notify(path: Path | None = None) -> Notify:
    """Read the `[notify]` table; the defaults if there is none.

    Raises:
        ConfigError: the file cannot be read, or a value in it is not valid.
    """
    path = path or config_path()
    try:
        document = tomllib.loads(read_plain(path, max_bytes=MAX_BYTES, follow_link=True).decode())
        return msgspec.convert(document.get("notify", {}), Notify)
    except FileNotFoundError:
        return Notify()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {reason_of(error)}") from error
    except (NoPlainFile, ValueError, RecursionError) as error:  # TOML's, msgspec's and Unicode's are ValueErrors
        raise ConfigError(f"[notify] in {path} is not valid: {error}") from error


def call_by_command(alarm: Alarm) -> None:
    """Run the configured command if it is configured for this kind of alarm; never fails and never waits."""
    try:
        notify = read_notify()
    except ConfigError as error:
        _log(error.message)
        return
    if alarm.kind in notify.on:
        run_command(notify.command, alarm)


def run_command(command: str, alarm: Alarm, environment: Mapping[str, str] = os.environ) -> threading.Thread | None:
    """Run a command in a session of its own, without a shell; kill it and its children after `COMMAND_SECONDS`.

    `command` is one that `Notify` accepted. The message is its last argument, and in LORATUI_MESSAGE; LORATUI_EVENT is
    the kind, LORATUI_ROUND the number. Its output is discarded.

    Returns:
        The thread that waits for it; None if it could not be started.
    """
    words = shlex.split(command)
    if not words:
        return None
    message = clean_line(alarm.message)[:MAX_CHARACTERS]
    variables = {"LORATUI_ROUND": str(alarm.number), "LORATUI_EVENT": str(alarm.kind), "LORATUI_MESSAGE": message}
    try:
        process = subprocess.Popen(
            [*words, message],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**environment, **variables},
        )
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error
        _log(f"the command of [notify] could not be started: {words[0]}: {reason}")
        return None
    thread = threading.Thread(target=_await_end, args=(process, words[0]), name="notify")
    with contextlib.suppress(RuntimeError):  # the system may refuse another thread
        thread.start()
    return thread


def _log(sentence: str) -> None:
    """Print a sentence to the runner's log."""
    with contextlib.suppress(OSError):  # of a log on a full disk
        print(clean_line(sentence), flush=True)


def _await_end(process: subprocess.Popen[bytes], program: str) -> None:
    try:
        if code := process.wait(COMMAND_SECONDS):
            _log(f"the command of [notify] ended with exit code {code}: {program}")
    except subprocess.TimeoutExpired:
        _log(f"the command of [notify] was killed after {COMMAND_SECONDS:.0f} s: {program}")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
