"""Whether a run came out as another of the same spec did, step by step, and what was not the same about the two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from engine.runs.events import AnyEvent, Evaluated, Provenance, Step
from engine.runs.provenance import differences

Verdict = Literal["identical", "within tolerance", "different", "nothing to compare"]
STEP_TOLERANCE = 1e-2  # of a step's loss, relative: other kernels round otherwise, and it adds up over the steps
EVAL_TOLERANCE = 1e-3  # of an eval loss, which is a mean over many more tokens


class Reproduction(Struct, frozen=True):
    """Two runs held against each other.

    Attributes:
        steps, evaluations: how many both have.
        first_step: the first whose losses are not the same to the last digit, None if all are.
        step_difference, eval_difference: the largest relative difference of two losses.
        verdict: `different` also where one of them has steps or evaluations that the other lacks.
        origins: (what, in the first, in the second) where they do not come from the same.
    """

    steps: int
    evaluations: int
    first_step: int | None
    step_difference: float
    eval_difference: float
    verdict: Verdict
    origins: list[tuple[str, str, str]]


def reproduction(first: Sequence[AnyEvent], second: Sequence[AnyEvent]) -> Reproduction:
    """How the second run came out beside the first, by the events of each."""
    ours, theirs = _step_losses(first), _step_losses(second)
    evals, other_evals = _eval_losses(first), _eval_losses(second)
    steps = {step: _apart(ours[step], theirs[step]) for step in ours if step in theirs}
    measured = {step: _apart(evals[step], other_evals[step]) for step in evals if step in other_evals}
    return Reproduction(
        steps=len(steps),
        evaluations=len(measured),
        first_step=next((step for step, apart in steps.items() if apart), None),
        step_difference=max(steps.values(), default=0.0),
        eval_difference=max(measured.values(), default=0.0),
        verdict=_verdict(steps, measured, ours.keys() == theirs.keys() and evals.keys() == other_evals.keys()),
        origins=differences(_origin(first), _origin(second)),
    )


def _step_losses(events: Sequence[AnyEvent]) -> dict[int, float]:
    """By step; of one that a resumed run took anew, the last."""
    return {item.step: math.nan if item.loss is None else item.loss for item in events if isinstance(item, Step)}


def _eval_losses(events: Sequence[AnyEvent]) -> dict[int, float]:
    measured = [item for item in events if isinstance(item, Evaluated)]
    return {item.step: math.nan if item.eval_loss is None else item.eval_loss for item in measured}


def _origin(events: Sequence[AnyEvent]) -> Provenance:
    return next((item for item in reversed(events) if isinstance(item, Provenance)), Provenance(time=0.0))


def _apart(first: float, second: float) -> float:
    """The relative difference; 0 for two that are no numbers, infinite where one is none."""
    if math.isnan(first) or math.isnan(second):
        return 0.0 if math.isnan(first) and math.isnan(second) else math.inf
    return abs(first - second) / max(abs(first), abs(second)) if first != second else 0.0


def _verdict(steps: Mapping[int, float], evaluations: Mapping[int, float], complete: bool) -> Verdict:
    if not steps and not evaluations:
        return "nothing to compare"
    if not complete:
        return "different"
    if not any(steps.values()) and not any(evaluations.values()):
        return "identical"
    near = max(steps.values(), default=0.0) <= STEP_TOLERANCE
    return "within tolerance" if near and max(evaluations.values(), default=0.0) <= EVAL_TOLERANCE else "different"
