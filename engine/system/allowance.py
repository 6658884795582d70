"""Measure the memory and the processors that this process may use: in a container, less than the machine has.

The limits are those of its control groups and all groups above them, of version 1 and 2 of control groups
(https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html). psutil
and torch see the whole machine.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import psutil
from msgspec import Struct

ROOT = Path("/")
ESCAPED = re.compile(r"\\([0-7]{3})")  # a space and the like in a path of mountinfo
THREAD_VARIABLES = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")  # of torch, and of tokenizers


class Memory(Struct, frozen=True):
    """Memory in bytes: `total` that this process may use with its group, of it `used`, and `available` now."""

    total: int
    used: int
    available: int


def memory(root: Path = ROOT) -> Memory:
    """Return the memory of the narrowest group that this process is in, or of the machine.

    What the group has read from files and can drop again counts as available.
    """
    host = psutil.virtual_memory()
    total, used, available = host.total, host.total - host.available, host.available
    for directory in _groups("memory", root):
        limits = [_number(directory / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
        limit = min((each for each in limits if each), default=host.total)
        use = _use(directory)
        if limit >= host.total or use is None:
            continue
        available = min(available, max(0, limit - use))
        if limit < total:
            total, used = limit, min(use, limit)
    return Memory(total, used, available)


def processors(root: Path = ROOT) -> float:
    """Return how many processors this process may keep busy: by its affinity, and by the quotas of its groups."""
    quotas = [quota for directory in _groups("cpu", root) if (quota := _quota(directory)) is not None]
    return min([float(_affinity()), *quotas])


def limit_threads(root: Path = ROOT) -> None:
    """Let the libraries start no more threads than a quota allows; call before they are imported.

    Threads beyond it would be stopped in the middle of a step while the others wait. An affinity they see themselves.
    """
    allowed = processors(root)
    if allowed < _affinity():
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(max(1, math.ceil(allowed))))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the directories of this process's group and those above it, of both versions of control groups."""
    try:
        own = (root / "proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:  # no Linux
        return
    paths = {name: path for _, names, path in (line.split(":", 2) for line in own if line.count(":") >= 2)
             for name in names.split(",")}  # fmt: skip
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        name = "" if kind[0] == "cgroup2" else controller
        if kind[0] not in ("cgroup", "cgroup2") or name not in paths or (name and name not in kind[2].split(",")):
            continue
        top, point = (PurePosixPath(_unescaped(field)) for field in fields[3:5])
        mounted = root / point.relative_to("/")
        path = PurePosixPath(paths[name])
        # A container may see its own group at the mount, under another path than the machine calls it.
        inside = path.relative_to(top) if path.is_relative_to(top) and ".." not in path.parts else PurePosixPath()
        yield from (mounted / part for part in (inside, *inside.parents))


def _unescaped(field: str) -> str:
    return ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    """Return the whole number in a file; None if it is missing, says "max", or is none that can limit anything."""
    text = _text(file).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _use(directory: Path) -> int | None:
    """Return the bytes that a group uses, less what it can drop at once; None if they are not known."""
    use = _number(directory / "memory.current")
    key = "inactive_file"
    if use is None:
        use, key = _number(directory / "memory.usage_in_bytes"), "total_inactive_file"
    if use is None:
        return None
    match = re.search(rf"^{key} (\d{{1,19}})$", _text(directory / "memory.stat"), re.MULTILINE)
    return max(0, use - (int(match[1]) if match else 0))


def _quota(directory: Path) -> float | None:
    """Return the processors of a group's quota; None without one."""
    words = _text(directory / "cpu.max").split() or [
        _text(directory / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    ]
    if len(words) != 2 or not all(word.isascii() and word.isdecimal() and 0 < int(word) < 10**18 for word in words):
        return None
    return int(words[0]) / int(words[1])


class ProcessorLoad:
    """Measure how busy the processors are that this process may use, from one call to the next."""

    def __init__(self, root: Path = ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._seen = self._clock(), self._seconds()
        psutil.cpu_percent(percpu=True)  # the first call has nothing to compare with and returns 0

    def percent(self) -> float:
        """Return the load since the last call, in percent: of the group under a quota, elsewhere of all processes."""
        (then, before), now, seconds = self._seen, self._clock(), self._seconds()
        self._seen = now, seconds
        each = psutil.cpu_percent(percpu=True)
        allowed = processors(self._root)
        if allowed < _affinity() and seconds is not None and before is not None and now > then:
            return min(100.0, max(0.0, 100 * (seconds - before) / (now - then) / allowed))
        mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        chosen = [each[index] for index in mine] if mine and mine[-1] < len(each) else each
        return sum(chosen) / max(1, len(chosen))

    def _seconds(self) -> float | None:
        """Return the processor time of the group; None if it is not known."""
        for directory in _groups("cpuacct", self._root):
            if match := re.search(r"^usage_usec (\d{1,19})$", _text(directory / "cpu.stat"), re.MULTILINE):
                return int(match[1]) / 1e6
            if (nanoseconds := _number(directory / "cpuacct.usage")) is not None:
                return nanoseconds / 1e9
        return None
