"""Follow a run's text log, as it is written: also a last line that goes on, as progress bars do."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from engine.files.atomic import open_nonblocking
from engine.text.humanize import format_bytes

READ_BYTES = 512 * 1024


class LogTail:
    """Each `poll` gives the text since the last, of what there is the last `READ_BYTES` at most.

    A file that does not exist yet, or that shrank, is read anew once it is there. Bytes that are no UTF-8 become
    U+FFFD.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def poll(self) -> str:
        """New text, "" if there is none; raises OSError if the file is there and cannot be read."""
        try:
            with open(self.path, "rb", opener=open_nonblocking) as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._offset:
                    self._offset = 0
                passed = max(0, size - self._offset - READ_BYTES)
                file.seek(self._offset + passed)
                data = file.read(READ_BYTES)
        except FileNotFoundError:
            self._offset = 0
            return ""
        self._offset += passed + len(data)
        if not passed:
            return self._decoder.decode(data)
        self._decoder.reset()
        begun = data.find(b"\n") + 1  # of the line at which it is taken up, what is left means nothing
        return f"\n… {format_bytes(passed + begun)} of the log are passed over …\n" + self._decoder.decode(data[begun:])
