"""Checkpoints: written whole or not at all, checked before they are believed, and free of pickle.

Each directory is staged under another name, forced to disk, and renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct
from peft import set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from engine.jsonfile import sync_directory
from engine.training.manifest import write_manifest
from engine.training.model import save_adapter, trainable_parameters

STATE, TENSORS = "state.json", "training_state.safetensors"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Progress(Struct, frozen=True):
    """How far training is: sums since the first step, over all runs of the round. `scale` is the fp16 loss scale."""

    step: int = 0
    train_seconds: float = 0.0
    trained_tokens: int = 0
    scale: float | None = None


def save_checkpoint(
    parent: Path, model: Any, tokenizer: PreTrainedTokenizerBase, optimizer: torch.optim.Optimizer, progress: Progress
) -> Path:
    """Write `checkpoint-<step>` under `parent`; raises OSError if the disk refuses, leaving no part of it."""
    target = parent / f"checkpoint-{progress.step}"

    def write(directory: Path) -> None:
        save_adapter(model, tokenizer, directory)
        save_file(_training_tensors(model, optimizer), directory / TENSORS)
        (directory / STATE).write_bytes(msgspec.json.encode(progress))
        write_manifest(directory)

    write_directory(target, write)
    return target


def write_directory(target: Path, write: Callable[[Path], None]) -> None:
    """Have `write(directory)` fill a directory, then put it at `target` in one rename; what was there goes after."""
    staged, old = target.with_name(f".{target.name}.staged"), target.with_name(f".{target.name}.old")
    for left_over in (staged, old):
        shutil.rmtree(left_over, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        write(staged)
        for file in staged.iterdir():
            _sync_file(file)
        sync_directory(staged)
        if target.exists():
            target.rename(old)
        staged.rename(target)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def restore(checkpoint: Path, model: Any, optimizer: torch.optim.Optimizer) -> Progress:
    """Put adapter, optimizer and random state back as they were; training continues from the next step.

    Raises:
        OSError, KeyError: the checkpoint belongs to another spec.
    """
    set_peft_model_state_dict(model, load_file(checkpoint / ADAPTER_WEIGHTS))
    tensors = load_file(checkpoint / TENSORS)
    for index, parameter in enumerate(trainable_parameters(model)):
        if f"{index}.step" not in tensors:
            continue
        optimizer.state[parameter] = {
            name: tensors[f"{index}.{name}"].to("cpu" if name == "step" and not _fused(optimizer) else parameter.device)
            for name in MOMENTS
        }
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return msgspec.json.decode((checkpoint / STATE).read_bytes(), type=Progress)


def _fused(optimizer: torch.optim.Optimizer) -> bool:
    return bool(optimizer.param_groups[0].get("fused"))


def _training_tensors(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    # A parameter has no state before its first update: float16's scaler skips steps, an expert may not be routed to.
    tensors = {
        f"{index}.{name}": optimizer.state[parameter][name].detach().cpu().contiguous()
        for index, parameter in enumerate(trainable_parameters(model))
        if parameter in optimizer.state
        for name in MOMENTS
    }
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    return tensors


def _sync_file(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
