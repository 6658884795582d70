"""Scores of an adapter and its base model on another file: `python -P -m engine.training.workers.score`.

The request and the replies are lines of JSON, as in `engine.compare.extra_evaluations`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from engine.compare.extra_evaluations import ScoreRequest
from engine.errors import LoratuiError
from engine.files.paths import RunDir, Workspace
from engine.files.permissions import set_umask
from engine.runs.spec_file import read_spec
from engine.system.allowance import limit_threads
from engine.system.worker_process import Refusal
from engine.text.redact import redact, redact_output
from engine.training.runtime.imports import importing, quieten
from engine.training.workers.replies import Replies


def main() -> None:
    redact_output()
    replies = Replies()
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=ScoreRequest)
    run = RunDir(Path())
    set_umask(Workspace(run.workspace_root))
    try:
        spec = msgspec.structs.replace(read_spec(run), data=request.data)
        with importing(spec.model, spec.data):
            from engine.training.workers.scorer import AdapterScorer
        replies.send(AdapterScorer(run, spec, replies.send).score())
    except LoratuiError as error:
        replies.send(Refusal(redact(error.message)))


if __name__ == "__main__":
    quieten()
    limit_threads()
    main()
