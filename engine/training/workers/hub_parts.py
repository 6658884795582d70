"""Configurations and splits of a dataset on the hub: `python -P -m engine.training.workers.hub_parts`.

It reads one line of JSON and replies with one, as in `engine.dataset.hub_parts`.
"""

from __future__ import annotations

import sys

import msgspec

from engine.dataset.hub_parts import HubParts, PartsRequest
from engine.spec.presets import EMBEDDED
from engine.spec.schema import ModelSpec
from engine.training.runtime.imports import importing
from engine.training.workers.start import start_worker


def main() -> None:
    replies = start_worker()
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=PartsRequest)
    with replies.errors_as_refusals():
        with importing(ModelSpec(EMBEDDED), request.data, weights=False):
            from engine.training.data.hub import hub_parts
        replies.send(HubParts(tuple(hub_parts(request.part, request.data))))


if __name__ == "__main__":
    main()
