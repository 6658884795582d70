"""Freed memory is reused by the next allocation."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

# The library returns the top of the heap, so nothing may lie above the freed memory: a process without torch.
FAULTS = """
import ctypes, resource, sys
from engine.training.runtime.malloc import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(5):
    before = faults()
    places = [library.malloc(40 * 2**20) for _ in range(2)]
    for place in places:
        ctypes.memset(place, 1, 40 * 2**20)
    for place in places:
        library.free(place)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_pages_are_faulted_in_once() -> None:
    def faults(way: str) -> int:
        ran = subprocess.run([sys.executable, "-c", FAULTS, way], cwd=ROOT, capture_output=True, text=True, check=True)
        return int(ran.stdout)

    assert faults("kept") < 10
    assert faults("returned") > 1000
