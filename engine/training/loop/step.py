"""One optimizer step over exactly the effective batch."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch

from engine.errors import TrainingError
from engine.runs.events import Step
from engine.training.data.batching import Batch, slices_of, step_rows
from engine.training.data.tokenize import Example
from engine.training.loop.optimizer import set_learning_rate
from engine.training.loop.state import PrefetchedBatches, Training, TrainingProgress
from engine.training.model.adapter import trainable_parameters
from engine.training.model.memory_budget import Budget
from engine.training.runtime.device import (
    is_out_of_memory,
    peak_memory_bytes,
    random_state,
    set_random_state,
)


def take_step(training: Training, step: int, learning_rate: float) -> float:
    """Take one optimizer step over exactly the effective batch; return its loss, in nats per supervised token.

    Raises:
        TrainingError: the loss or the gradient is not finite, or memory ran out and no smaller batch is possible.
    """
    started = time.perf_counter()
    spec, optimizer, scaler = training.spec, training.optimizer, training.scaler
    examples = examples_of(training, step)
    supervised = sum(example.supervised_tokens for example in examples)
    total = _backward(training, step, examples, supervised)
    set_learning_rate(optimizer, learning_rate)
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(trainable_parameters(training.model), spec.train.max_grad_norm or math.inf)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    training.prefetched = _prefetch(training, step + 1)  # while the device computes this one
    figures: list[float] = torch.stack([total / supervised, norm]).tolist()  # the only wait for the device in a step
    loss, grad_norm = figures
    _check_finite(training, step, loss, grad_norm)  # after the update, but then the adapter is not saved
    _record_step(training, step, learning_rate, loss, grad_norm, examples, time.perf_counter() - started)
    return loss


def _backward(training: Training, step: int, examples: list[Example], supervised: int) -> torch.Tensor:
    """Compute the gradients of the step's mean loss; return the sum of its loss, in nats.

    If memory runs out, the step is repeated in smaller micro-batches with the same random numbers, and after another
    error by the model's own code.
    """
    state = random_state()
    while True:
        try:
            return _accumulate(training, _batches_of(training, step), supervised)
        except Exception as error:
            smaller = _smaller_budget(training, examples) if is_out_of_memory(error) else None
            if smaller is None and not training.forward.fall_back(error):
                raise
        training.optimizer.zero_grad(set_to_none=True)  # not earlier, as the error keeps the tensors alive
        training.prefetched = None
        set_random_state(state)
        if smaller is not None:
            training.set_budget(smaller)
            training.recorder.warn(
                f"out of memory at step {step}: from now on micro-batches have at most {smaller.tokens:,} tokens"
                f"{' and activations are recomputed' if smaller.gradient_checkpointing else ''}"
            )


def _accumulate(training: Training, batches: list[Batch], supervised: int) -> torch.Tensor:
    """Accumulate gradients over the micro-batches, without waiting for the device."""
    total = torch.zeros((), device=training.device)
    for batch in batches:
        total += _forward_backward(training, batch, supervised)
    return total


def _forward_backward(training: Training, batch: Batch, supervised: int) -> torch.Tensor:
    """Add the gradients of one micro-batch; its autograd graph is freed on return, as it must not be captured."""
    nll = training.forward.nll(batch)
    training.scaler.scale(nll / supervised).backward()
    return nll.detach()


def examples_of(training: Training, step: int) -> list[Example]:
    """Return the rows of a step."""
    indices = step_rows(step, len(training.train), training.plan.effective_batch, training.spec.train.seed)
    return [training.train[index] for index in indices]


def _batches_of(training: Training, step: int) -> list[Batch]:
    """Return the micro-batches of `step` on the device, the prefetched ones if they are of this step and budget."""
    prefetched = training.prefetched
    if prefetched is None or prefetched.step != step or prefetched.budget != training.budget:
        prefetched = _prefetch(training, step)
    return prefetched.batches


def _prefetch(training: Training, step: int) -> PrefetchedBatches:
    batches = [training.forward.batch(rows) for rows in micro_batches(training, examples_of(training, step))]
    return PrefetchedBatches(step, training.budget, batches)


def micro_batches(training: Training, examples: list[Example]) -> list[list[Example]]:
    """Divide the rows of a step into micro-batches."""
    if training.spec.train.micro_batches == "fixed":
        slices = slices_of(examples, training.spec.train.per_device_train_batch_size)
        return [part for rows in slices for part in training.forward.alike(rows)]
    return training.forward.slices_of(examples, training.budget.tokens)


def _smaller_budget(training: Training, examples: list[Example]) -> Budget | None:
    """Return half the tokens of the largest micro-batch; None if it cannot be smaller or the spec fixes its size."""
    if training.spec.train.micro_batches == "fixed":
        return None
    largest = max(micro_batches(training, examples), key=lambda rows: sum(map(len, rows)))
    budget = training.budget
    if len(largest) > 1:
        return replace(budget, tokens=sum(map(len, largest)) // 2)
    if training.spec.train.gradient_checkpointing == "auto" and not budget.gradient_checkpointing:
        return replace(budget, gradient_checkpointing=True)
    return None


def _check_finite(training: Training, step: int, loss: float, grad_norm: float) -> None:
    """Raise TrainingError unless both are finite; with float16 the scaler skips a step whose gradient overflows."""
    figure = "loss" if not math.isfinite(loss) else "gradient"
    if math.isfinite(loss) and (math.isfinite(grad_norm) or training.scaler.is_enabled()):
        return
    if step == 1:  # before the first update, so the learning rate cannot be the cause
        dtype = str(training.forward.dtype).removeprefix("torch.")
        overflow = "" if dtype == "float32" else f", or overflow in {dtype}: try model.dtype float32"
        raise TrainingError(
            f"{figure} is not finite at step 1, before any update: the weights of model.path "
            f"{training.spec.model.path!r} are probably damaged: copy or download the model again{overflow}"
        )
    rate = training.spec.train.learning_rate
    raise TrainingError(
        f"{figure} is not finite at step {step}: train.learning_rate {rate:g} is probably too high; try a tenth of it, "
        f"or a longer warm-up"
    )


def _record_step(
    training: Training, step: int, rate: float, loss: float, norm: float, examples: list[Example], seconds: float
) -> None:
    tokens, before = sum(map(len, examples)), training.progress
    training.progress = TrainingProgress(
        step,
        before.train_seconds + seconds,
        before.trained_tokens + tokens,
    )
    training.recorder.append(
        Step(
            time=time.time(),
            step=step,
            epoch=step / (training.plan.steps_per_epoch or 1),
            loss=loss,
            learning_rate=rate,
            grad_norm=norm,
            tokens=tokens,
            seconds=seconds,
            train_seconds=training.progress.train_seconds,
            trained_tokens=training.progress.trained_tokens,
            memory_bytes=peak_memory_bytes(training.device),
        )
    )
