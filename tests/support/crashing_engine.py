"""Code that makes an engine kill itself at a given point."""

from __future__ import annotations

import os

from tests.support.processes import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
# Engines that meet their end at a certain point.
PREAMBLE = """
import os, signal, sys
from engine.runs.events import Step, encode_event
from engine.runs.event_log import EventWriter
from engine.training import __main__ as engine
def die(): os.kill(os.getpid(), signal.SIGKILL)
"""
