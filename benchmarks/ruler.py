"""One ruler for all: `python -m benchmarks.ruler RUN_DIR [ADAPTER ...]` prints what the rows of a round come to.

Every row alone, unpadded, through plain transformers and peft: the tokens there are, the fewest operations that give
the round's gradients, and the eval loss of the base model and of each adapter in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from peft import PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.contenders.task import IGNORED, load_rows, lora_config, read_spec
from benchmarks.flops import counted, counter
from benchmarks.report import Measured
from engine.files.paths import RunDir
from engine.spec.schema import Spec


def load_base(spec: Spec, dtype: torch.dtype, device: torch.device) -> Any:
    """The base model as transformers loads it."""
    base: Any = AutoModelForCausalLM.from_pretrained(spec.model.path, dtype=dtype)
    return base.to(device)


def row_losses(model: Any, rows: Any, device: torch.device) -> Iterator[tuple[torch.Tensor, int]]:
    """(sum of the negative log-likelihood, supervised tokens) of each row."""
    for row in rows:
        tokens = torch.tensor([row["input_ids"]], device=device)
        targets = torch.tensor(row["labels"][1:], device=device)
        supervised = targets != IGNORED
        predicts = functional.pad(supervised, (0, 1))[None]
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=predicts).logits
        logits = logits.view(-1, logits.shape[-1]).float()
        yield functional.cross_entropy(logits, targets[supervised], reduction="sum"), int(supervised.sum())


def eval_loss(model: Any, rows: Any, device: torch.device) -> float:
    """Nats per supervised token of all rows together."""
    model.eval()
    with torch.inference_mode():
        losses = [(loss.item(), count) for loss, count in row_losses(model, rows, device)]
    return sum(loss for loss, _ in losses) / sum(count for _, count in losses)


def fewest_flops(spec: Spec, rows: Any) -> int:
    """Operations of one epoch, row by row.

    Every product is of as many operations as a row has tokens, supervised tokens, or pairs of tokens, so three rows
    made up tell what all would.
    """
    sizes = [(8, 4), (8, 7), (16, 4)]  # tokens, and how many of them are supervised
    model = get_peft_model(load_base(spec, torch.float32, torch.device("cpu")), lora_config(spec)).train()
    counts = [_flops_of_row(model, tokens, supervised) for tokens, supervised in sizes]
    solved = np.linalg.solve([[n, m, n * n] for n, m in sizes], counts)
    a_token, a_supervised, a_pair = map(float, solved)
    return round(
        sum(
            a_token * len(row["input_ids"]) + a_supervised * _supervised(row) + a_pair * len(row["input_ids"]) ** 2
            for row in rows
        )
    )


def _flops_of_row(model: Any, tokens: int, supervised: int) -> int:
    row = {"input_ids": [1] * tokens, "labels": [IGNORED] * (tokens - supervised) + [1] * supervised}
    with counter:  # which begins at nothing each time
        for loss, _ in row_losses(model, [row], torch.device("cpu")):
            loss.backward()
    return counted()


def _supervised(row: dict[str, list[int]]) -> int:
    return sum(label != IGNORED for label in row["labels"][1:])


def main() -> None:
    run, adapters = RunDir(Path(sys.argv[1])), sys.argv[2:]
    spec = read_spec(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, held_out = load_rows(spec, AutoTokenizer.from_pretrained(spec.model.path))
    base = load_base(spec, torch.float32, device)
    base_loss = eval_loss(base, held_out, device)
    losses = {}
    for adapter in adapters:
        adapted = PeftModel.from_pretrained(base, adapter)
        losses[adapter] = eval_loss(adapted, held_out, device)
        base = adapted.unload()
    measured = Measured(
        train_samples=len(train),
        eval_samples=len(held_out),
        tokens=sum(map(len, train["input_ids"])),
        fewest_flops=fewest_flops(spec, train),
        eval_tokens=sum(map(_supervised, held_out)),
        base_loss=base_loss,
        losses=losses,
    )
    sys.stdout.buffer.write(msgspec.json.encode(measured))


if __name__ == "__main__":
    main()
