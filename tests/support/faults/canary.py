"""Things that would run code if they were loaded carelessly; each makes a directory that must not appear."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path


class _Fires:
    """Unpickled, it makes a directory."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._canary),)


def pickled(canary: Path) -> bytes:
    """A plain pickle, which `.npy` files and tokenizers of old are."""
    return pickle.dumps(_Fires(canary), protocol=2)


def write_torch_pickle(file: Path, canary: Path) -> None:
    """As `torch.save` lays it out."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(canary))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def write_npy(file: Path, canary: Path) -> None:
    """An array of objects, which numpy unpickles if it is told to."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickled(canary))


def python(canary: Path) -> str:
    """A module that fires when it is imported."""
    return f"import os; os.makedirs({str(canary)!r}, exist_ok=True)\n"
