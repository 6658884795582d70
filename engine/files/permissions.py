"""Let only the owner read a workspace, or also the members of the directory's group if the owner shares it.

A file of the owner's marks a shared workspace. Permissions alone do not: TensorBoard, for one, makes directories called
`runs` that everybody may read. Each process that writes in a workspace takes its umask from here.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.errors import FileError, reason_of
from engine.files.ownership import make_directory, open_writable
from engine.files.paths import Workspace

PRIVATE_UMASK, SHARED_UMASK = 0o077, 0o027
READ, ENTER = stat.S_IRGRP, stat.S_IXGRP


def is_shared(workspace: Workspace) -> bool:
    """Return True if the owner shares the workspace; a mark made by another user, or a link, does not count."""
    try:
        status = os.lstat(workspace.shared_sign)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def set_umask(workspace: Workspace) -> None:
    """Set the umask so that only those who may read the workspace can read the new files of this process."""
    os.umask(SHARED_UMASK if is_shared(workspace) else PRIVATE_UMASK)


def share(workspace: Workspace) -> str:
    """Let the group read the present and future files of the workspace; returns the name of the group.

    A process that runs already keeps its umask: its new files are the owner's alone until it ends.

    Raises:
        LoratuiError: a permission cannot be changed.
    """
    try:
        make_directory(workspace.runs_dir, 0o700)
        os.close(open_writable(workspace.shared_sign, os.O_WRONLY, 0o600))
        for path in _ours(workspace):
            mode = path.stat().st_mode
            path.chmod(stat.S_IMODE(mode) | READ | (ENTER if stat.S_ISDIR(mode) else 0))
        group = workspace.root.stat().st_gid
    except OSError as error:
        raise FileError(f"{workspace.root} could not be shared: {reason_of(error)}") from error
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def unshare(workspace: Workspace) -> None:
    """Let nobody but the owner read the workspace, whoever could before.

    Raises:
        LoratuiError: a permission cannot be changed.
    """
    try:
        workspace.shared_sign.unlink(missing_ok=True)
        for path in _ours(workspace):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    except OSError as error:
        raise FileError(f"{workspace.root} is still shared: {reason_of(error)}") from error


def _ours(workspace: Workspace) -> Iterator[Path]:
    """Yield the directory, the store with backups, judgements, runs, conversations and sweeps; no locks or links."""
    yield workspace.root
    store = workspace.store_path
    files = [*store.parent.glob(f"{store.name}*"), *workspace.root.glob(workspace.judgements.name)]
    yield from (path for path in files if _is_shareable(path))
    others = (workspace.conversations_dir, workspace.sweeps_dir)
    for top in (workspace.runs_dir, *(each for each in others if not each.is_symlink())):
        for directory, _, names in os.walk(top):
            yield Path(directory)
            yield from (path for name in names if _is_shareable(path := Path(directory, name)))


def _is_shareable(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode) and path.suffix != ".lock"
