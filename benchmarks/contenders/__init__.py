"""Who is compared. Each is a process of its own that trains the round of the `spec.json` in its run directory.

This engine runs as its users run it. The peers are scripts in this package, which leave `marks.jsonl` (see
`benchmarks.marks`) and `adapter/` in the run directory.
"""

from __future__ import annotations

import json

LORATUI = "loratui"
DEFAULT = ("reference", "grouped", "trl", LORATUI)

TRL_MODULE = "benchmarks.contenders.trl_sft"


_DEFAULTS: dict[str, object] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}
# Rows of like length, nothing computed twice, and logits of supervised tokens only and bfloat16, TRL's defaults, if the
# device multiplies it natively.
_BEST: dict[str, object] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "gradient_checkpointing": False,
    "train_sampling_strategy": "group_by_length",
}


def _trl(settings: dict[str, object], **others: object) -> tuple[str, ...]:
    return TRL_MODULE, json.dumps(settings | others)


# The module that is run, and what follows the run directory on its command line.
CONTENDERS: dict[str, tuple[str, ...]] = {
    "reference": ("benchmarks.contenders.reference",),
    "grouped": ("benchmarks.contenders.reference", "--group-by-length"),
    "trl": _trl(_BEST),
    LORATUI: ("engine.training",),
    # Other configurations of TRL, to find which is the best on a machine.
    "trl-defaults": _trl(_DEFAULTS),
    "trl-4x8": _trl(_BEST | _DEFAULTS),
    "trl-16x2": _trl(_BEST, per_device_train_batch_size=16, gradient_accumulation_steps=2),
    "trl-32x1": _trl(_BEST, per_device_train_batch_size=32, gradient_accumulation_steps=1),
    # For a GPU, with the package liger-kernel, which needs Triton.
    "trl-liger": _trl(_BEST, per_device_train_batch_size=32, gradient_accumulation_steps=1, use_liger_kernel=True),
    "trl-float32": _trl(_BEST, bf16=False),
    "trl-logits": _trl(_BEST, loss_type="nll"),
    # Cut already; with a `max_length` TRL warns that it cuts nothing here.
    "trl-padding-free": _trl(_BEST, train_sampling_strategy="random", padding_free=True, max_length=None),
}
