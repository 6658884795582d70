"""Unpack compressed data files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

from engine.errors import DatasetError

# Errors of damaged files that are no OSErrors.
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
OPEN: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def open_unpacked(file: Path, opened: ExitStack) -> tuple[IO[bytes], str]:
    """Open a file to read its unpacked bytes; `opened` will close it.

    Returns:
        The stream, and the name of the unpacked file, whose suffix says what it holds.
    """
    suffix = file.suffix.lower()
    if suffix == ".zip":
        return _open_zip(file, opened)
    if suffix == ".zst":
        return _unpack_zst(file), file.stem
    if suffix in OPEN:
        return cast(IO[bytes], opened.enter_context(OPEN[suffix](file, "rb"))), file.stem
    return opened.enter_context(file.open("rb")), file.name


def _open_zip(file: Path, opened: ExitStack) -> tuple[IO[bytes], str]:
    archive = opened.enter_context(zipfile.ZipFile(file))
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        raise DatasetError(f"data.path is {str(file)!r}: it holds {len(names)} files; unpack it and name one of them")
    try:
        return opened.enter_context(archive.open(names[0])), names[0]
    except (RuntimeError, NotImplementedError) as error:  # a password, or a compression that Python does not have
        raise DatasetError(f"data.path is {str(file)!r}: {error}: unpack it and name the file in it") from error


def _unpack_zst(file: Path) -> IO[bytes]:
    import pyarrow

    try:
        with pyarrow.input_stream(str(file), compression="zstd") as stream:
            return io.BytesIO(stream.read())
    except OSError as error:
        if error.errno:
            raise
        raise EOFError(str(error)) from error  # pyarrow raises OSErrors without errno for damage
