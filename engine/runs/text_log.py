"""Follow a run's text log while it is written, also a last line that still changes, such as a progress bar."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from engine.files.atomic import open_nonblocking
from engine.text.humanize import format_bytes

READ_BYTES = 512 * 1024


class LogTail:
    """A reader of a text file that grows: each `poll` returns the new text, at most its last `READ_BYTES`.

    A file that does not exist yet, or that shrank, is read from its beginning. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def poll(self) -> str:
        """Return the new text, "" without any; raises OSError if the file exists and cannot be read."""
        try:
            with open(self.path, "rb", opener=open_nonblocking) as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._offset:
                    self._offset = 0
                skipped = max(0, size - self._offset - READ_BYTES)
                file.seek(self._offset + skipped)
                data = file.read(READ_BYTES)
        except FileNotFoundError:
            self._offset = 0
            return ""
        self._offset += skipped + len(data)
        if not skipped:
            return self._decoder.decode(data)
        self._decoder.reset()
        begin = data.find(b"\n") + 1  # of the first whole line
        return f"\n… {format_bytes(skipped + begin)} of the log are skipped …\n" + self._decoder.decode(data[begin:])
