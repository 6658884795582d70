"""Keep a run's steps as columns beside its log, in `steps.bin`, so that a reader need not parse their lines.

The file is a sequence of blocks. Each stands for consecutive lines of the log that are steps, and holds their curve as
`read_steps` reads it. The log stays the truth: the file may be missing, lag behind, be torn or damaged, or belong to
another log. A block is valid only if the log still has, at the same place, the bytes that it was made from; the first
invalid block ends the sequence.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from engine.files.append import open_to_append
from engine.files.atomic import open_nonblocking
from engine.runs.curve import ROW_BYTES, Steps, read_steps, unpack_steps
from engine.runs.events import Step, decode_event

BLOCK_BYTES = 1024 * 1024  # of the log, for one block at most
FEWEST_STEPS = 64  # fewer are not worth a block
BEGINNING = b"steps\0\0\1"  # of each block
MARK = int.from_bytes(BEGINNING, "little")  # a machine of the other byte order reads another number
HEADER = struct.Struct("=QQQQ")  # mark, begin and end of the lines in the log, how many steps
CHECKSUM = struct.Struct("=I")  # of header, columns and lines; follows the columns


class Block(Struct, frozen=True):
    """The steps in the log's bytes from `begin` to `end`; the block itself ends at `place` in its file."""

    begin: int
    end: int
    steps: Steps
    place: int


class BlockWriter:
    """A writer of the blocks of a growing log; if the disk refuses a block it writes no more, and the log goes on.

    `path` is created with the first block, and blocks in it that do not match the log are then cut off.
    """

    def __init__(self, path: Path, log: int) -> None:
        """Take `log`, the descriptor with which the log is written and can be read."""
        self._path = path
        self._log = log
        self._descriptor: int | None = None
        self._refused = False
        self._lines = bytearray()
        self._end = 0  # of these lines in the log

    def take(self, line: bytes) -> None:
        """Take the line of a step that was just appended to the log."""
        end = os.lseek(self._log, 0, os.SEEK_CUR)
        if end - len(line) != self._end or len(self._lines) + len(line) > BLOCK_BYTES:
            self.flush()
        self._lines += line
        self._end = end

    def flush(self) -> None:
        """Write a block of the lines taken since the last one, if there are enough."""
        lines = bytes(self._lines)
        self._lines.clear()
        if self._refused or lines.count(b"\n") < FEWEST_STEPS or (steps := read_steps(lines)) is None:
            return
        try:
            self._write(_pack(steps, self._end - len(lines), lines))
        except OSError:
            self._refused = True

    def _write(self, block: bytes) -> None:
        """Append a block whole or not at all, or raise OSError."""
        if self._descriptor is None:
            self._descriptor = open_to_append(self._path)
            if not BEGINNING.startswith(os.pread(self._descriptor, len(BEGINNING), 0)):
                raise OSError(errno.EEXIST, "it is another program's file", str(self._path))
            end = max((block.place for block in blocks_in(self._descriptor, self._log)), default=0)
            os.ftruncate(self._descriptor, end)
        size = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, block) < len(block):
                raise OSError(errno.ENOSPC, "the block was not written whole", str(self._path))
        except OSError:
            os.ftruncate(self._descriptor, size)  # leave the space to the log
            raise

    def close(self) -> None:
        """Write the last block and close the file."""
        self.flush()
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def _pack(steps: Steps, begin: int, lines: bytes) -> bytes:
    block = HEADER.pack(MARK, begin, begin + len(lines), len(steps.curve)) + steps.curve.packed()
    return block + CHECKSUM.pack(zlib.crc32(lines, zlib.crc32(block)))


def read_blocks(path: Path, log: Path, offset: int) -> Iterator[Block]:
    """Yield the blocks as `blocks_in` does, and none if a file is missing or has become something else."""
    with (
        suppress(OSError),
        open(path, "rb", opener=_open_no_link) as blocks,
        open(log, "rb", opener=open_nonblocking) as lines,
    ):
        yield from blocks_in(blocks.fileno(), lines.fileno(), offset)


def blocks_in(descriptor: int, log: int, offset: int = 0) -> Iterator[Block]:
    """Yield the blocks of lines from `offset` on, up to the first that does not match the log.

    Raises:
        OSError: one of the open files cannot be read, or is not seekable.
    """
    size, place = os.fstat(log).st_size, 0
    while len(header := os.pread(descriptor, HEADER.size, place)) == HEADER.size:
        mark, begin, end, count = HEADER.unpack(header)
        length = count * ROW_BYTES
        if mark != MARK or not 0 < length <= BLOCK_BYTES or not begin < end <= min(size, begin + BLOCK_BYTES):
            return
        start, place = place + HEADER.size, place + HEADER.size + length + CHECKSUM.size
        if begin < offset:
            continue
        content, lines = os.pread(descriptor, place - start, start), os.pread(log, end - begin, begin)
        columns, offset = content[:length], end
        if content[length:] != CHECKSUM.pack(zlib.crc32(lines, zlib.crc32(columns, zlib.crc32(header)))):
            return
        last = decode_event(lines[lines.rfind(b"\n", 0, -1) + 1 :])
        if not isinstance(last, Step):
            return
        yield Block(begin, end, unpack_steps(columns, last), place)


def _open_no_link(path: str, flags: int) -> int:
    return open_nonblocking(path, flags | os.O_NOFOLLOW)
