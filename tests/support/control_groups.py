"""Trees of control groups as the kernel shows them to a process, made up under a directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

GIB = 1024**3
MOUNT_V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_V1 = "35 31 0:32 {top} /sys/fs/cgroup/{name} rw,relatime shared:9 master:1 - cgroup cgroup rw,{name}\n"
UNLIMITED_V1 = 9223372036854771712


def write_tree(root: Path, files: Mapping[str, object]) -> Path:
    """Write `files`, contents by their paths under `root`, which is returned."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(content))
    return root
