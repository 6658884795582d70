"""Find the files of local data: one file, those that match a pattern, or those of a directory.

A directory is divided into configurations and splits as the `datasets` library does it, by the names of its files or by
its README.md (https://huggingface.co/docs/hub/datasets-file-names-and-splits), or it is what `save_to_disk` wrote.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

import msgspec

from engine.errors import DatasetError, SpecError, reason_of
from engine.files.atomic import NoPlainFile, read_plain
from engine.files.patterns import matches, walk_names
from engine.spec.data import DataSpec
from engine.spec.held_out import SPLIT
from engine.spec.local_paths import COMPRESSED, ROW_SUFFIXES, TEXT_SUFFIXES

# Configurations, and in each of them splits, with their files in order.
Layout: TypeAlias = dict[str, dict[str, tuple[Path, ...]]]

DEFAULT = "default"
MOST_ENTRIES = 20_000
LONGEST_README = 1024 * 1024  # bytes
PATTERN = re.compile(r"[*?[]")
# From here on as in `datasets.data_files`.
NOT_DATA = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "dummy_data.zip")
SHARD = re.compile(r"data/([^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*")
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}


class _FileName(msgspec.Struct):
    filename: str


class _SavedState(msgspec.Struct):
    """A dataset as `save_to_disk` describes it in state.json."""

    data_files: list[_FileName] = msgspec.field(name="_data_files")
    indices: list[_FileName] | None = msgspec.field(name="_indices_data_files", default=None)


class _SavedSplits(msgspec.Struct):
    """Splits as `save_to_disk` lists them in dataset_dict.json."""

    splits: list[str]


def is_pattern(path: Path) -> bool:
    """Return whether a path names files by a pattern with `*`, `?` or `[…]`."""
    return PATTERN.search(str(path)) is not None and not os.path.lexists(path)


def has_parts(path: Path) -> bool:
    """Return whether local data may have configurations and splits, which only a directory has."""
    return os.path.isdir(path)


def files_of(path: Path, data: DataSpec) -> tuple[Path, ...]:
    """Return the files at a local path, in the order in which they are read; in a directory, those that `data` names.

    Raises:
        DatasetError: there are none, or they cannot be listed.
        SpecError: the directory has no such configuration or split; the message lists those that it has.
    """
    if is_pattern(path):
        return _matching(path)
    if not has_parts(path):
        return (path,)
    layout = _layout_of(path)
    splits = layout[_choose("data.name", data.name, DEFAULT, layout, path)]
    return splits[_choose("data.split", data.split, SPLIT, splits, path)]


def _choose(key: str, value: str | None, default: str, parts: Iterable[str], path: Path) -> str:
    names = list(parts)
    chosen = value or (names[0] if len(names) == 1 else default)
    if chosen in names:
        return chosen
    words = value or ("empty, which means train" if default == SPLIT else "empty")
    raise SpecError(f"{key} is {words}, but {path} has {', '.join(names)}: set it to one of these", key)


def parts_of(path: Path, part: Literal["name", "split"], data: DataSpec) -> tuple[str, ...]:
    """Return the configurations of the directory at `path`, or for the part `split` those of its configuration.

    Raises:
        DatasetError, SpecError: as `files_of`.
    """
    layout = _layout_of(path)
    if part == "name":
        return tuple(layout)
    return tuple(layout[_choose("data.name", data.name, DEFAULT, layout, path)])


def _layout_of(directory: Path) -> Layout:
    if (directory / "dataset_dict.json").is_file():
        names = _read_saved(directory / "dataset_dict.json", _SavedSplits).splits
        return {DEFAULT: {name: _saved_files(_inside(directory, name)) for name in names}}
    if (directory / "state.json").is_file():
        return {DEFAULT: {SPLIT: _saved_files(directory)}}
    names = [name for name in _names_below(directory) if PurePosixPath(name).name not in NOT_DATA]
    layout = _configurations(directory, names) or {DEFAULT: _splits_by_name(names)}
    files = {
        configuration: {split: _in(directory, chosen) for split, chosen in splits.items() if chosen}
        for configuration, splits in layout.items()
    }
    if not any(files.values()):
        raise DatasetError(
            f"data.path is {str(directory)!r}: the directory holds no data: it must hold files such as "
            f"{', '.join((*ROW_SUFFIXES, *TEXT_SUFFIXES))}"
        )
    return {configuration: splits for configuration, splits in files.items() if splits}


def _in(directory: Path, names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(directory / name for name in names)


def _matching(pattern: Path) -> tuple[Path, ...]:
    parts = pattern.parts
    first = next(number for number, part in enumerate(parts) if PATTERN.search(part))
    root, rest = Path(*parts[:first]), parts[first:]
    names = _names_below(root, None if "**" in rest else len(rest))
    files = _in(root, (name for name in names if matches(name, "/".join(rest))))
    if not files:
        raise DatasetError(f"data.path is {str(pattern)!r}: no file matches it")
    return files


def _names_below(directory: Path, depth: int | None = None) -> list[str]:
    """Return the sorted names of the files in a directory and, as far down as `depth`, those below it.

    Raises:
        DatasetError: it cannot be read, or holds too many.
    """
    try:
        names = list(islice(walk_names(directory, depth), MOST_ENTRIES + 1))
    except OSError as error:
        raise DatasetError(f"data.path is {str(directory)!r}: {reason_of(error)}") from error
    if len(names) > MOST_ENTRIES:
        raise DatasetError(
            f"data.path is {str(directory)!r}: it holds more than {MOST_ENTRIES:,} files: name a directory that holds "
            f"the data alone"
        )
    return sorted(name for name in names if not name.endswith("/"))


def _kind(name: str) -> str | None:
    """Return whether a file holds `rows` or `text` by its suffix, that of what is packed in it; None for others."""
    path = PurePosixPath(name.lower())
    suffix = PurePosixPath(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    if suffix in ROW_SUFFIXES or (path.suffix == ".zip" and suffix not in TEXT_SUFFIXES):
        return "rows"
    return "text" if suffix in TEXT_SUFFIXES else None


def _data_among(names: Iterable[str]) -> list[str]:
    """Return the names of the files with rows; where there are none, those of text, but for README.md."""
    kinds: dict[str | None, list[str]] = {}
    for name in names:
        kinds.setdefault(_kind(name), []).append(name)
    text = [name for name in kinds.get("text", []) if PurePosixPath(name).name != "README.md"]
    return kinds.get("rows") or text


def _splits_by_name(names: list[str]) -> dict[str, list[str]]:
    """Divide the data among `names` by what `datasets` tries in turn: shards, directories, names, all as one."""
    names = _data_among(names)
    shards: dict[str, list[str]] = {}
    for name in names:
        if match := SHARD.fullmatch(name):
            shards.setdefault(match[1], []).append(name)
    if shards:
        return shards
    for parts_to_look_at in (slice(None, -1), slice(-1, None)):
        splits = {
            split: [name for name in names if any(_says(part, words) for part in name.split("/")[parts_to_look_at])]
            for split, words in SPLIT_WORDS.items()
        }
        if any(splits.values()):
            return splits
    return {SPLIT: names}


def _says(part: str, words: tuple[str, ...]) -> bool:
    """Return whether a part of a path has one of the words in it, between its ends, dots, hyphens, spaces or digits."""
    return re.search(rf"(?:^|[-._ 0-9])(?:{'|'.join(words)})(?:[-._ 0-9]|$)", part) is not None


def _configurations(directory: Path, names: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return what the README.md of a directory says of configurations, empty if it says nothing."""
    import yaml

    try:
        text = read_plain(directory / "README.md", max_bytes=LONGEST_README, follow_link=True).decode(errors="replace")
        match = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
        head = yaml.safe_load(match[1]) if match else None
    except (OSError, NoPlainFile, RecursionError, ValueError, yaml.YAMLError):
        return {}
    entries = head.get("configs") if isinstance(head, dict) else None
    layout: dict[str, dict[str, list[str]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get("config_name", DEFAULT) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        if "data_files" in entry:
            layout[name] = _splits_in(entry["data_files"], names)
        elif isinstance(entry.get("data_dir"), str):
            below = entry["data_dir"].strip("/") + "/"
            splits = _splits_by_name([file.removeprefix(below) for file in names if file.startswith(below)])
            layout[name] = {split: [below + file for file in chosen] for split, chosen in splits.items()}
    return layout


def _splits_in(data_files: Any, names: list[str]) -> dict[str, list[str]]:
    """Return the files of each split by `data_files`: patterns, or for each split its patterns."""
    if isinstance(data_files, dict):
        pairs = list(data_files.items())
    elif isinstance(data_files, list) and all(isinstance(item, dict) for item in data_files):
        pairs = [(item.get("split", SPLIT), item.get("path", [])) for item in data_files]
    else:
        pairs = [(SPLIT, data_files)]
    splits: dict[str, list[str]] = {}
    for split, patterns in pairs:
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            if isinstance(pattern, str) and isinstance(split, str):
                expanded = [name for name in names if matches(name, pattern.removeprefix("./"))]
                splits.setdefault(split, []).extend(expanded)
    return splits


def _saved_files(directory: Path) -> tuple[Path, ...]:
    state = _read_saved(directory / "state.json", _SavedState)
    if state.indices:
        raise DatasetError(
            f"data.path is {str(directory)!r}: it was saved as a selection of its rows: save it again after "
            f"flatten_indices()"
        )
    return tuple(_inside(directory, file.filename) for file in state.data_files)


def _read_saved(file: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(read_plain(file, follow_link=True), type=kind)
    except (OSError, NoPlainFile) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise DatasetError(f"data.path is {str(file.parent)!r}: its {file.name} cannot be read: {reason}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file} is not what save_to_disk writes: {error}: save the dataset again") from error


def _inside(directory: Path, name: str) -> Path:
    """Return the path of a name in a directory; raises DatasetError if it means something elsewhere."""
    if "/" in name or name in ("", ".", ".."):
        raise DatasetError(f"data.path is {str(directory)!r}: it names {name!r}, which is not a file in it")
    return directory / name
