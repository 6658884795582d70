"""What control groups allow, read from made-up trees of both versions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from engine.system.allowance import THREAD_VARIABLES, ProcessorLoad, limit_threads, memory, processors
from tests.support.control_groups import GIB, MOUNT_V1, MOUNT_V2, UNLIMITED_V1, write_tree

Tree = Callable[[Mapping[str, object]], Path]
HOST = 24 * GIB
FREE = 20 * GIB


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 24 GiB, 20 of them free, with 8 processors."""
    host = psutil.virtual_memory()._replace(total=HOST, available=FREE)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: host)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files of the given contents under a root directory, and return the root."""
    return lambda files: write_tree(tmp_path, files)


def v2(group: str = "/", **files: object) -> dict[str, object]:
    """A tree of version 2; in the names of files, __ stands for a dot, and ___ for a slash."""
    named = {f"sys/fs/cgroup/{name.replace('___', '/').replace('__', '.')}": text for name, text in files.items()}
    return {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": MOUNT_V2, **named}


LIMITED: dict[str, dict[str, object]] = {
    "own group at the mount": v2(
        memory__max=4 * GIB, memory__current=3 * GIB, memory__stat=f"anon 1\ninactive_file {GIB}\n"
    ),
    "high below max": v2(memory__max=8 * GIB, memory__high=4 * GIB, memory__current=2 * GIB),
    "nested, the limit above": v2(
        "/a/b", a___memory__max=4 * GIB, a___memory__current=2 * GIB,
        a___b___memory__max="max", a___b___memory__current=1,
    ),
    "nested, the smaller limit below": v2(
        "/a/b", a___memory__max=9 * GIB, a___memory__current=3 * GIB,
        a___b___memory__max=4 * GIB, a___b___memory__current=2 * GIB,
    ),
    "path that leads out of the namespace": v2("/../../other", memory__max=4 * GIB, memory__current=2 * GIB),
    "version 1 in a container": {
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
        "proc/self/mountinfo": MOUNT_V1.format(top="/docker/abc", name="memory"),
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 4 * GIB,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 3 * GIB,
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}\n",
    },
    "version 1, nested": {
        "proc/self/cgroup": "4:memory:/jobs/7\n",
        "proc/self/mountinfo": MOUNT_V1.format(top="/", name="memory"),
        "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 9 * GIB,
        "sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": 4 * GIB,
        "sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": 2 * GIB,
        "sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes": UNLIMITED_V1,
        "sys/fs/cgroup/memory/jobs/7/memory.usage_in_bytes": GIB,
    },
    "hybrid: memory in version 1, an empty version 2": {
        "proc/self/cgroup": "4:memory:/x\n0::/\n",
        "proc/self/mountinfo": MOUNT_V1.format(top="/", name="memory")
        + MOUNT_V2.replace("cgroup ", "cgroup/unified ", 1),
        "sys/fs/cgroup/memory/x/memory.limit_in_bytes": 4 * GIB,
        "sys/fs/cgroup/memory/x/memory.usage_in_bytes": 2 * GIB,
        "sys/fs/cgroup/unified/cgroup.procs": "1",
    },
    "mount with a space": {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": MOUNT_V2.replace("/sys/fs/cgroup", r"/my\040groups"),
        "my groups/memory.max": 4 * GIB,
        "my groups/memory.current": 2 * GIB,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITED)
def test_memory_is_the_smallest_limit_and_what_is_left_of_it(tree: Tree, name: str) -> None:
    room = memory(tree(LIMITED[name]))
    assert (room.total, room.used, room.available) == (4 * GIB, 2 * GIB, 2 * GIB)


UNLIMITED: dict[str, dict[str, object]] = {
    "no control groups": {},
    "max": v2(memory__max="max", memory__high="max", memory__current=GIB),
    "more than there is": v2(memory__max=HOST * 2, memory__current=GIB),
    "a number beyond 64 bits": v2(memory__max="9" * 30, memory__current=GIB),
    "nothing": v2(memory__max=0, memory__current=GIB),
    "less than nothing": v2(memory__max=-5, memory__current=GIB),
    "no number": v2(memory__max="4 GiB\x00", memory__current=GIB),
    "no use": v2(memory__max=4 * GIB, memory__current="?"),
    "a mount that is not there": {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": MOUNT_V2},
    "no lines of the kernel": {
        "proc/self/cgroup": "0:\n::\nx\n",
        "proc/self/mountinfo": " - \n1 2 - cgroup2\n",
    },
    "a group that has no mount": {"proc/self/cgroup": "4:memory:/x\n", "proc/self/mountinfo": MOUNT_V2},
    "a directory in the place of a file": v2(memory__max___x=1, memory__current=GIB),
}


@pytest.mark.parametrize("name", UNLIMITED)
def test_memory_without_a_limit_is_that_of_the_machine(tree: Tree, name: str) -> None:
    room = memory(tree(UNLIMITED[name]))
    assert (room.total, room.used, room.available) == (HOST, HOST - FREE, FREE)


def test_machine_may_have_less_than_a_group_allows(tree: Tree) -> None:
    room = memory(tree(v2(memory__max=22 * GIB, memory__current=GIB)))
    assert (room.total, room.used, room.available) == (22 * GIB, GIB, FREE)


def test_group_above_may_leave_less_than_the_smaller_limit(tree: Tree) -> None:
    files = v2("/a", memory__max=8 * GIB, memory__current=7 * GIB, a___memory__max=4 * GIB, a___memory__current=GIB)
    room = memory(tree(files))
    assert (room.total, room.used, room.available) == (4 * GIB, GIB, GIB)


def test_use_beyond_the_limit_leaves_nothing(tree: Tree) -> None:
    room = memory(tree(v2(memory__high=4 * GIB, memory__max="max", memory__current=5 * GIB)))
    assert (room.total, room.used, room.available) == (4 * GIB, 4 * GIB, 0)


def v1_quota(quota: object, period: object = 100_000) -> dict[str, object]:
    return {
        "proc/self/cgroup": "3:cpu,cpuacct:/docker/abc\n",
        "proc/self/mountinfo": MOUNT_V1.format(top="/docker/abc", name="cpu,cpuacct"),
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": period,
    }


@pytest.mark.parametrize(
    ("files", "allowed", "threads"),
    [
        (v2(cpu__max="150000 100000"), 1.5, "2"),
        (v2(cpu__max="20000 100000"), 0.2, "1"),
        (v2("/a/b", a___cpu__max="300000 100000", a___b___cpu__max="max 100000"), 3.0, "3"),
        (v2("/a/b", a___cpu__max="200000 100000", a___b___cpu__max="300000 100000"), 2.0, "2"),
        (v1_quota(250_000), 2.5, "3"),
        (v2(cpu__max="max 100000"), 8.0, None),
        (v2(cpu__max="900000 100000"), 8.0, None),
        (v2(cpu__max="0 100000"), 8.0, None),
        (v2(cpu__max="100000 0"), 8.0, None),
        (v2(cpu__max="many"), 8.0, None),
        (v2(cpu__max=""), 8.0, None),
        (v1_quota(-1), 8.0, None),
        (v1_quota(250_000, 0), 8.0, None),
        ({}, 8.0, None),
    ],
)  # fmt: skip
def test_processors_are_the_affinity_or_the_smallest_quota(
    tree: Tree, files: dict[str, object], allowed: float, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(files)
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert processors(root) == allowed
    limit_threads(root)
    assert [os.environ.get(name) for name in THREAD_VARIABLES] == [threads, threads]


def test_number_of_threads_that_a_person_set_stays(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    limit_threads(tree(v2(cpu__max="200000 100000")))
    assert (os.environ["OMP_NUM_THREADS"], os.environ["RAYON_NUM_THREADS"]) == ("7", "2")


def test_load_under_a_quota_is_the_groups_own(tree: Tree) -> None:
    times = iter([10.0, 12.0, 12.0])
    root = tree(v2(cpu__max="200000 100000", cpu__stat="usage_usec 5000000\nuser_usec 1\n"))
    load = ProcessorLoad(root, lambda: next(times))
    tree(v2(cpu__max="200000 100000", cpu__stat="usage_usec 6000000\n"))
    assert load.percent() == 25.0  # one second of processor time of the four that two processors have in two seconds
    assert 0.0 <= load.percent() <= 100.0  # no time has passed


def test_load_without_a_quota_is_that_of_the_processors_in_the_affinity(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3})
    monkeypatch.setattr(psutil, "cpu_percent", lambda percpu: [0.0, 50.0, 0.0, 100.0])
    assert ProcessorLoad(tree({})).percent() == 75.0
