"""Where a workspace is at home: one directory on one machine, and none of its copies."""

from __future__ import annotations

import msgspec
import pytest

from engine.store.home import Home, is_home

HOME = Home("a machine", "a host", "/work", "a boot", 7, 1234)


@pytest.mark.parametrize(
    ("what", "changes", "at_home"),
    [
        ("as it was", {}, True),
        ("moved", {"path": "/elsewhere"}, True),
        ("after a boot", {"boot_id": "another"}, True),
        ("after a boot that numbered the devices anew", {"boot_id": "another", "device": 8}, True),
        ("moved, after a boot", {"boot_id": "another", "path": "/elsewhere"}, True),
        ("in another container of one kernel", {"machine": "another", "host": "another"}, True),
        ("copied", {"path": "/elsewhere", "inode": 5678}, False),
        ("copied in its place", {"inode": 5678}, False),
        ("in a snapshot", {"path": "/snapshot/work", "device": 8}, False),
        ("in a snapshot, after a boot", {"boot_id": "another", "path": "/snapshot/work", "device": 8}, False),
        ("on another machine", {"boot_id": "another", "machine": "another"}, False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_home_is_one_directory_on_one_machine(what: str, changes: dict[str, str | int], at_home: bool) -> None:
    assert is_home(HOME, msgspec.structs.replace(HOME, **changes)) is at_home, what
