"""Who is compared. Each is a process of its own that trains the round of the `spec.json` in its run directory.

This engine runs as its users run it. The peers are scripts in this package, which leave `marks.jsonl` (see
`benchmarks.marks`) and `adapter/` in the run directory.
"""

from __future__ import annotations

import json

LORATUI = "loratui"
DEFAULT = ("reference", "grouped", "trl", LORATUI)

TRL_MODULE = "benchmarks.contenders.trl_sft"


def _trl(rows: int, accumulation: int, **settings: object) -> tuple[str, ...]:
    """TRL with rows × accumulation, and otherwise its own defaults with `settings` on top."""
    shape = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulation}
    return TRL_MODULE, json.dumps(shape | settings)


# The module that is run, and what follows the run directory on its command line.
CONTENDERS: dict[str, tuple[str, ...]] = {
    "reference": ("benchmarks.contenders.reference",),
    "grouped": ("benchmarks.contenders.reference", "--group-by-length"),
    "trl": _trl(4, 8, gradient_checkpointing=False, train_sampling_strategy="group_by_length"),
    LORATUI: ("engine.training",),
    # What was tried to find the best configuration of TRL.
    "trl-defaults": _trl(4, 8),
}
