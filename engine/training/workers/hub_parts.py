"""Configurations and splits of a dataset on the hub: `python -P -m engine.training.workers.hub_parts`.

It reads one line of JSON and replies with one, as in `engine.dataset.hub_parts`.
"""

from __future__ import annotations

import os
import sys

import msgspec

from engine.dataset.hub_parts import HubParts, PartsRequest
from engine.errors import LoratuiError
from engine.files.permissions import PRIVATE_UMASK
from engine.spec.presets import EMBEDDED
from engine.spec.schema import ModelSpec
from engine.system.allowance import limit_threads
from engine.system.worker_process import Refusal
from engine.text.redact import redact, redact_output
from engine.training.runtime.imports import importing, quieten
from engine.training.workers.replies import Replies


def main() -> None:
    os.umask(PRIVATE_UMASK)
    redact_output()
    replies = Replies()
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=PartsRequest)
    try:
        with importing(ModelSpec(EMBEDDED), request.data, weights=False):
            from engine.training.data.hub import hub_parts
        replies.send(HubParts(tuple(hub_parts(request.part, request.data))))
    except LoratuiError as error:
        replies.send(Refusal(redact(error.message)))


if __name__ == "__main__":
    quieten()
    limit_threads()
    main()
