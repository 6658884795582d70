"""Processes that are killed at no particular moment."""

from __future__ import annotations

import random
import subprocess
import sys
import time

from tests.support.disks import ENVIRONMENT


def killed_while_writing(draw: random.Random, code: str, *arguments: object) -> str:
    """Run Python code, and kill it within 20 ms after its first line of output; what else it wrote till then."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.02))
        process.kill()
        return process.stdout.read()
