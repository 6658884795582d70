"""A round's adapter and its base model on the rows of another file: `python -P -m engine.training.scoring`.

Lines of JSON in and out, as `engine.evaluations` says.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from engine.dialogue import Refusal
from engine.errors import LoratuiError
from engine.evaluations import Advance, ExtraEvaluation, Order
from engine.redaction import redact, redact_output
from engine.sharing import set_umask
from engine.training.__main__ import read_spec
from engine.training.libraries import importing, quieten
from engine.workspace import RunDir, Workspace


def main() -> None:
    redact_output()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no reply

    def tell(reply: Advance | Refusal | ExtraEvaluation) -> None:
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()

    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    run = RunDir(Path(order.run_dir))
    set_umask(Workspace(run.path.parent.parent))
    try:
        spec = msgspec.structs.replace(read_spec(run), data=order.data)
        with importing(spec.model, spec.data):
            from engine.training.rescoring import Scoring
        tell(Scoring(run, spec, tell).score())
    except LoratuiError as error:
        tell(Refusal(redact(error.message)))


if __name__ == "__main__":
    quieten()
    main()
