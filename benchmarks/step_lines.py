"""The steps of `benchmarks.live_run` as JSON, a line each, for whoever logs them for a peer."""

from __future__ import annotations

import argparse
import sys

import msgspec

from benchmarks.live_run import add_arguments, steps_at_pace


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    options = parser.parse_args()
    for step in steps_at_pace(options.pace, options.history, options.steps):
        figures = {
            "step": step.step,
            "loss": step.loss,
            "learning_rate": step.learning_rate,
            "grad_norm": step.grad_norm,
            "tokens_per_second": step.tokens / step.seconds,
            "memory_bytes": step.memory_bytes,
        }
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
        if step.step >= options.history:
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
