"""The rules whose remarks a person does not want to read again, for all workspaces."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_state_path

from engine.errors import FileError, reason_of
from engine.files.atomic import NoPlainFile, read_plain, write_atomically

MAX_BYTES = 10_000


def _path() -> Path:
    return user_state_path("loratui") / "silenced-remarks"


def silenced_rules() -> frozenset[str]:
    """Return their names; none if there is no such file.

    Raises:
        FileError: it cannot be read.
    """
    path = _path()
    try:
        return frozenset(read_plain(path, max_bytes=MAX_BYTES).decode().split())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {reason_of(error)}") from error
    except (NoPlainFile, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def silence(rule: str, silenced: bool = True) -> None:
    """Silence a rule for good, or let it be heard again; raises FileError if that cannot be written down."""
    path = _path()
    rules = silenced_rules() - {rule} | ({rule} if silenced else set())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, "".join(f"{each}\n" for each in sorted(rules)).encode())
    except OSError as error:
        raise FileError(f"{path} cannot be written: {reason_of(error)}") from error
