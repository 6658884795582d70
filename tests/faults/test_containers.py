"""A container's limits, made by real control groups where this machine allows it, and by a made-up tree elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.system.allowance import memory, processors
from tests.support.control_groups import GIB, MOUNT_V2, write_tree
from tests.support.faults.tried import Tried
from tests.support.processes import ROOT

VERSION_1, VERSION_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
NAME = "loratui-test"


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of its own with a limit of 2 GiB."""
    first = VERSION_1.is_dir()
    directory = (VERSION_1 if first else VERSION_2) / NAME
    try:
        directory.mkdir(exist_ok=True)
        (directory / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(2 * GIB))
    except OSError as error:
        with suppress(OSError):
            directory.rmdir()
        pytest.skip(f"needs the right to make a control group: {error}")
    yield directory
    directory.rmdir()


def test_process_sees_the_limit_of_its_group(group: Path, tried: Tried) -> None:
    program = (
        "import json; from engine.system.allowance import memory\n"
        "before = memory(); block = b'x' * 2**28; after = memory()\n"
        "rest = after.total - after.used - after.available\n"
        "print(json.dumps([before.total, before.available - after.available, rest]))"
    )
    join = f'echo $$ > {group / "cgroup.procs"} && exec {sys.executable} -P -c "$0"'
    done = subprocess.run(["/bin/sh", "-c", join, program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    total, less, rest = json.loads(done.stdout)
    tried("F31", "a limit of memory, in a real control group", 1, total != 2 * GIB)
    assert total == 2 * GIB
    assert 2**28 * 0.9 < less < 2**28 * 1.2
    assert rest == 0


def test_groups_that_say_anything_never_end_a_sample(tmp_path: Path, tried: Tried) -> None:
    hostile = ("", "max", "-1", "0", "9" * 5000, "\x00", "٣", "1e9", "nan", "12 34", "x" * 10_000)
    for number, text in enumerate(hostile):
        files = {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": MOUNT_V2}
        names = ("memory.max", "memory.high", "memory.current", "memory.stat", "cpu.max", "cpu.stat")
        root = write_tree(tmp_path / str(number), files | {f"sys/fs/cgroup/{name}": text for name in names})
        room = memory(root)
        assert 0 <= room.available <= room.total
        assert processors(root) > 0
    tried("F31", "control groups that say anything", len(hostile))
