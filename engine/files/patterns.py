"""Names of the files below a directory, and patterns that they match."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path


def walk_names(directory: Path, depth: int | None = None) -> Iterator[str]:
    """Yield the names of what lies in a directory and, as far down as `depth`, below it; directories end with a slash.

    Names that begin with a dot or two underscores are left out, and links to directories are not followed.

    Raises:
        OSError: a directory cannot be listed.
    """
    below = [("", depth)]
    while below:
        prefix, levels = below.pop()
        with os.scandir(directory / prefix) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__")):
                    continue
                is_directory = entry.is_dir(follow_symlinks=False)
                name = f"{prefix}{entry.name}/" if is_directory else prefix + entry.name
                yield name
                if is_directory and levels != 1:
                    below.append((name, None if levels is None else levels - 1))


def matches(name: str, pattern: str) -> bool:
    """Return whether a name with slashes matches a pattern: each part as in `fnmatch`, and `**` any number of parts."""
    return _parts_match(name.split("/"), pattern.split("/"))


def _parts_match(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        rest = patterns[1:]
        while rest[:1] == ["**"]:
            rest = rest[1:]
        return not rest or any(_parts_match(names[start:], rest) for start in range(len(names)))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _parts_match(names[1:], patterns[1:])
