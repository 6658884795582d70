"""Rows of a dataset on the hub, read by the `datasets` library."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from engine.dataset.load import usable_rows
from engine.dataset.rows import Rows
from engine.errors import DatasetError, LoratuiError, SpecError
from engine.spec.data import DataSpec
from engine.spec.held_out import SPLIT
from engine.training.runtime.hub_errors import explain_hub_error, first_line, is_refused

if TYPE_CHECKING:
    from datasets import DatasetBuilder

STREAMED_FROM = 1024**3  # bytes
ASKED_AGAIN = "it is asked again when the round runs"
SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # as in `datasets.naming`


def load_from_hub(data: DataSpec) -> Rows:
    """Read the rows of the configuration and split that `data` names, with the commit of the dataset.

    With `data.samples`, a large dataset that is not in the cache is streamed: no more of it is fetched than those rows
    need.

    Raises:
        DatasetError: they cannot be read, or are not what the spec says.
        SpecError: the dataset has no such configuration or split; the message lists those that it has.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        builder = datasets.load_dataset_builder(data.path, data.name, revision=data.revision)
        records = _read_records(builder, data)
    except Exception as error:  # the library raises whatever its readers and the network raise
        raise _explained(error, data) from error
    rows = usable_rows(_checked(records, data.path), data, data.path)
    return msgspec.structs.replace(rows, revision=builder.hash)


def _read_records(builder: DatasetBuilder, data: DataSpec) -> Iterable[Any]:
    split = data.split or SPLIT
    records: Iterable[Any]
    if data.samples is not None and not os.path.isdir(builder.cache_dir) and _size(builder) > _largest_download():
        records = builder.as_streaming_dataset(split=split).take(data.samples)
    else:
        builder.download_and_prepare()
        # A slice past the last row gives all rows, and `usable_rows` says how many there are.
        records = builder.as_dataset(split=split if data.samples is None else f"{split}[:{data.samples}]")
    return records


def _size(builder: DatasetBuilder) -> int:
    """Return the bytes of the files of all splits, which the library would download, from its listing of them."""
    import datasets
    from huggingface_hub import HfFileSystem

    hub = HfFileSystem(endpoint=datasets.config.HF_ENDPOINT)  # the instance whose listing the library has filled
    files = [file for files in (builder.config.data_files or {}).values() for file in files]
    return sum(hub.info(file)["size"] for file in files if file.startswith("hf://"))


def _largest_download() -> int:
    """Return the bytes up to which a dataset is downloaded whole: as rows it takes several times its size."""
    import datasets

    directory = Path(datasets.config.HF_DATASETS_CACHE)
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return min(STREAMED_FROM, shutil.disk_usage(existing).free // 4)


def hub_parts(part: Literal["name", "split"], data: DataSpec) -> list[str]:
    """Return the configurations of the dataset that `data` names, or the splits of its configuration.

    Raises:
        DatasetError, SpecError: they cannot be listed, or there is no such configuration.
    """
    import datasets

    if part == "name" and _is_offline():  # the library would say "default", whatever there is
        raise DatasetError(f"the configurations of {data.path} cannot be listed: the hub cannot be reached")
    try:
        if part == "name":
            return list(datasets.get_dataset_config_names(data.path, revision=data.revision))
        return list(datasets.get_dataset_split_names(data.path, data.name, revision=data.revision))
    except Exception as error:  # as in `load_from_hub`
        raise _explained(error, data) from error


def _checked(records: Iterable[Any], name: str) -> Iterator[Any]:
    try:
        yield from records
    except Exception as error:  # a value that Python does not have, such as a date in the year 10000
        raise DatasetError(f"data.path is {name!r}: a row cannot be read: {first_line(error)}") from error


def _explained(error: Exception, data: DataSpec) -> LoratuiError:
    if isinstance(error, ValueError) and (wrong := _wrong_part(data)) is not None:
        return wrong
    return _unavailable(error, data)


def _unavailable(error: Exception, data: DataSpec) -> DatasetError:
    reason = explain_hub_error(error, f"datasets/{data.path}", "a local file")
    return DatasetError(f"data.path is {data.path!r}: {reason}")


def check_on_hub(data: DataSpec) -> str | None:
    """Ask the hub for what `data` names; return a warning if it does not say, None if it has it.

    Raises:
        SpecError: the dataset has no such configuration or split; the message lists those that it has.
        DatasetError: there is no such dataset or revision, or access to it must be granted.
    """
    try:
        wrong = _wrong_in_cache(data) if _is_offline() else _find_wrong_part(data)
    except Exception as error:  # as in `load_from_hub`
        explained = _unavailable(error, data)
        if is_refused(error) and not _is_offline():
            raise explained from error
        return f"{explained} ({ASKED_AGAIN})"
    if wrong is not None and _is_offline():  # the cache need not have all of it
        return f"{wrong} (as far as the cache says, since the hub cannot be reached; {ASKED_AGAIN})"
    if wrong is not None:
        raise wrong
    return None


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _wrong_part(data: DataSpec) -> SpecError | None:
    """Return the error of a configuration or split that the dataset does not have; None also if that is unknown."""
    try:
        return None if _is_offline() else _find_wrong_part(data)
    except Exception:  # what it has cannot be listed: the first error says why
        return None


def _find_wrong_part(data: DataSpec) -> SpecError | None:
    """Return the error of a configuration or split that the dataset does not have, None if it has both."""
    import datasets

    names = datasets.get_dataset_config_names(data.path, revision=data.revision)
    if data.name not in (None, *names) or (data.name is None and len(names) > 1 and "default" not in names):
        return _choice("data.name", data.name, data.path, names)
    return _wrong_split(data, datasets.get_dataset_split_names(data.path, data.name, revision=data.revision))


def _wrong_in_cache(data: DataSpec) -> SpecError | None:
    """Return the error of a split that the cached dataset does not have; raises what the library does without any."""
    import datasets

    builder = datasets.load_dataset_builder(data.path, data.name, revision=data.revision)
    return _wrong_split(data, list(builder.info.splits or ()))


def _wrong_split(data: DataSpec, splits: list[str]) -> SpecError | None:
    split = data.split or SPLIT
    if not splits or split in splits or not SPLIT_NAME.fullmatch(split):  # the library reads a slice: train[:100]
        return None
    return _choice("data.split", data.split, data.path, splits)


def _choice(key: str, value: str | None, path: str, names: list[str]) -> SpecError:
    value_words = value or ("empty, which means train" if key == "data.split" else "empty")
    return SpecError(f"{key} is {value_words}, but {path} has {', '.join(names)}: set it to one of these", key)
