"""Disks that fill up and refuse, and system calls that are counted and made to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def strace_works() -> bool:
    """Whether there is a strace that may trace here."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


needs_strace = pytest.mark.skipif(not strace_works(), reason="needs strace, and the right to trace")


def in_small_disk(directory: Path, kilobytes: int, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with a file system of so many KiB at `directory`, which goes when the script ends."""
    mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs {directory} && exec sh -c '{script}' sh \"$@\""
    flags = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
    command = ["unshare", *flags, "--mount", "sh", "-c", mount, "sh", *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


def can_mount(directory: Path) -> bool:
    """Whether a small disk can be made at `directory`."""
    return shutil.which("unshare") is not None and in_small_disk(directory, 64, "true").returncode == 0
