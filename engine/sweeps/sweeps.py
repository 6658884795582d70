"""The sweeps of a workspace as a front end sees them: begin, look at, stop, resume and remove one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from engine.errors import LoratuiError, RoundError, SpecError
from engine.files.paths import Workspace
from engine.spec.annotations import check_text
from engine.spec.overrides import split_setting
from engine.spec.round import ACTIVE, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.sweeps.progress import Progress, progresses
from engine.sweeps.sampling import number_of_points
from engine.sweeps.space import Space, checked_space, read_space
from engine.sweeps.sweep import SamplerName, Sweep, SweepStore

SEED = "train.seed"
MOST_COUNT = 100_000


class Sweeps:
    """The sweeps of one workspace. `wake` starts the runner where it is needed.

    Raises:
        LoratuiError: from every method, in one sentence; a failed method has changed nothing.
    """

    def __init__(self, workspace: Workspace, store: RoundStore, wake: Callable[[], None]) -> None:
        self._workspace, self._rounds = workspace, store
        self._store = SweepStore(workspace)
        self._wake = wake

    def signature(self) -> object:
        """Return a value that changes whenever a sweep or a round does; cheap enough to call often."""
        return self._store.signature(), self._rounds.signature()

    def all(self) -> list[Progress]:
        """Return how far each has come, by number."""
        return progresses(self._workspace, self._rounds)

    def unreadable(self) -> list[str]:
        """Return a sentence on each file of a sweep that cannot be read."""
        return self._store.unreadable()

    def get(self, number: int) -> Progress:
        """Return how far one has come."""
        self._store.get(number)
        return next(each for each in self.all() if each.sweep.number == number)

    def new(
        self,
        base: Callable[[list[str]], Spec],
        settings: Sequence[str],
        *,
        name: str = "",
        note: str = "",
        parent: int | None = None,
        sampler: SamplerName = "tpe",
        trials: int | None = None,
        budget_seconds: float | None = None,
        repeats: int = 1,
        seed: int = 0,
    ) -> Progress:
        """Begin a sweep.

        Args:
            base: returns the spec of settings with one value each.
            settings: `KEY=VALUE`, of which some have several values.
            trials: the most settings that are tried, at most as many as there are.
            repeats: rounds of each setting.
            budget_seconds: see `Sweep`.

        Raises:
            SpecError: a range is not allowed, a corner of the space cannot be trained, or nothing ends it.
        """
        from engine.preflight import checks  # which who only looks does not need

        self._rounds.check_writable()
        _check_counts(trials, repeats)
        space, single = read_space(settings)
        spec = base(single)
        checked_space(space, spec)
        check_text(spec, name, note)
        if repeats > 1 and SEED in space.ranges:
            raise SpecError(f"{SEED} has several values, and rounds of one setting differ in it: leave one out", SEED)
        most = _most_settings(space, sampler, trials, budget_seconds)
        for corner in space.corners():
            checks.check(space.spec_at(spec, corner))
        texts = dict(map(split_setting, settings))
        ranges = {key: texts[key] for key in texts if key in space.ranges or key in space.expressions}

        def make(number: int) -> Sweep:
            return Sweep(
                number=number, name=name, note=note, ranges=ranges, spec=spec, parent=parent, sampler=sampler,
                trials=most, budget_seconds=budget_seconds, repeats=repeats, seed=seed, created=time.time(),
            )  # fmt: skip

        self._rounds.make_home_here()
        of_rounds = [each.trial.sweep for each in self._rounds.rounds() if each.trial is not None]
        sweep = self._store.add(make, max(of_rounds, default=0) + 1)
        with suppress(LoratuiError):  # the front end says so when no runner is at work
            self._wake()
        return self.get(sweep.number)

    def stop(self, number: int) -> Progress:
        """Begin no further round of a sweep; what waits is held, what trains goes on to its end."""
        self._rounds.check_writable()
        self._store.update(number, stopped=time.time(), message="")
        self._change(number, Status.QUEUED, Status.HELD)
        return self.get(number)

    def resume(self, number: int, trials: int | None = None, budget_seconds: float | None = None) -> Progress:
        """Go on with a sweep, with more trials or another budget if these are named."""
        self._rounds.check_writable()
        _check_counts(trials)
        sweep = self._store.get(number)
        changes: dict[str, object] = {"stopped": None, "message": ""}
        if trials is not None:
            points = number_of_points(sweep.space)
            changes["trials"] = trials if math.isinf(points) else min(trials, int(points))
        if budget_seconds is not None:
            changes["budget_seconds"] = budget_seconds
        self._rounds.make_home_here()
        self._store.update(number, **changes)
        self._change(number, Status.HELD, Status.QUEUED)
        self._wake()
        return self.get(number)

    def remove(self, number: int) -> Progress:
        """Remove a sweep, and move its rounds to the trash; none of them may be training.

        Raises:
            RoundError: one is; or there is no such sweep.
        """
        self._rounds.check_writable()
        progress = self.get(number)
        if progress.trains:
            raise RoundError(f"sweep {number} is training: stop it first with `loratui sweep stop {number}`")
        self._store.update(number, removed=time.time(), stopped=time.time())
        for setting in progress.settings:
            for attempts in setting.repeats:
                for round_ in attempts:
                    self._rounds.remove(round_.number, forbidden=ACTIVE)
        return progress

    def _change(self, number: int, before: Status, after: Status) -> None:
        """Give all rounds of a sweep that have one status another."""
        self._rounds.update_each(
            lambda rounds: {
                each.number: {"status": after}
                for each in rounds
                if each.trial is not None and each.trial.sweep == number and each.status is before
            }
        )


def _most_settings(space: Space, sampler: SamplerName, trials: int | None, budget_seconds: float | None) -> int | None:
    """Return how many settings a sweep tries at most, None where only its budget ends it.

    Raises:
        SpecError: nothing ends it, or a grid has no end.
    """
    if sampler == "grid":
        space.grid()
    points = number_of_points(space)
    if trials is None and budget_seconds is None and math.isinf(points):
        raise SpecError("nothing ends this sweep: give a number of trials or a budget")
    most = points if trials is None else min(trials, points)
    return None if math.isinf(most) else int(most)


def _check_counts(trials: int | None, repeats: int = 1) -> None:
    for option, count in (("--trials", trials), ("--repeats", repeats)):
        if count is not None and not 1 <= count <= MOST_COUNT:
            raise SpecError(f"{option} is {count}: it must be at least 1 and at most {MOST_COUNT:,}")
