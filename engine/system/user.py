"""Name the user of this process, also where the system has no name for the user id, as in many containers."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def user_name() -> str:
    """Return the name of the user, or the number of one without a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def name_user() -> None:
    """Give a user without a name one in the environment, and a home, for the libraries here and in child processes.

    They ask for both when they choose the directory of a cache. Without an answer torch ends, and others write to a
    directory called `~` where they happen to run.
    """
    if user_name() != str(os.getuid()):
        return
    os.environ.setdefault("LOGNAME", user_name())
    if not os.environ.get("HOME"):
        with suppress(OSError):  # nothing can be written anywhere
            os.environ["HOME"] = str(_temporary_home())


def _temporary_home() -> Path:
    """Return a directory for this user alone: the same in every process, unless somebody else made something there."""
    home = Path(tempfile.gettempdir()) / f"loratui-{os.getuid()}"
    with suppress(OSError):
        home.mkdir(mode=0o700, exist_ok=True)
        status = home.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return home
    return Path(tempfile.mkdtemp(prefix="loratui-"))
