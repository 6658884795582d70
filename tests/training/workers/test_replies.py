"""Worker processes whose front end is gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOADING = """
import time
from engine.training.workers.replies import Replies
replies = Replies()
print("loading", file=__import__("sys").stderr, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("dies", [True, False])
def test_worker_that_loads_ends_with_its_front_end(dies: bool) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-P", "-c", LOADING], stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE
    ) as worker:
        os.close(writer)
        assert worker.stderr is not None and worker.stdin is not None
        assert worker.stderr.readline() == b"loading\n"
        worker.stdin.close()  # a request from a pipe may end before the answer
        if not dies:
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(0.2)
        os.close(reader)
        assert worker.wait(60) == 1


def test_worker_whose_replies_go_to_a_file_is_not_ended(tmp_path: os.PathLike[str]) -> None:
    code = LOADING.replace("time.sleep(1000)", "time.sleep(0.2)")
    with open(os.path.join(tmp_path, "replies"), "wb") as file:
        done = subprocess.run([sys.executable, "-P", "-c", code], stdin=subprocess.DEVNULL, stdout=file, timeout=60)
    assert done.returncode == 0
