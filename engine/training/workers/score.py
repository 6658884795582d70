"""Scores of an adapter and its base model on another file: `python -P -m engine.training.workers.score`.

The request and the replies are lines of JSON, as in `engine.compare.extra_evaluations`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from engine.compare.extra_evaluations import ScoreRequest
from engine.files.paths import RunDir, Workspace
from engine.files.permissions import set_umask
from engine.runs.spec_file import read_spec
from engine.training.runtime.imports import importing
from engine.training.workers.start import start_worker


def main() -> None:
    replies = start_worker()
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=ScoreRequest)
    run = RunDir(Path())
    set_umask(Workspace(run.workspace_root))
    with replies.errors_as_refusals():
        spec = msgspec.structs.replace(read_spec(run), data=request.data)
        with importing(spec.model, spec.data):
            from engine.training.workers.scorer import AdapterScorer
        replies.send(AdapterScorer(run, spec, replies.send).score())


if __name__ == "__main__":
    main()
