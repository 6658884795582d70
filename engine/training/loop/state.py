"""What the loop of one round works on: model, data, optimizer, and how far training is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
from engine.training.evaluation.perplexity import Evaluation, evaluate
from engine.training.loop.recorder import PhaseName, Recorder
from engine.training.model.adapter import recompute_activations
from engine.training.model.forward import Forward
from engine.training.model.memory_budget import Budget
from engine.training.model.pissa import Tensors
from engine.training.runtime.background import Background
from engine.training.runtime.device import out_of_memory


class TrainingProgress(Struct, frozen=True):
    """How far training is: sums since the first step, over all runs of the round."""

    step: int = 0
    train_seconds: float = 0.0
    trained_tokens: int = 0


@dataclass(frozen=True)
class PrefetchedBatches:
    """The micro-batches of a step on the device, by what they were sliced by."""

    step: int
    budget: Budget
    batches: list[Batch]


@dataclass
class Training:
    """Everything one round's loop works on."""

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
    provenance: Background[Provenance]
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    saved_step: int = 0
    pissa_initial: Tensors = field(default_factory=dict)  # what PiSSA took from the base weights
    prefetched: PrefetchedBatches | None = None  # of the step that comes next
    history: RunSnapshot = field(default_factory=RunSnapshot)  # the evaluations and samples of the round so far

    @property
    def model(self) -> Any:
        """The base model with its adapter."""
        return self.forward.model

    @property
    def device(self) -> torch.device:
        return self.forward.device

    def set_budget(self, budget: Budget) -> None:
        """Keep to `budget` from here on, with all the memory there is."""
        self.forward = replace(self.forward, graphs=None)
        recompute_activations(self.model, budget.gradient_checkpointing)
        self.budget = budget

    def evaluate(self, phase: PhaseName) -> Evaluation:
        with self.recorder.stop.interruptible(), out_of_memory(f"while {phase}"):
            return evaluate(
                self.forward,
                self.held_out,
                self.budget.tokens,
                lambda done, of: self.recorder.phase(phase, done, of),
            )
