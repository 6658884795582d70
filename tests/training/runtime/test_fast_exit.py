"""A fast exit loses nothing: threads, exit handlers, output and exit code are as usual."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

CODE = """
import atexit, sys, threading, time
from engine.training.runtime.fast_exit import FastExit

class Kept:
    def __del__(self):
        print("torn down")

def work():
    time.sleep(0.2)
    print("thread")

end = FastExit()
kept = Kept()
atexit.register(print, "registered")
threading.Thread(target=work).start()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("main")
print("aside", file=sys.stderr)
"""


def ended(how: str) -> tuple[int, str, str]:
    """Return (exit code, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE + how],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_threads_and_exit_handlers_run_before_it(code: int) -> None:
    assert ended(f"end.exit_code = {code}") == (code, "main\nthread\nregistered\n", "aside\n")


def test_process_that_fails_ends_as_usual() -> None:
    code, printed, errors = ended("raise SystemExit(2)")
    assert (code, printed, errors) == (2, "main\nthread\nregistered\ntorn down\n", "aside\n")
    code, printed, errors = ended("1 / 0")
    assert (code, printed) == (1, "main\nthread\nregistered\ntorn down\n")
    assert "ZeroDivisionError" in errors


def test_closed_output_does_not_change_the_exit_code() -> None:
    code, _, errors = ended("import os; os.close(1); end.exit_code = 3")
    assert (code, errors) == (3, "aside\n")
