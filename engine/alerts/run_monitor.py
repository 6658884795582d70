"""A run watched from outside, in little memory: its progress, and its alarms for somebody who is not looking."""

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

CHECK_GROWTH = 1.05  # the factor of steps after which the next check for a plateau is made


class Kind(StrEnum):
    """A kind of alarm."""

    FINISHED = "finished"
    FAILED = "failed"
    NAN = "nan"
    PLATEAU = "plateau"


class Alarm(Struct, frozen=True):
    """An alarm of a round, with a sentence that names the round."""

    kind: Kind
    number: int
    message: str


class RunProgress(Struct, frozen=True):
    """The progress of a run; None where it is not known.

    Attributes:
        phase: its work besides training steps, "" while it trains.
        remaining_seconds: of the steps still to do, at the mean pace of those so far.
        disk_need: of its checkpoints.
    """

    phase: str = ""
    step: int | None = None
    total_steps: int | None = None
    remaining_seconds: float | None = None
    disk_need: DiskNeed | None = None


class RunMonitor:
    """Follows one run. It raises each kind of alarm at most once, until the round is resumed.

    Events before `since`, in seconds since the epoch, raise no alarm.
    """

    def __init__(self, round_: Round, run: RunDir, since: float) -> None:
        self._phase: Phase | None = None
        self._prepared: Prepared | None = None
        self._last_step: Step | None = None
        self._round = round_
        self._since = since
        self._run = run
        self._sent: set[Kind] = set()
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
                self._sent.clear()
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
        is_first = kind not in self._sent
        self._sent.add(kind)
        return is_first and time >= self._since

    def _alarm(self, kind: Kind, words: str) -> Alarm:
        return Alarm(kind, self._round.number, f"{title(self._round)}{words}")

    def _judge(self, steps: Sequence[int], losses: Sequence[float]) -> list[tuple[Kind, str]]:
        alarms = []
        if not math.isfinite(sum(losses)):
            broken = next(index for index, loss in enumerate(losses) if not math.isfinite(loss))
            alarms.append((Kind.NAN, f"the training loss is not finite at step {steps[broken]:,}"))
        self._trend.extend(steps, losses)
        if self._trend.steps >= self._check_at:
            self._check_at = CHECK_GROWTH * self._trend.steps
            if self._trend.has_flattened(self._total_steps):
                alarms.append((Kind.PLATEAU, f"the training loss is flat over the last third, at step {steps[-1]:,}"))
        return alarms

    def _judge_evaluation(self, event: Evaluated) -> list[tuple[Kind, str]]:
        loss = event.eval_loss
        if loss is None or not math.isfinite(loss):
            return [(Kind.NAN, f"the eval loss is not finite at step {event.step:,}")]
        if event.step == 0:
            return []  # the base model's
        if loss < self._best:
            self._best, self._without_gain = loss, 0
            return []
        self._without_gain += 1
        if self._without_gain < EVALUATIONS:
            return []
        message = f"the eval loss has not fallen below {self._best:.4f} in {self._without_gain} evaluations"
        return [(Kind.PLATEAU, message)]

    @property
    def _total_steps(self) -> int | None:
        """The total as the engine counts it, or as planned until the engine does."""
        return self._prepared.total_steps if self._prepared is not None else self._round.plan.total_steps

    def progress(self) -> RunProgress:
        """Return the progress at the last poll; it looks at the disk, so do not call it in a UI thread."""
        total = self._total_steps
        last, phase = self._last_step, self._phase.name if self._phase is not None else ""
        remaining = None
        if last is not None and total is not None and last.step > 0:
            remaining = max(0, total - last.step) * last.train_seconds / last.step
        return RunProgress(
            phase="" if phase == "training" else phase,
            step=last.step if last is not None else None,
            total_steps=total,
            remaining_seconds=remaining,
            disk_need=disk_need(self._round, self._prepared, last.step if last is not None else 0, self._run),
        )


def ending_alarm(round_: Round) -> Alarm | None:
    """Return the alarm for the end of a round; None if somebody stopped it, or it has not ended."""
    result = round_.result
    if round_.status is Status.FINISHED:
        measured = f": perplexity {format_perplexity(result.perplexity)}" if result.perplexity is not None else ""
        return Alarm(Kind.FINISHED, round_.number, f"{title(round_)}finished{measured}")
    if round_.status in (Status.FAILED, Status.INTERRUPTED):
        why = f": {round_.message}" if round_.message else ""
        return Alarm(Kind.FAILED, round_.number, f"{title(round_)}{round_.status}{why}")
    return None


def endings(before: Sequence[Round], now: Sequence[Round]) -> list[Alarm]:
    """Return the alarms of the rounds that have ended between two reads of the store."""
    open_then = {round_.id for round_ in before if round_.status in ACTIVE or round_.status is Status.QUEUED}
    alarms = [ending_alarm(round_) for round_ in now if round_.id in open_then]
    return [alarm for alarm in alarms if alarm is not None]


def title(round_: Round) -> str:
    """Return the start of a sentence about a round."""
    return f"round {round_.number}{f' ({round_.name})' if round_.name else ''}: "
