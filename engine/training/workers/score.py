"""A round's adapter and its base model on the rows of another file: `python -P -m engine.training.workers.score`.

Lines of JSON in and out, as `engine.compare.extra_evaluations` says.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from engine.compare.extra_evaluations import ExtraEvaluation, ScoreProgress, ScoreRequest
from engine.errors import LoratuiError
from engine.files.paths import RunDir, Workspace
from engine.files.permissions import set_umask
from engine.runs.spec_file import read_spec
from engine.system.worker_process import Refusal
from engine.text.redact import redact, redact_output
from engine.training.runtime.imports import importing, quieten


def main() -> None:
    redact_output()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no reply

    def tell(reply: ScoreProgress | Refusal | ExtraEvaluation) -> None:
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()

    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=ScoreRequest)
    run = RunDir(Path(order.run_dir))
    set_umask(Workspace(run.path.parent.parent))
    try:
        spec = msgspec.structs.replace(read_spec(run), data=order.data)
        with importing(spec.model, spec.data):
            from engine.training.workers.scorer import Scoring
        tell(Scoring(run, spec, tell).score())
    except LoratuiError as error:
        tell(Refusal(redact(error.message)))


if __name__ == "__main__":
    quieten()
    main()
