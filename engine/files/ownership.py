"""Owners of files: a replaced file stays its owner's, and what root makes in a user's directory becomes theirs."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o640  # of new files in a workspace; the umask decides whether the group may read them
KEPT_ATTRIBUTES = ("system.posix_acl_access", "security.selinux", "user.")  # of xattr(7)


def take_over(descriptor: int, replaced: Path) -> None:
    """Give a new file the owner, group, mode and access control list of the one that it will replace.

    A new file where there is none yet gets the owner of its directory, if root makes it.

    Raises:
        PermissionError: only root could give it that owner or group.
    """
    try:
        old = os.stat(replaced)
    except FileNotFoundError:
        _give_to_owner_of(replaced.parent, descriptor)
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError as error:
            owner = f"user {_user_name(old.st_uid)}" if old.st_uid != new.st_uid else f"group {old.st_gid}"
            raise PermissionError(
                errno.EPERM, f"it belongs to {owner}, and replacing it would make it yours: ask them to change it"
            ) from error
    os.fchmod(descriptor, old.st_mode & 0o777)
    if not hasattr(os, "listxattr"):  # macOS keeps its lists elsewhere
        return
    with suppress(OSError):  # a file system without them
        for name in os.listxattr(replaced):
            if name.startswith(KEPT_ATTRIBUTES):
                os.setxattr(descriptor, name, os.getxattr(replaced, name))


def make_directory(path: Path, mode: int = 0o777, *, parents: bool = False) -> None:
    """Make a directory that may exist, with `parents` also those above it; what root makes becomes the owner's.

    Raises:
        OSError: it cannot be made, or something else is in its place, such as a link to a disk that is not mounted.
    """
    if parents and not path.parent.is_dir():
        make_directory(path.parent, parents=True)
    try:
        path.mkdir(mode)
    except FileExistsError as error:
        if path.is_symlink() and not path.exists():
            reason = f"{path.name} is a link to something that does not exist now, such as a disk that is not mounted"
            raise FileNotFoundError(errno.ENOENT, reason, str(path)) from error
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{path.name} is not a directory", str(path)) from error
    else:
        hand_over(path)


def open_writable(path: Path, flags: int, mode: int = FILE_MODE) -> int:
    """Open a file to write to, as `os.open` does, and create it if it is missing.

    It is never opened through a link, and a pipe in its place is not waited for.

    A file of root's that has one name becomes that of the owner of its directory.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    status = os.fstat(descriptor)
    if status.st_uid == 0 and status.st_nlink == 1 and stat.S_ISREG(status.st_mode):
        _give_to_owner_of(path.parent, descriptor)
    return descriptor


def hand_over(path: Path) -> None:
    """Give what root has made at `path`, and in it, to the owner of the directory that it is in; for others, nothing.

    Links are not followed, and a file with a second name is left alone, as it may be another user's.
    """
    if os.geteuid() != 0:
        return
    owner = _owner_of(path.parent)
    if owner is None or owner[0] == 0:
        return
    _give(str(path), owner, None)
    if path.is_dir() and not path.is_symlink():
        for _, folders, names, directory in os.fwalk(path, follow_symlinks=False):
            for name in (*folders, *names):
                _give(name, owner, directory)


def _give(name: str, owner: tuple[int, int], directory: int | None) -> None:
    """Give one file or directory of root's; `directory` is a descriptor of where it is."""
    with suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            if status.st_uid == 0 and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
                os.fchown(descriptor, *owner)
        finally:
            os.close(descriptor)


def _give_to_owner_of(directory: Path, descriptor: int) -> None:
    owner = _owner_of(directory) if os.geteuid() == 0 else None
    if owner is not None:
        with suppress(OSError):  # a file system without owners
            os.fchown(descriptor, *owner)


def _owner_of(directory: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_uid, status.st_gid


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
