"""A run as it stands: the replay of its events."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from engine.files.paths import RunDir
from engine.runs.curve import Curve, Steps
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
from engine.spec.round import Result, Status

Ending = Finished | Stopped | Interrupted | Failed
RATE_STEPS = 20


def measured_by(base: Evaluated | None, tuned: Evaluated | None) -> Result:
    """What the evaluations of the base model and of the adapter say in a result."""
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
    """What a run's events add up to so far."""

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
        self._step_of: dict[int, Step | None] = {}  # as it was when each checkpoint was written
        self.warnings: list[str] = []
        self.ending: Ending | None = None
        self.last_time: float | None = None
        for event in events:
            self.apply(event)

    def apply(self, event: AnyEvent | Steps) -> None:
        """Fold one event in, or consecutive steps."""
        self.last_time = event.time
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

    def _restart(self, event: Started) -> None:
        kept = event.resumed_from if event.resumed_from is not None else -1  # begun anew, it measures the base anew
        self.started, self.ending, self.phase = event, None, None
        self.curve.keep_until(kept)
        self.evaluations = [evaluated for evaluated in self.evaluations if evaluated.step <= kept]
        self.samples = [sampled for sampled in self.samples if sampled.step <= kept]
        self.answered = [answered for answered in self.answered if answered.step <= kept]
        if not self.last_step or self.last_step.step > kept:
            self.last_step = self._step_of.get(kept)

    @property
    def status(self) -> Status | None:
        """How the run ended, None while it has not said so."""
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
        """The sentence the run ended with."""
        return "" if self.ending is None else self.ending.message

    @property
    def result(self) -> Result:
        """The result so far; complete once the run is finished, without an adapter until then."""
        rows = self.provenance.held_out_rows or None if self.provenance is not None else None
        if isinstance(self.ending, Finished):
            return msgspec.structs.replace(self.ending.result, held_out_rows=rows or self.ending.result.held_out_rows)
        base = next((item for item in self.evaluations if item.step == 0), None)
        tuned = next((item for item in reversed(self.evaluations) if item.step > 0), None)
        step = self.last_step
        return msgspec.structs.replace(
            measured_by(base, tuned),
            train_seconds=step.train_seconds if step else None,
            trained_tokens=step.trained_tokens if step else None,
            peak_memory_bytes=step.memory_bytes if step else None,
            held_out_rows=rows,
        )

    def best_first(self) -> list[Evaluated]:
        """The evaluations of the adapter by eval loss, the earlier of equals first; those without a loss left out."""
        measured = [item for item in self.evaluations if item.step > 0 and item.eval_loss is not None]
        return sorted(measured, key=lambda item: (item.eval_loss, item.step))

    def evaluations_without_gain(self) -> int:
        """How many evaluations there were since the best, as transformers' `EarlyStoppingCallback` counts them."""
        best = self.best_first()[:1]
        return sum(item.step > best[0].step for item in self.evaluations) if best else 0

    def tokens_per_second(self) -> float | None:
        """Over the last steps."""
        seconds = sum(self.curve.seconds[-RATE_STEPS:])
        return sum(self.curve.tokens[-RATE_STEPS:]) / seconds if seconds > 0 else None

    def remaining_seconds(self) -> float | None:
        """Of the training steps still ahead, at the pace of the last ones; None before the first."""
        if self.prepared is None or not len(self.curve):
            return None
        recent = self.curve.seconds[-RATE_STEPS:]
        return (self.prepared.total_steps - self.curve.steps[-1]) * sum(recent) / len(recent)


def result_of(snapshot: RunSnapshot, run: RunDir) -> Result:
    """What a run came to, finished or not, with the adapter it has left."""
    adapter = next((saved.path for saved in reversed(snapshot.saved) if saved.final), None)
    if snapshot.result.adapter_dir is not None or adapter is None:
        return snapshot.result
    return msgspec.structs.replace(snapshot.result, adapter_dir=f"{run.path.parent.name}/{run.path.name}/{adapter}")
