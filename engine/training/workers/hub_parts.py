"""Answers about datasets on the hub: `python -P -m engine.training.workers.hub_parts`.

It reads one line of JSON and replies with one, as in `engine.dataset.hub_parts`.
"""

from __future__ import annotations

import sys

import msgspec

from engine.dataset.hub_parts import CheckRequest, HubParts, HubWarnings, PartsRequest
from engine.dataset.readers import local_data_path
from engine.errors import DatasetError, LoratuiError
from engine.spec.data import DataSpec
from engine.spec.presets import EMBEDDED
from engine.spec.schema import ModelSpec
from engine.spec.sources import data_to_read
from engine.training.runtime.imports import importing
from engine.training.workers.start import start_worker


def main() -> None:
    replies = start_worker()
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=PartsRequest | CheckRequest)
    with replies.errors_as_refusals():
        with importing(ModelSpec(EMBEDDED), request.data, weights=False):
            from engine.training.data.hub import hub_parts
        if isinstance(request, CheckRequest):
            replies.send(HubWarnings(check_all(request.data)))
        else:
            replies.send(HubParts(tuple(hub_parts(request.part, request.data))))


def check_all(data: DataSpec) -> tuple[str, ...]:
    """Return a warning for each dataset of which the hub does not say whether it has it.

    Raises:
        DatasetError, SpecError: it does not have one, or not so.
    """
    from engine.training.data.hub import check_on_hub

    warnings = []
    for part, named in data_to_read(data):
        if local_data_path(part.path) is not None:
            continue
        try:
            warning = check_on_hub(part)
        except LoratuiError as error:
            raise named(error) from error
        if warning is not None:
            warnings.append(named(DatasetError(warning)).message)
    return tuple(dict.fromkeys(warnings))


if __name__ == "__main__":
    main()
