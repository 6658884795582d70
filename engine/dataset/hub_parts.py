"""Ask a process that has the `datasets` library which configurations or splits a dataset has on the hub.

The process is `engine.training.workers.hub_parts`: it reads one `PartsRequest` and replies with `HubParts`.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from engine.spec.data import DataSpec
from engine.system.worker_process import Refusal, WorkerProcess


class PartsRequest(Struct, frozen=True):
    """The configurations (`name`) of the dataset that `data` names, or the splits of its configuration."""

    part: Literal["name", "split"]
    data: DataSpec


class HubParts(Struct, frozen=True, tag="parts"):
    """Names of configurations or splits, in the order of the dataset."""

    names: tuple[str, ...]


_answers: msgspec.json.Decoder[HubParts | Refusal] = msgspec.json.Decoder(HubParts | Refusal)


def list_hub_parts(request: PartsRequest) -> tuple[str, ...]:
    """Return the names of the configurations or splits; raises LoratuiError if they cannot be listed."""
    with WorkerProcess("engine.training.workers.hub_parts", "the list of the hub") as process:
        process.send(request)
        answer = process.receive(_answers)
    assert isinstance(answer, HubParts)
    return answer.names
