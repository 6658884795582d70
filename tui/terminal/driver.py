"""Textual's driver for Linux and macOS, for terminals that may close and processes that may get a signal."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import IO, Any

from textual.drivers import linux_driver
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size

from tui.terminal.console import CELL_BY_CELL
from tui.terminal.paste_parser import PasteParser

ENDING_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
HUNG_UP = 128 + signal.SIGHUP
LEAVE_SECONDS = 5.0
LAST_WORDS_SECONDS = 1.0
RESTORE = (
    "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[?1004l"  # no reports of the mouse and the focus
    "\x1b[?2004l\x1b[?2048l\x1b[<u\x1b[?7h\x1b[?1049l\x1b[?25h"  # nor of pastes and sizes; keys, wrap, screen, cursor
)


def _lenient_decoder(_: str) -> Callable[[], codecs.IncrementalDecoder]:
    """Return what decodes keys: in the terminal's encoding, and without an error for bytes that are none of its."""
    encoding = getattr(sys.__stdin__, "encoding", None) or "utf-8"
    return partial(codecs.getincrementaldecoder(encoding), errors="replace")


# Textual takes keys for UTF-8, and ends with a traceback at the first byte that is not.
linux_driver.getincrementaldecoder = _lenient_decoder  # type: ignore[attr-defined, assignment]
linux_driver.XTermParser = PasteParser  # type: ignore[attr-defined]


class TerminalFile:
    """A terminal to write to. When it has closed, `on_close` is called once, and later writes are dropped."""

    def __init__(self, file: IO[str], on_close: Callable[[], None]) -> None:
        self._file: IO[str] | None = file
        self._on_close = on_close

    def write(self, text: str) -> None:
        self._do(lambda file: file.write(text))

    def flush(self) -> None:
        self._do(lambda file: file.flush())

    def _do(self, what: Callable[[IO[str]], object]) -> None:
        if self._file is None:
            return
        try:
            what(self._file)
        except OSError:
            self._file = None
            self._on_close()


class TerminalDriver(LinuxDriver):
    """Ends the app when the terminal has closed or a signal asks for it, within `LEAVE_SECONDS` in any case.

    Textual's own driver waits forever to write to a closed terminal, or reads from it without end. The exit code is 128
    + the signal's number, SIGHUP's for a closed terminal.
    """

    @property
    def terminal_size(self) -> Size:
        """The size of the terminal now; the app may not know it yet."""
        return Size(*self._get_terminal_size())

    def __init__(
        self, app: Any, *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._leaving = threading.Lock()
        self._has_screen = False
        if isinstance(sys.__stderr__, io.TextIOWrapper):
            sys.__stderr__.reconfigure(errors=CELL_BY_CELL)
        self._file: Any = TerminalFile(sys.__stderr__, lambda: self.leave(HUNG_UP)) if sys.__stderr__ else None
        for signum in ENDING_SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup ignores SIGHUP on purpose
                signal.signal(signum, self._on_signal)
        # A handler of the loop wakes the loop. Python's own handler may wait until the loop has something else to do,
        # since the system may give the signal to another thread; until then the screen would stay as the shell left it.
        # It also comes in the middle of whatever is done, where that of SIGTSTP would wait for ever to write if the
        # signal came while something was written.
        self._loop.add_signal_handler(signal.SIGCONT, self._sigcont_application)
        self._loop.add_signal_handler(signal.SIGTSTP, self._sigtstp_application)
        threading.Thread(target=self._watch, name="terminal-watch", daemon=True).start()

    def start_application_mode(self) -> None:
        """Start as `LinuxDriver` does; if already started (SIGCONT without a SIGTSTP before), repaint only."""
        if self._has_screen:
            self.send_message(self.SignalResume())
            return
        self._has_screen = True
        super().start_application_mode()  # type: ignore[no-untyped-call]  # Textual leaves out its `-> None`

    def stop_application_mode(self) -> None:
        super().stop_application_mode()
        self._has_screen = False

    def run_input_thread(self) -> None:
        """Read input as `LinuxDriver` does; a terminal that cannot be read counts as closed."""
        try:
            super().run_input_thread()
        except OSError:
            self.leave(HUNG_UP)
        except Exception as error:
            self._loop.call_soon_threadsafe(self._app._handle_exception, error)

    def leave(self, code: int) -> None:
        """End the app with exit code `code`; may be called from any thread, and more than once."""
        if not self._leaving.acquire(blocking=False):
            return
        threading.Thread(target=self._insist, args=(code,), name="terminal-leave", daemon=True).start()
        with contextlib.suppress(RuntimeError):  # the loop may have ended by itself
            self._loop.call_soon_threadsafe(self._app.exit, None, code)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.leave(128 + signum)

    def _watch(self) -> None:
        """Wait until the terminal hangs up, which may cause neither a signal nor a failed write."""
        poll = select.poll()
        poll.register(self.fileno, 0)  # POLLHUP, POLLERR and POLLNVAL are always reported
        poll.poll()
        self.leave(HUNG_UP)

    def _insist(self, code: int) -> None:
        """End the process if it still runs; training runs in another."""
        time.sleep(LEAVE_SECONDS)
        last_words = threading.Thread(target=self._restore, daemon=True)
        last_words.start()
        last_words.join(LAST_WORDS_SECONDS)  # writing to a stopped terminal blocks
        os._exit(code)

    def _restore(self) -> None:
        if not self._has_screen or sys.__stderr__ is None:
            return
        with contextlib.suppress(OSError, termios.error):
            os.write(sys.__stderr__.fileno(), RESTORE.encode())
            if self.attrs_before is not None:
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
