"""Read the rows of a round, from local files or the hub."""

from __future__ import annotations

from engine.dataset.column_map import read_beside
from engine.dataset.load import check_source, local_data_path, read_rows, rendered_alike
from engine.dataset.rows import Rows
from engine.errors import LoratuiError
from engine.spec.data import DataSpec
from engine.spec.sources import data_to_read
from engine.training.data.hub import load_from_hub


def load_rows(data: DataSpec) -> Rows:
    """Read the rows that `data` names, from a local file or the hub.

    Raises:
        DatasetError, SpecError: they cannot be read, or are not what the spec says.
    """
    check_source(data)
    path = local_data_path(data.path)
    return read_rows(path, data) if path is not None else load_from_hub(data)


def load_sets(data: DataSpec) -> list[Rows]:
    """Read the rows at `data.path`, of each source in `data.mix`, and of a separate held-out set, if any.

    Under `auto`, all sets are written by the chat template if one of them is.

    Raises:
        DatasetError, SpecError: as `load_rows`; what is wrong with the others names their own fields.
    """
    sets: list[Rows] = []
    for part, named in data_to_read(data):
        try:
            sets.append(read_beside(load_rows, part) if sets else load_rows(part))
        except LoratuiError as error:
            raise named(error) from error
    return rendered_alike(sets, data)
