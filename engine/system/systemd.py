"""What becomes of processes when their user logs out, as systemd decides it (logind.conf(5), loginctl(1)).

With lingering on, the user's service manager lives on after the last logout, and with it what runs in scopes of its
own beneath it. With lingering off a process is better left in its session, which by itself ends nothing.
"""

from __future__ import annotations

import getpass
import os
import subprocess
from typing import Literal

SECONDS = 10.0
Lingering = Literal["on", "off", "no systemd"]


def lingering() -> Lingering:
    """Whether the user's processes may outlive the last logout."""
    answer = _ask(["loginctl", "show-user", getpass.getuser(), "--property=Linger", "--value"])
    if answer is None:
        return "no systemd"
    return "on" if answer.strip() == "yes" else "off"


def move_to_own_scope(name: str) -> bool:
    """Take this process out of its login session into a scope of the user's service manager; whether that was done.

    logind ends sessions, and systemd-oomd whole groups of processes: in a scope of its own neither takes it along.
    """
    pid = str(os.getpid())
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    unit = ["StartTransientUnit", "ssa(sv)a(sa(sv))", f"{name}-{pid}.scope", "fail", "1", "PIDs", "au", "1", pid, "0"]
    return lingering() == "on" and _ask(["busctl", "--user", "call", *manager, *unit]) is not None


def _ask(command: list[str]) -> str | None:
    """What a program of systemd answers; None if it is not there or refuses."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
