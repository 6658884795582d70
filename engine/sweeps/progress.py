"""The progress of a sweep, by its rounds alone: what each setting gave, and what is to be trained next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal

from msgspec import Struct

from engine.files.paths import Workspace
from engine.spec.round import ACTIVE, WAITING, Round, Status
from engine.store.round_store import RoundStore
from engine.store.trash import Removed
from engine.sweeps.space import Point
from engine.sweeps.sweep import Sweep, SweepStore

ATTEMPTS = 2  # at a round that fails: a crash may be chance, two are not
REPEATED = frozenset({Status.FAILED, Status.INTERRUPTED})

State = Literal["open", "finished", "failed"]


class Setting(Struct, frozen=True):
    """One setting of a sweep with its rounds, those of each repeat in the order of their numbers."""

    number: int
    point: dict[str, str]
    repeats: tuple[tuple[Round, ...], ...]

    @property
    def rounds(self) -> list[Round]:
        """The last round of each repeat that has any."""
        return [attempts[-1] for attempts in self.repeats if attempts]

    @property
    def state(self) -> State:
        """finished if all repeats are, failed if one has failed for good, else open."""
        if self.loss is not None:
            return "finished"
        return "failed" if any(map(_has_failed, self.repeats)) else "open"

    @property
    def loss(self) -> float | None:
        """The mean of the eval losses of its repeats, in nats per token; None until all have one."""
        losses = [
            attempts[-1].result.eval_loss if attempts and attempts[-1].status is Status.FINISHED else None
            for attempts in self.repeats
        ]
        known = [loss for loss in losses if loss is not None]
        return fmean(known) if len(known) == len(losses) else None

    @property
    def perplexity(self) -> float | None:
        """exp of the loss; infinite where that is beyond measure."""
        try:
            return None if self.loss is None else math.exp(self.loss)
        except OverflowError:
            return math.inf


class NextTrial(Struct, frozen=True):
    """A round that a sweep wants next; `setting` is None for a new one, whose point a sampler chooses."""

    setting: Setting | None
    repeat: int = 0


class Progress(Struct, frozen=True):
    """The settings of a sweep by number, and numbers and points of those whose rounds were removed."""

    sweep: Sweep
    settings: tuple[Setting, ...]
    removed: dict[int, dict[str, str]]

    @property
    def seconds(self) -> float:
        """The seconds that its rounds have trained, from the start to the end of each."""
        rounds = [each for setting in self.settings for attempts in setting.repeats for each in attempts]
        return sum((each.ended or 0) - (each.started or 0) for each in rounds if each.started and each.ended)

    @property
    def points(self) -> list[Point]:
        """All points that were tried."""
        return [*(each.point for each in self.settings), *self.removed.values()]

    @property
    def last_number(self) -> int:
        """The highest number of a setting, 0 without any."""
        return max([0, *(each.number for each in self.settings), *self.removed])

    @property
    def trains(self) -> bool:
        """True if a round of it is being trained."""
        return any(each.status in ACTIVE for setting in self.settings for each in setting.rounds)

    @property
    def status(self) -> str:
        """running, stopped or finished."""
        if self.next_trial() is not None or any(each.state == "open" for each in self.settings):
            return "stopped" if self.sweep.stopped is not None else "running"
        return "stopped" if self.sweep.stopped is not None and self.sweep.message else "finished"

    @property
    def best(self) -> Setting | None:
        """The finished setting with the lowest loss."""
        finished = [each for each in self.settings if each.loss is not None]
        return min(finished, key=lambda each: each.loss or 0.0, default=None)

    def next_trial(self) -> NextTrial | None:
        """Return what to train next: a failed round again, a repeat that lacks, or a new setting; None for nothing."""
        if self.sweep.stopped is not None:
            return None
        for setting in self.settings:
            if setting.state == "failed":
                continue
            for repeat, attempts in enumerate(setting.repeats):
                if not attempts or (attempts[-1].status in REPEATED and len(attempts) < ATTEMPTS):
                    return NextTrial(setting, repeat)
        return NextTrial(None) if self._may_begin() else None

    def _may_begin(self) -> bool:
        sweep = self.sweep
        if sweep.trials is not None and len(self.points) >= sweep.trials:
            return False
        return sweep.budget_seconds is None or self.seconds < sweep.budget_seconds


def progress_of(sweep: Sweep, rounds: Iterable[Round], removed: Iterable[Removed] = ()) -> Progress:
    """Return how far `sweep` has come, by the rounds of the workspace and those in its trash."""
    by_setting: dict[int, list[Round]] = {}
    for round_ in rounds:
        if round_.trial is not None and round_.trial.sweep == sweep.number:
            by_setting.setdefault(round_.trial.setting, []).append(round_)
    settings = [_setting(number, each, sweep.repeats) for number, each in sorted(by_setting.items())]
    gone = {
        each.trial.setting: each.trial.point
        for each in removed
        if each.trial is not None and each.trial.sweep == sweep.number and each.trial.setting not in by_setting
    }
    return Progress(sweep, tuple(settings), gone)


def progresses(workspace: Workspace, store: RoundStore) -> list[Progress]:
    """Return how far each sweep of a workspace has come, by number."""
    sweeps = SweepStore(workspace).sweeps()
    if not sweeps:
        return []
    rounds, removed = store.rounds(), store.removed()
    return [progress_of(sweep, rounds, removed) for sweep in sweeps]


def wants_trial(workspace: Workspace, store: RoundStore) -> bool:
    """Return True if a sweep has a round to queue, now or once one of its rounds has ended."""
    return any(each.next_trial() is not None for each in progresses(workspace, store))


def _setting(number: int, rounds: Sequence[Round], repeats: int) -> Setting:
    attempts: list[list[Round]] = [[] for _ in range(repeats)]
    point: dict[str, str] = {}
    for round_ in sorted(rounds, key=lambda each: each.number):
        assert round_.trial is not None
        point = round_.trial.point
        if 0 <= round_.trial.repeat < repeats:
            attempts[round_.trial.repeat].append(round_)
    return Setting(number, point, tuple(map(tuple, attempts)))


def _has_failed(attempts: Sequence[Round]) -> bool:
    """Return True for a round that is not repeated: it failed twice, or a person stopped it."""
    if not attempts or attempts[-1].status in WAITING | ACTIVE:
        return False
    finished = attempts[-1].status is Status.FINISHED and attempts[-1].result.eval_loss is not None
    return not finished and not (attempts[-1].status in REPEATED and len(attempts) < ATTEMPTS)
