"""Ask a process that has the `datasets` library what a dataset has on the hub.

The process is `engine.training.workers.hub_parts`: it reads one `PartsRequest` and replies with `HubParts`, or one
`CheckRequest` and replies with `HubWarnings`.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from engine.dataset.readers import local_data_path
from engine.errors import ProcessEnded
from engine.spec.data import DataSpec
from engine.spec.sources import data_to_read
from engine.system.worker_process import Refusal, WorkerProcess, closed_after

MODULE = "engine.training.workers.hub_parts"
CHECK_SECONDS = 6.0  # to be waited for before a round is queued


class PartsRequest(Struct, frozen=True, tag="list"):
    """The configurations (`name`) of the dataset that `data` names, or the splits of its configuration."""

    part: Literal["name", "split"]
    data: DataSpec


class CheckRequest(Struct, frozen=True, tag="check"):
    """Ask whether the hub has all datasets that `data` names, with their configurations, splits and revisions."""

    data: DataSpec


class HubParts(Struct, frozen=True, tag="parts"):
    """Names of configurations or splits, in the order of the dataset."""

    names: tuple[str, ...]


class HubWarnings(Struct, frozen=True, tag="warnings"):
    """A sentence on each dataset of which the hub does not say whether it has it."""

    sentences: tuple[str, ...]


_answers: msgspec.json.Decoder[HubParts | Refusal] = msgspec.json.Decoder(HubParts | Refusal)


def list_hub_parts(request: PartsRequest) -> tuple[str, ...]:
    """Return the names of the configurations or splits; raises LoratuiError if they cannot be listed."""
    with WorkerProcess(MODULE, "the list of the hub") as process:
        process.send(request)
        answer = process.receive(_answers)
    assert isinstance(answer, HubParts)
    return answer.names


_warnings: msgspec.json.Decoder[HubWarnings | Refusal] = msgspec.json.Decoder(HubWarnings | Refusal)


def check_hub_data(data: DataSpec) -> tuple[str, ...]:
    """Return a warning for each dataset of which the hub does not say, within `CHECK_SECONDS`, whether it has it.

    Raises:
        LoratuiError: the hub does not have a dataset that `data` names, or not so; the message says what it has.
    """
    paths = [part.data.path for part in data_to_read(data) if local_data_path(part.data.path) is None]
    with WorkerProcess(MODULE, "the question to the hub") as process, closed_after(CHECK_SECONDS, process):
        process.send(CheckRequest(data))
        try:
            answer = process.receive(_warnings)
        except ProcessEnded:
            return (f"the hub has not said whether it has {' and '.join(paths)}: that is known when the round runs",)
    assert isinstance(answer, HubWarnings)
    return answer.sentences
