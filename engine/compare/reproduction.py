"""Two runs of the same spec compared step by step, and the differences of their origins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from engine.runs.events import AnyEvent, Evaluated, Provenance, Step
from engine.runs.provenance import differences

Agreement = Literal["identical", "within tolerance", "different", "nothing to compare"]
STEP_TOLERANCE = 1e-2  # of a step's loss, relative: other kernels round otherwise, and it adds up over the steps
EVAL_TOLERANCE = 1e-3  # of an eval loss, which is a mean over many more tokens


class Reproduction(Struct, frozen=True):
    """The comparison of two runs.

    Attributes:
        steps, evaluations: number that both have.
        first_step: the first whose losses are not the same to the last digit, None if all are.
        step_difference, eval_difference: the largest relative difference of two losses.
        verdict: `different` also where one of them has steps or evaluations that the other lacks.
        origins: (name, value in the first, value in the second) where their origins differ.
    """

    steps: int
    evaluations: int
    first_step: int | None
    step_difference: float
    eval_difference: float
    verdict: Agreement
    origins: list[tuple[str, str, str]]


def reproduction(first: Sequence[AnyEvent], second: Sequence[AnyEvent]) -> Reproduction:
    """Compare the second run with the first, by the events of each."""
    ours, theirs = _step_losses(first), _step_losses(second)
    evals, other_evals = _eval_losses(first), _eval_losses(second)
    steps = {step: _relative_difference(ours[step], theirs[step]) for step in ours if step in theirs}
    measured = {step: _relative_difference(evals[step], other_evals[step]) for step in evals if step in other_evals}
    return Reproduction(
        steps=len(steps),
        evaluations=len(measured),
        first_step=next((step for step, difference in steps.items() if difference), None),
        step_difference=max(steps.values(), default=0.0),
        eval_difference=max(measured.values(), default=0.0),
        verdict=_verdict(steps, measured, ours.keys() == theirs.keys() and evals.keys() == other_evals.keys()),
        origins=differences(_origin(first), _origin(second)),
    )


def _step_losses(events: Sequence[AnyEvent]) -> dict[int, float]:
    """Return the loss of each step; the last one where a resumed run repeated the step."""
    return {event.step: math.nan if event.loss is None else event.loss for event in events if isinstance(event, Step)}


def _eval_losses(events: Sequence[AnyEvent]) -> dict[str, float]:
    measured = [event for event in events if isinstance(event, Evaluated)]
    return {event.model: math.nan if event.eval_loss is None else event.eval_loss for event in measured}


def _origin(events: Sequence[AnyEvent]) -> Provenance:
    return next((event for event in reversed(events) if isinstance(event, Provenance)), Provenance(time=0.0))


def _relative_difference(first: float, second: float) -> float:
    """Return the relative difference; 0 if both are NaN, infinite if one is."""
    if math.isnan(first) or math.isnan(second):
        return 0.0 if math.isnan(first) and math.isnan(second) else math.inf
    return abs(first - second) / max(abs(first), abs(second)) if first != second else 0.0


def _verdict(steps: Mapping[int, float], evaluations: Mapping[str, float], complete: bool) -> Agreement:
    if not steps and not evaluations:
        return "nothing to compare"
    if not complete:
        return "different"
    if not any(steps.values()) and not any(evaluations.values()):
        return "identical"
    near = max(steps.values(), default=0.0) <= STEP_TOLERANCE
    return "within tolerance" if near and max(evaluations.values(), default=0.0) <= EVAL_TOLERANCE else "different"
