"""What follows from a spec before a step is taken: samples, steps, warm-up, checkpoints. Arithmetic only."""

from __future__ import annotations

import math

from msgspec import Struct

from engine.spec import Spec, TrainSpec


class Plan(Struct, frozen=True):
    """The numbers that follow from a spec. Those that need the count of rows are None while it is unknown.

    Attributes:
        train_samples, eval_samples: rows trained on and held out.
        effective_batch: rows per optimizer step.
        steps_per_epoch, total_steps: optimizer steps; a partial last batch is a step.
        warmup_steps: steps over which the learning rate rises.
        warmup_share: warmup_steps / total_steps; above 1 the peak learning rate is never reached.
        checkpoint_steps: the steps after which a checkpoint is written.
    """

    train_samples: int | None
    eval_samples: int | None
    effective_batch: int
    steps_per_epoch: int | None
    total_steps: int | None
    warmup_steps: int | None
    warmup_share: float | None
    checkpoint_steps: tuple[int, ...] | None


def split_sizes(rows: int, eval_fraction: float) -> tuple[int, int]:
    """(train, eval) rows, as `datasets.Dataset.train_test_split(test_size=eval_fraction)` cuts them."""
    held_out = math.ceil(eval_fraction * rows)
    return rows - held_out, held_out


def resolve_warmup(warmup_steps: float, total_steps: int) -> int:
    """Warm-up in steps; below 1 it is a share of all steps (transformers' `TrainingArguments.get_warmup_steps`)."""
    return int(warmup_steps) if warmup_steps >= 1 else math.ceil(total_steps * warmup_steps)


def checkpoint_steps(train: TrainSpec, steps_per_epoch: int, total_steps: int) -> tuple[int, ...]:
    """The steps after which a checkpoint is written."""
    if train.save_strategy == "no" or total_steps == 0:
        return ()
    every = steps_per_epoch if train.save_strategy == "epoch" else train.save_steps
    return tuple(range(every, total_steps + 1, every))


def make_plan(spec: Spec, rows: int | None) -> Plan:
    """The plan of `spec` over `rows` usable rows; None where only training itself will tell."""
    effective_batch = spec.train.per_device_train_batch_size * spec.train.gradient_accumulation_steps
    if rows is None:
        return Plan(None, None, effective_batch, None, None, None, None, None)
    train, held_out = split_sizes(rows, spec.data.eval_fraction)
    per_epoch = math.ceil(train / effective_batch)
    total = math.ceil(spec.train.num_train_epochs * per_epoch)
    warmup = resolve_warmup(spec.train.warmup_steps, total)
    return Plan(
        train_samples=train,
        eval_samples=held_out,
        effective_batch=effective_batch,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=warmup,
        warmup_share=warmup / total if total else None,
        checkpoint_steps=checkpoint_steps(spec.train, per_epoch, total),
    )
