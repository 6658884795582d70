from __future__ import annotations

import subprocess
import sys

import psutil

from engine.system.process import identify
from engine.system.process_memory import TREE_SECONDS, ProcessTree
from tests.support.processes import is_running
from tests.support.waiting import await_true

PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE); "
    "print(child.pid, flush=True); input()"
)


def test_memory_of_a_process_and_its_children_is_added_up() -> None:
    now = 0.0
    tree = ProcessTree(lambda: now)
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        root = identify(parent.pid)
        sample = tree.sample(root)
        assert sample is not None and sample.pids == {parent.pid, child}
        assert sample.resident_bytes > psutil.Process(child).memory_info().rss // 2
        killed = psutil.Process(child)
        killed.kill()
        await_true(lambda: not is_running(killed), "the end of the child")  # which its parent does not reap
        now = TREE_SECONDS
        assert (later := tree.sample(root)) is not None and parent.pid in later.pids
        parent.kill()
    assert tree.sample(root) is None and tree.sample(None) is None
