"""Engines that kill themselves at a given point."""

from __future__ import annotations

import sys

from engine.files.paths import RunDir
from tests.support.forking import run_forked

PREAMBLE = """
import os, signal, sys
from engine.runs.events import Step, encode_event
from engine.runs.event_log import EventWriter
from engine.training import __main__ as engine
def die(): os.kill(os.getpid(), signal.SIGKILL)
"""


def run_crashing(run: RunDir, end: str, *options: str) -> int:
    """Train in a process of its own until code calls `die`, by what `end` has changed before; the exit code."""
    code = PREAMBLE + end + "\nsys.exit(engine.main())"
    return run_forked([sys.executable, "-P", "-c", code, str(run.path), *options]).returncode
