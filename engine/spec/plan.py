"""Compute what follows from a spec before training: samples, steps, warm-up, checkpoints. Arithmetic only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from engine.spec.held_out import held_out_set
from engine.spec.mix import sources_of
from engine.spec.schema import Spec, TrainSpec

SHOWN = 6
WITHOUT_WARMUP = frozenset({"constant", "reduce_lr_on_plateau", "greedy"})  # schedulers, by transformers' names


class PlannedSteps(Struct, frozen=True):
    """Steps after which something is done, as a rule, because a long round has too many of them to list.

    Attributes:
        every: after each multiple of one of these.
        besides: also after these single steps; the last step of the round is always among them.
    """

    every: tuple[int, ...]
    besides: tuple[int, ...]

    def __contains__(self, step: int) -> bool:
        return step in self.besides or any(step % period == 0 for period in self.every)

    def __iter__(self) -> Iterator[int]:
        """Yield the steps in order; there may be a million."""
        step, last = 0, max(self.besides, default=0)
        while step < last:
            ahead = [period * (step // period + 1) for period in self.every]
            step = min([*ahead, *(single for single in self.besides if single > step)])
            yield step

    def __len__(self) -> int:
        """Count the steps, by inclusion and exclusion of those that periods share."""
        last = max(self.besides, default=0)
        shared = (
            (1 if size % 2 else -1) * (last // math.lcm(*periods))
            for size in range(1, len(self.every) + 1)
            for periods in itertools.combinations(self.every, size)
        )
        alone = [single for single in self.besides if all(single % period for period in self.every)]
        return len(alone) + sum(shared)

    def __str__(self) -> str:
        """Describe the steps: `after steps 74, 148, 222`; of many, the first few and the last."""
        shown = [f"{step:,}" for step in itertools.islice(self, SHOWN)]
        if len(self) > SHOWN:
            shown[-1:] = ["…", f"{max(self.besides):,}"]
        return f"after steps {', '.join(shown)}" if len(shown) > 1 else f"after step {shown[0]}" if shown else "none"


class Plan(Struct, frozen=True):
    """The numbers that follow from a spec; those that depend on the count of rows are None while it is unknown.

    With `max_steps` only the division into epochs and what hangs on it are unknown.

    Attributes:
        train_samples, eval_samples: rows trained on and held out; with a held-out set of the hub's only the first may
            be known.
        effective_batch: rows per optimizer step.
        steps_per_epoch, total_steps: optimizer steps; a partial last batch is a step.
        warmup_steps: steps over which the learning rate rises.
        warmup_share: warmup_steps / total_steps; above 1 the peak learning rate is never reached.
        checkpoints: the steps after which a checkpoint is written; also None in rounds planned by earlier versions.
        evaluations: the steps after which the held-out rows are scored, none without such rows; None as above.
    """

    train_samples: int | None
    eval_samples: int | None
    effective_batch: int
    steps_per_epoch: int | None
    total_steps: int | None
    warmup_steps: int | None
    warmup_share: float | None
    checkpoints: PlannedSteps | None = None
    evaluations: PlannedSteps | None = None


def effective_batch_of(train: TrainSpec) -> int:
    """Return the rows per optimizer step on one device."""
    return train.per_device_train_batch_size * train.gradient_accumulation_steps


def split_sizes(rows: int, eval_fraction: float) -> tuple[int, int]:
    """Return (train, eval) rows, as `datasets.Dataset.train_test_split(test_size=eval_fraction)` splits them."""
    held_out = math.ceil(eval_fraction * rows)
    return rows - held_out, held_out


def resolve_share(steps: float, total_steps: int) -> int:
    """Return a number of steps; below 1 it is a share of all steps, as in transformers' `get_warmup_steps`."""
    return int(steps) if steps >= 1 else math.ceil(total_steps * steps)


def plan_evaluations(train: TrainSpec, steps_per_epoch: int, total_steps: int) -> PlannedSteps:
    """Plan the evaluations on held-out rows: by `eval_strategy`, and one after the last step."""
    if total_steps == 0:
        return PlannedSteps((), ())
    periods = {"no": (), "epoch": (steps_per_epoch,), "steps": (resolve_share(train.eval_steps, total_steps),)}
    every = tuple(period for period in periods[train.eval_strategy] if period < total_steps)
    return PlannedSteps(every, (total_steps,))


def plan_checkpoints(train: TrainSpec, steps_per_epoch: int, total_steps: int) -> PlannedSteps:
    """Plan at least one checkpoint before the end (halfway if the spec asks for none), and one at the end.

    With `load_best_model_at_end` there is one at each evaluation, so that any evaluated adapter can be restored.
    """
    if total_steps == 0:
        return PlannedSteps((), ())
    periods = {"no": (), "epoch": (steps_per_epoch,), "steps": (train.save_steps,)}[train.save_strategy]
    if train.load_best_model_at_end:
        periods = (*periods, *plan_evaluations(train, steps_per_epoch, total_steps).every)
    every = tuple(sorted({period for period in periods if period < total_steps}))
    halfway = () if every or total_steps == 1 else (total_steps // 2,)
    return PlannedSteps(every, (*halfway, total_steps))


def make_plan(spec: Spec, rows: int | None, held_out_rows: int | None = None, mixed: Sequence[int | None] = ()) -> Plan:
    """Plan `spec` for `rows` usable rows, `held_out_rows` of a separate held-out set, and `mixed` of `data.mix`.

    They are None if they are unknown until training.
    """
    if rows is None or None in mixed:
        return _plan_without_rows(spec.train)
    own_set = held_out_set(spec.data) is not None
    sizes = [
        (count, 0) if own_set else split_sizes(count, spec.data.eval_fraction) for count in (rows, *filter(None, mixed))
    ]
    (train, held_out), *others = sizes
    train += sum(source.times(size) for source, (size, _) in zip(sources_of(spec.data), others, strict=True))
    return plan_steps(spec, train, held_out_rows if own_set else held_out + sum(size for _, size in others))


def _plan_without_rows(train: TrainSpec) -> Plan:
    """Plan what is known before the rows are counted, which `max_steps` makes more."""
    total = train.max_steps
    if total is None:
        return Plan(None, None, effective_batch_of(train), None, None, None, None)
    warmup = _warmup(train, total)
    return Plan(None, None, effective_batch_of(train), None, total, warmup, warmup / total)


def _total_steps(train: TrainSpec, steps_per_epoch: int) -> int:
    """Return the optimizer steps of a round; without rows to train on there are none."""
    if train.max_steps is not None and steps_per_epoch:
        return train.max_steps
    return math.ceil(train.num_train_epochs * steps_per_epoch)


def _warmup(train: TrainSpec, total_steps: int) -> int:
    return 0 if train.lr_scheduler_type in WITHOUT_WARMUP else resolve_share(train.warmup_steps, total_steps)


def planned_epochs(train: TrainSpec, plan: Plan) -> float | None:
    """Return the passes over the rows that a round takes: with `max_steps` as many as the steps come to."""
    if train.max_steps is None:
        return train.num_train_epochs
    return plan.total_steps / plan.steps_per_epoch if plan.total_steps and plan.steps_per_epoch else None


def plan_steps(spec: Spec, train: int, held_out: int | None) -> Plan:
    """Plan `spec` for so many rows in an epoch and so many held out."""
    effective_batch = effective_batch_of(spec.train)
    per_epoch = math.ceil(train / effective_batch)
    total = _total_steps(spec.train, per_epoch)
    warmup = _warmup(spec.train, total)
    return Plan(
        train_samples=train,
        eval_samples=held_out,
        effective_batch=effective_batch,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=warmup,
        warmup_share=warmup / total if total else None,
        checkpoints=plan_checkpoints(spec.train, per_epoch, total),
        evaluations=plan_evaluations(spec.train, per_epoch, total) if held_out != 0 else PlannedSteps((), ()),
    )
