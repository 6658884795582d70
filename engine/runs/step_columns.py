"""Keep a run's steps as columns beside its log, in `steps.bin`, so that a reader need not parse their lines.

The file is a row of blocks. Each stands for consecutive lines of the log that are steps and nothing else, and holds
what `read_steps` makes of them. The log stays the truth: the file may be missing, lag behind, be torn, damaged or of
another log. A block counts only if the log has, in its place, the very bytes that it was made of; the first block of
which that is not true ends the row.
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

from engine.files.atomic import open_nonblocking
from engine.files.paths import FILE_MODE
from engine.runs.curve import ROW_BYTES, Steps, read_steps, unpacked_steps
from engine.runs.events import Step, decode_event

BLOCK_BYTES = 1024 * 1024  # the most of the log that one block stands for
FEWEST_STEPS = 64  # which are worth a block
BEGINNING = b"steps\0\0\1"  # of each block
MARK = int.from_bytes(BEGINNING, "little")  # a machine of the other byte order reads another number
HEADER = struct.Struct("=QQQQ")  # mark, begin and end of the lines in the log, how many steps
CHECKSUM = struct.Struct("=I")  # of header, columns and lines; behind the columns


class Block(Struct, frozen=True):
    """The steps that the log's bytes from `begin` to `end` are; its own end in its file is `place`."""

    begin: int
    end: int
    steps: Steps
    place: int


class BlockWriter:
    """Keeps the blocks of a log that is appended to; a disk that refuses them ends that and nothing else.

    `path` is made once there is a first block, and blocks in it that are not of the log are then cut off.
    """

    def __init__(self, path: Path, log: int) -> None:
        """`log` is the descriptor that the log is written with, and can be read with too."""
        self._path = path
        self._log = log
        self._descriptor: int | None = None
        self._refused = False
        self._lines = bytearray()
        self._end = 0  # of these lines in the log

    def take(self, line: bytes) -> None:
        """Take the line of a step that was appended to the log just now."""
        end = os.lseek(self._log, 0, os.SEEK_CUR)
        if end - len(line) != self._end or len(self._lines) + len(line) > BLOCK_BYTES:
            self.flush()
        self._lines += line
        self._end = end

    def flush(self) -> None:
        """Write a block of what was taken since the last, if it is worth one."""
        lines = bytes(self._lines)
        self._lines.clear()
        if self._refused or lines.count(b"\n") < FEWEST_STEPS or (steps := read_steps(lines)) is None:
            return
        try:
            self._write(_packed(steps, self._end - len(lines), lines))
        except OSError:
            self._refused = True

    def _write(self, block: bytes) -> None:
        """Append a block whole or not at all, or raise OSError."""
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, FILE_MODE)
            if not BEGINNING.startswith(os.pread(self._descriptor, len(BEGINNING), 0)):
                raise OSError(errno.EEXIST, "it is somebody's own", str(self._path))
            kept = max((block.place for block in blocks_in(self._descriptor, self._log)), default=0)
            os.ftruncate(self._descriptor, kept)
        size = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, block) < len(block):
                raise OSError(errno.ENOSPC, "a part of the block is left", str(self._path))
        except OSError:
            os.ftruncate(self._descriptor, size)  # the room is the log's
            raise

    def close(self) -> None:
        """Write what is left, too."""
        self.flush()
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def _packed(steps: Steps, begin: int, lines: bytes) -> bytes:
    block = HEADER.pack(MARK, begin, begin + len(lines), len(steps.curve)) + steps.curve.packed()
    return block + CHECKSUM.pack(zlib.crc32(lines, zlib.crc32(block)))


def read_blocks(path: Path, log: Path, offset: int) -> Iterator[Block]:
    """As `blocks_in`, of files that may be missing, or be something else by now: then there are no more."""
    with (
        suppress(OSError),
        open(path, "rb", opener=_open_no_link) as blocks,
        open(log, "rb", opener=open_nonblocking) as lines,
    ):
        yield from blocks_in(blocks.fileno(), lines.fileno(), offset)


def blocks_in(descriptor: int, log: int, offset: int = 0) -> Iterator[Block]:
    """The blocks of lines from `offset` on in their order, up to the first that is not of the log.

    Raises:
        OSError: one of the open files cannot be read, or not from any place in it.
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
        yield Block(begin, end, unpacked_steps(columns, last), place)


def _open_no_link(path: str, flags: int) -> int:
    return open_nonblocking(path, flags | os.O_NOFOLLOW)
