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
import torch
from peft import PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.contenders.task import IGNORED, load_rows, lora_config, read_spec
from benchmarks.flops import counted, counter
from benchmarks.report import Measured
from engine.spec import Spec
from engine.workspace import RunDir


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


def fewest_flops(spec: Spec, rows: Any, device: torch.device) -> int:
    """Operations of one epoch, row by row."""
    half = device.type == "cuda"  # attention's fast kernels there refuse float32
    dtype = torch.bfloat16 if half else torch.float32
    model = get_peft_model(load_base(spec, dtype, device), lora_config(spec)).train()
    with counter, torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        for loss, _ in row_losses(model, rows, device):
            loss.backward()
    return counted()


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
        fewest_flops=fewest_flops(spec, train, device),
        eval_tokens=sum(label != IGNORED for labels in held_out["labels"] for label in labels[1:]),
        base_loss=base_loss,
        losses=losses,
    )
    sys.stdout.buffer.write(msgspec.json.encode(measured))


if __name__ == "__main__":
    main()
