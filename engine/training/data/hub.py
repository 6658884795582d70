"""Rows of a dataset on the hub, read by the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from engine.dataset.load import usable_rows
from engine.dataset.rows import Rows
from engine.errors import DatasetError, LoratuiError, SpecError
from engine.spec.held_out import SPLIT
from engine.spec.schema import DataSpec
from engine.training.runtime.hub_errors import explain_hub_error, first_line


def load_from_hub(data: DataSpec) -> Rows:
    """Read the rows of the configuration and split that `data` names.

    Raises:
        DatasetError: they cannot be read, or are not what the spec says.
        SpecError: the dataset has no such configuration or split; the message lists those that it has.
    """
    import datasets

    datasets.disable_progress_bars()
    split = data.split or SPLIT
    try:
        # A slice past the last row gives all rows, and `usable_rows` says how many there are.
        sliced = split if data.samples is None else f"{split}[:{data.samples}]"
        dataset = datasets.load_dataset(data.path, data.name, split=sliced)
    except Exception as error:  # the library raises whatever its readers and the network raise
        raise _explained(error, data) from error
    return usable_rows(_records_of(dataset, data.path), data, data.path)


def hub_parts(part: Literal["name", "split"], path: str, name: str | None) -> list[str]:
    """Return the configurations of a dataset, or the splits of its configuration `name`.

    Raises:
        DatasetError, SpecError: they cannot be listed, or there is no such configuration.
    """
    import datasets

    try:
        if part == "name":
            return list(datasets.get_dataset_config_names(path))
        return list(datasets.get_dataset_split_names(path, name))
    except Exception as error:  # as in `load_from_hub`
        raise _explained(error, DataSpec(path, name)) from error


def _records_of(dataset: Iterable[Any], name: str) -> Iterator[Any]:
    try:
        yield from dataset
    except Exception as error:  # a value that Python does not have, such as a date in the year 10000
        raise DatasetError(f"data.path is {name!r}: a row cannot be read: {first_line(error)}") from error


def _explained(error: Exception, data: DataSpec) -> LoratuiError:
    if isinstance(error, ValueError) and (wrong := _wrong_part(data)) is not None:
        return wrong
    reason = explain_hub_error(error, f"datasets/{data.path}", "a local file")
    return DatasetError(f"data.path is {data.path!r}: {reason}")


def _wrong_part(data: DataSpec) -> SpecError | None:
    """Return the error of a configuration or split that the dataset does not have, None if it has both."""
    import datasets

    try:
        names = datasets.get_dataset_config_names(data.path)
        if data.name not in (None, *names) or (data.name is None and len(names) > 1 and "default" not in names):
            return _choice("data.name", data.name, data.path, names)
        splits = datasets.get_dataset_split_names(data.path, data.name)
    except Exception:  # what it has cannot be listed: the first error says why
        return None
    return None if (data.split or SPLIT) in splits else _choice("data.split", data.split, data.path, splits)


def _choice(key: str, value: str | None, path: str, names: list[str]) -> SpecError:
    value_words = "empty" if value is None else value
    return SpecError(f"{key} is {value_words}, but {path} has {', '.join(names)}: set it to one of these", key)
