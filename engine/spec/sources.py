"""All data that a round reads: its training rows, the sources of `data.mix`, and a separate held-out set."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.errors import LoratuiError
from engine.spec.data import DataSpec
from engine.spec.held_out import held_out_set, name_held_out_field
from engine.spec.mix import as_data, name_mix, sources_of


class DataToRead(NamedTuple):
    """One of them as data to be read.

    Attributes:
        named: returns an error of reading it with the fields in it that name it.
    """

    data: DataSpec
    named: Callable[[LoratuiError], LoratuiError]


def data_to_read(data: DataSpec) -> list[DataToRead]:
    """Return the rows at `data.path`, each source in `data.mix`, and a separate held-out set, if any, in this order.

    Raises:
        SpecError: a source in `data.mix` cannot be read.
    """
    own_set = held_out_set(data)
    return [
        DataToRead(data, lambda error: error),
        *(DataToRead(as_data(source, data), name_mix) for source in sources_of(data)),
        *([DataToRead(own_set, name_held_out_field)] if own_set is not None else []),
    ]
