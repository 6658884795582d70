"""A run watched from outside, in little memory: how far it is, and what somebody who is not looking should be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct

from engine.alerts.plateau import EVALUATIONS, LossTrend
from engine.files.paths import RunDir
from engine.runs.curve import Steps
from engine.runs.disk_forecast import DiskNeed, disk_need
from engine.runs.events import AnyEvent, Evaluated, Phase, Prepared, Started, Step
from engine.spec.round import ACTIVE, Round, Status
from engine.text.humanize import format_perplexity

CHECK_GROWTH = 1.05  # a plateau is looked for whenever there are so many times as many steps


class Kind(StrEnum):
    """What is worth calling somebody for."""

    FINISHED = "finished"
    FAILED = "failed"
    NAN = "nan"
    PLATEAU = "plateau"


class Alarm(Struct, frozen=True):
    """One such occasion of a round, in a sentence that names the round."""

    kind: Kind
    number: int
    message: str


class RunProgress(Struct, frozen=True):
    """How far a run is; None where that is not known.

    `phase` is what it does besides its steps, "" while it trains; `remaining_seconds` are of the steps still ahead, at
    the mean pace of those so far; `disk_need` is of its checkpoints.
    """

    phase: str = ""
    step: int | None = None
    total_steps: int | None = None
    remaining_seconds: float | None = None
    disk_need: DiskNeed | None = None


class RunMonitor:
    """Follows one run. Of each kind there is one alarm at most, until the round is taken up again.

    `since`, in seconds since the epoch: what happened before it is known, and no alarm.
    """

    def __init__(self, round_: Round, run: RunDir, since: float) -> None:
        self._phase: Phase | None = None
        self._prepared: Prepared | None = None
        self._last_step: Step | None = None
        self._round = round_
        self._since = since
        self._run = run
        self._told: set[Kind] = set()
        self._begin()

    def _begin(self) -> None:
        self._trend = LossTrend(self._round.plan.warmup_steps or 0)
        self._check_at = 0.0
        self._best = float("inf")
        self._without_gain = 0

    def take(self, events: Iterable[AnyEvent | Steps]) -> list[Alarm]:
        """Take the run's new events and return the alarms that they raise."""
        return [alarm for event in events for alarm in self._take(event)]

    def _take(self, event: AnyEvent | Steps) -> list[Alarm]:
        alarms: list[tuple[Kind, str]] = []
        match event:
            case Started():
                self._phase = None
                self._told.clear()
                self._begin()
            case Phase():
                self._phase = event
            case Prepared():
                self._prepared = event
            case Step():
                self._last_step = event
                alarms = self._judge([event.step], [event.loss if event.loss is not None else float("nan")])
            case Steps():
                self._last_step = event.last
                alarms = self._judge(event.curve.steps, event.curve.losses)
            case Evaluated():
                alarms = self._judge_evaluation(event)
        return [self._alarm(kind, words) for kind, words in alarms if self._is_news(kind, event.time)]

    def _is_news(self, kind: Kind, time: float) -> bool:
        new = kind not in self._told
        self._told.add(kind)
        return new and time >= self._since

    def _alarm(self, kind: Kind, words: str) -> Alarm:
        return Alarm(kind, self._round.number, f"{title(self._round)}{words}")

    def _judge(self, steps: Sequence[int], losses: Sequence[float]) -> list[tuple[Kind, str]]:
        alarms = []
        if not math.isfinite(sum(losses)):
            broken = next(index for index, loss in enumerate(losses) if not math.isfinite(loss))
            alarms.append((Kind.NAN, f"the training loss is no finite number at step {steps[broken]:,}"))
        self._trend.extend(steps, losses)
        if self._trend.steps >= self._check_at:
            self._check_at = CHECK_GROWTH * self._trend.steps
            if self._trend.has_flattened(self._total_steps):
                alarms.append((Kind.PLATEAU, f"the training loss is flat over the last third, at step {steps[-1]:,}"))
        return alarms

    def _judge_evaluation(self, event: Evaluated) -> list[tuple[Kind, str]]:
        loss = event.eval_loss
        if loss is None or not math.isfinite(loss):
            return [(Kind.NAN, f"the eval loss is no finite number at step {event.step:,}")]
        if event.step == 0:
            return []  # the base model's
        if loss < self._best:
            self._best, self._without_gain = loss, 0
            return []
        self._without_gain += 1
        if self._without_gain < EVALUATIONS:
            return []
        told = f"the eval loss has not become lower than {self._best:.4f} in {self._without_gain} evaluations"
        return [(Kind.PLATEAU, told)]

    @property
    def _total_steps(self) -> int | None:
        """As the engine counts them, or as they were planned until it does."""
        return self._prepared.total_steps if self._prepared is not None else self._round.plan.total_steps

    def progress(self) -> RunProgress:
        """As of the last poll; looks at the disk, so not for a UI thread."""
        total = self._total_steps
        last, phase = self._last_step, self._phase.name if self._phase is not None else ""
        left = None
        if last is not None and total is not None and last.step > 0:
            left = max(0, total - last.step) * last.train_seconds / last.step
        return RunProgress(
            phase="" if phase == "training" else phase,
            step=last.step if last is not None else None,
            total_steps=total,
            remaining_seconds=left,
            disk_need=disk_need(self._round, self._prepared, last.step if last is not None else 0, self._run),
        )


def ending_alarm(round_: Round) -> Alarm | None:
    """What to tell of a round that has ended; None of one that somebody stopped, or that has not ended."""
    result = round_.result
    if round_.status is Status.FINISHED:
        better = f": perplexity {format_perplexity(result.perplexity)}" if result.perplexity is not None else ""
        return Alarm(Kind.FINISHED, round_.number, f"{title(round_)}finished{better}")
    if round_.status in (Status.FAILED, Status.INTERRUPTED):
        why = f": {round_.message}" if round_.message else ""
        return Alarm(Kind.FAILED, round_.number, f"{title(round_)}{round_.status}{why}")
    return None


def endings(before: Sequence[Round], now: Sequence[Round]) -> list[Alarm]:
    """What to tell of the rounds that have ended between two looks at the store."""
    open_then = {round_.id for round_ in before if round_.status in ACTIVE or round_.status is Status.QUEUED}
    told = [ending_alarm(round_) for round_ in now if round_.id in open_then]
    return [alarm for alarm in told if alarm is not None]


def title(round_: Round) -> str:
    """How a sentence about a round begins."""
    return f"round {round_.number}{f' ({round_.name})' if round_.name else ''}: "
