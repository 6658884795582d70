"""The state of a round in training: model, data, optimizer and progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from msgspec import Struct
from transformers import PreTrainedTokenizerBase

from engine.files.paths import RunDir
from engine.runs.events import Provenance
from engine.runs.snapshot import RunSnapshot
from engine.spec.plan import Plan
from engine.spec.schema import Spec
from engine.training.data.batching import Batch
from engine.training.data.tokenize import Example
from engine.training.loop.recorder import Recorder
from engine.training.model.adapter import recompute_activations
from engine.training.model.forward import Forward
from engine.training.model.memory_budget import Budget
from engine.training.model.pissa import Tensors
from engine.training.runtime.background import Background
from engine.training.runtime.energy import EnergyMeter


class TrainingProgress(Struct, frozen=True):
    """Sums since the first step, over all runs of the round."""

    step: int = 0
    train_seconds: float = 0.0
    trained_tokens: int = 0


@dataclass(frozen=True)
class PrefetchedBatches:
    """The micro-batches of a step, already on the device, and the budget they were divided by."""

    step: int
    budget: Budget
    batches: list[Batch]


@dataclass
class Training:
    """The state of one round in training."""

    spec: Spec
    plan: Plan
    run: RunDir
    recorder: Recorder
    tokenizer: PreTrainedTokenizerBase
    forward: Forward
    budget: Budget
    train: list[Example]
    held_out: list[Example]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    provenance: Background[tuple[Provenance, int]]
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    saved_step: int = 0
    pissa_initial: Tensors = field(default_factory=dict)  # the adapter that PiSSA subtracted from the base weights
    prefetched: PrefetchedBatches | None = None  # of the next step
    energy: EnergyMeter = field(default_factory=lambda: EnergyMeter(None))
    history: RunSnapshot = field(default_factory=RunSnapshot)  # the evaluations and samples of the round so far

    @property
    def model(self) -> Any:
        """The base model with its adapter."""
        return self.forward.model

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.forward.device

    def set_budget(self, budget: Budget) -> None:
        """Use `budget` from now on, without CUDA graphs, whose memory it may need."""
        self.forward.graphs = None
        recompute_activations(self.model, budget.gradient_checkpointing)
        self.budget = budget
