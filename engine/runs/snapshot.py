"""Replay a run's events into its present state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from engine.files.paths import RunDir
from engine.runs.curve import Curve, Steps
from engine.runs.disk_forecast import saved_bytes
from engine.runs.events import (
    Answered,
    AnyEvent,
    Evaluated,
    Failed,
    Finished,
    Interrupted,
    Phase,
    Prepared,
    Provenance,
    Sampled,
    Saved,
    Started,
    Step,
    Stopped,
    Warned,
)
from engine.spec.plan import Plan, plan_steps
from engine.spec.round import Result, SecondsBesideSteps, Status
from engine.spec.schema import Spec

Ending = Finished | Stopped | Interrupted | Failed
RATE_STEPS = 20
MOST_ROWS = 2**53
DEVICES = ("cuda", "mps", "cpu")


def measured_by(base: Evaluated | None, tuned: Evaluated | None) -> Result:
    """Return a result with the figures of the evaluations of base model and adapter."""
    flags = dict(tuned.nonfinite) if tuned is not None else {}
    if base is not None and "perplexity" in base.nonfinite:
        flags["base_perplexity"] = base.nonfinite["perplexity"]
    return Result(
        eval_loss=tuned.eval_loss if tuned else None,
        eval_loss_interval=tuned.eval_loss_interval if tuned else None,
        perplexity=tuned.perplexity if tuned else None,
        base_perplexity=base.perplexity if base else None,
        nonfinite=flags,
        step=tuned.step if tuned else None,
    )


class RunSnapshot:
    """The state of a run after its events so far."""

    def __init__(self, events: Iterable[AnyEvent | Steps] = ()) -> None:
        self.started: Started | None = None
        self.phase: Phase | None = None
        self.prepared: Prepared | None = None
        self.provenance: Provenance | None = None
        self.curve = Curve()
        self.last_step: Step | None = None
        self.evaluations: list[Evaluated] = []
        self.samples: list[Sampled] = []
        self.answered: list[Answered] = []
        self.saved: list[Saved] = []
        self._step_of: dict[int, Step | None] = {}  # the last step when each checkpoint was written
        self.warnings: list[str] = []
        self.ending: Ending | None = None
        self.last_time: float | None = None
        self._latest = 0.0  # a thread writes the provenance, whose time is earlier than that of the event before it
        self._beside_steps = {"evaluations": 0.0, "samples": 0.0, "checkpoints": 0.0}
        for event in events:
            self.apply(event)

    def apply(self, event: AnyEvent | Steps) -> None:
        """Apply one event, or consecutive steps."""
        self.last_time = event.time
        self._measure_time(event)
        match event:
            case Started():
                self._restart(event)
            case Phase():
                self.phase = event
            case Provenance():
                self.provenance = event
            case Prepared():
                self.prepared = event
            case Step():
                self.last_step = event
                self.curve.append(event)
            case Steps():
                self.last_step = event.last
                self.curve.extend(event.curve)
            case Evaluated():
                self.evaluations.append(event)
            case Sampled():
                self.samples.append(event)
            case Answered():
                self.answered.append(event)
            case Saved():
                self.saved.append(event)
                if not event.final:
                    self._step_of[event.step] = self.last_step
            case Warned():
                if event.message not in self.warnings:
                    self.warnings.append(event.message)
            case _:
                self.ending = event

    def _measure_time(self, event: AnyEvent | Steps) -> None:
        """Add the time since the event before to the part of the work that this event reports."""
        if isinstance(event, Started):
            self._latest, self._beside_steps = event.time, dict.fromkeys(self._beside_steps, 0.0)
        elif (part := _part_of(event)) is not None:
            self._beside_steps[part] += max(0.0, event.time - self._latest)
        self._latest = max(self._latest, event.time)

    def _restart(self, event: Started) -> None:
        last = event.resumed_from if event.resumed_from is not None else -1  # a new start evaluates the base again
        self.started, self.ending, self.phase = event, None, None
        self.curve.keep_until(last)
        self.evaluations = [evaluated for evaluated in self.evaluations if evaluated.step <= last]
        self.samples = [sampled for sampled in self.samples if sampled.step <= last]
        self.answered = [answered for answered in self.answered if answered.step <= last]
        if not self.last_step or self.last_step.step > last:
            self.last_step = self._step_of.get(last)

    @property
    def status(self) -> Status | None:
        """Return how the run ended, None if it has not reported its end."""
        match self.ending:
            case Finished():
                return Status.FINISHED
            case Stopped():
                return Status.STOPPED
            case Interrupted():
                return Status.INTERRUPTED
            case Failed():
                return Status.FAILED
        return None

    @property
    def message(self) -> str:
        """Return the sentence with which the run ended, "" without one."""
        return "" if self.ending is None else self.ending.message

    @property
    def beside_steps(self) -> SecondsBesideSteps | None:
        """Return what the last run did beside its steps; None if it has not reported its end."""
        if self.ending is None:
            return None
        return SecondsBesideSteps(**{part: min(seconds, MOST_ROWS) for part, seconds in self._beside_steps.items()})

    @property
    def result(self) -> Result:
        """Return the result so far; complete once the run is finished, and without an adapter until then."""
        rows = self.provenance.held_out_rows or None if self.provenance is not None else None
        if isinstance(self.ending, Finished):
            return msgspec.structs.replace(self.ending.result, held_out_rows=rows or self.ending.result.held_out_rows)
        base = next((evaluated for evaluated in self.evaluations if evaluated.step == 0), None)
        tuned = next((evaluated for evaluated in reversed(self.evaluations) if evaluated.step > 0), None)
        step = self.last_step
        return msgspec.structs.replace(
            measured_by(base, tuned),
            train_seconds=step.train_seconds if step else None,
            trained_tokens=step.trained_tokens if step else None,
            peak_memory_bytes=step.memory_bytes if step else None,
            held_out_rows=rows,
        )

    def best_first(self) -> list[Evaluated]:
        """Return the adapter's evaluations by eval loss, the earlier of equals first, without those that have none."""
        measured = [event for event in self.evaluations if event.step > 0 and event.eval_loss is not None]
        return sorted(measured, key=lambda event: (event.eval_loss, event.step))

    def evaluations_without_gain(self) -> int:
        """Count the evaluations since the best, as transformers' `EarlyStoppingCallback` does."""
        best = self.best_first()[:1]
        return sum(evaluated.step > best[0].step for evaluated in self.evaluations) if best else 0

    def tokens_per_second(self) -> float | None:
        """Return the training speed over the last steps."""
        seconds = sum(self.curve.seconds[-RATE_STEPS:])
        return sum(self.curve.tokens[-RATE_STEPS:]) / seconds if seconds > 0 else None

    def remaining_seconds(self) -> float | None:
        """Estimate the time of the remaining steps from the last ones; None before the first."""
        if self.prepared is None or not len(self.curve):
            return None
        recent = self.curve.seconds[-RATE_STEPS:]
        return (self.prepared.total_steps - self.curve.steps[-1]) * sum(recent) / len(recent)


def _part_of(event: AnyEvent | Steps) -> Literal["evaluations", "samples", "checkpoints"] | None:
    """Return the part of the work whose progress or end an event reports."""
    match event:
        case Evaluated() | Phase(name="evaluating base" | "evaluating"):
            return "evaluations"
        case Sampled() | Answered() | Phase(name="answering"):
            return "samples"
        case Saved():
            return "checkpoints"
    return None


def plan_of(snapshot: RunSnapshot, spec: Spec, plan: Plan) -> Plan:
    """Return the plan for the rows that the engine could use, which may be fewer than those `plan` counts."""
    prepared = snapshot.prepared
    rows = prepared.train_samples + prepared.eval_samples if prepared is not None else 0
    if prepared is None or not 2 <= rows <= MOST_ROWS:  # numbers that only a damaged log has
        return plan
    return msgspec.structs.replace(
        plan_steps(spec, prepared.train_samples, prepared.eval_samples),
        steps_per_epoch=prepared.steps_per_epoch,
        total_steps=prepared.total_steps,
    )


def result_of(snapshot: RunSnapshot, run: RunDir) -> Result:
    """Return the result of a run, finished or not, with the adapter that it wrote."""
    adapter = next((saved.path for saved in reversed(snapshot.saved) if saved.final), None)
    if snapshot.result.adapter_dir is not None or adapter is None:
        return snapshot.result
    return msgspec.structs.replace(snapshot.result, adapter_dir=f"runs/{run.name}/{adapter}")


def circumstances_of(snapshot: RunSnapshot, run: RunDir) -> dict[str, Any]:
    """Return fields of a round: on which device its last run trained, from where, what it saved, and how long."""
    device = snapshot.prepared.device if snapshot.prepared is not None else ""
    step = snapshot.started.resumed_from if snapshot.started is not None else None
    return {  # a damaged log may hold any number
        "device": device if device in DEVICES else "",
        "resumed_from": min(max(step, 0), MOST_ROWS) if step is not None else None,
        "disk_bytes": min(saved_bytes(run), MOST_ROWS) or None,
        "beside_steps": snapshot.beside_steps,
    }
