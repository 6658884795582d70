"""Points of a sweep: `python -P -m engine.training.workers.sampler`, for `engine.sweeps.sampling`.

For each `SampleRequest`, a line of JSON, it replies with the point that a sampler of Optuna chooses. The same request
has the same answer, whatever was asked before: what is kept between requests only saves time.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.spec.fields import parse_value
from engine.sweeps.ranges import Range, ValueList
from engine.sweeps.sampling import Observation, SampledPoint, SampleRequest
from engine.sweeps.sweep import SamplerName
from engine.training.workers.start import start_worker

STARTUP_TRIALS = 10  # at random, before TPE and GP learn from them


def main() -> None:
    replies = start_worker()
    warnings.simplefilter("ignore")  # of samplers that Optuna may still change
    requests, study = msgspec.json.Decoder(SampleRequest), None
    for line in sys.stdin.buffer:
        with replies.errors_as_refusals():
            request = requests.decode(line)
            if study is None or not study.update(request.observations, request.ranges):
                study = ObservedStudy(request.ranges)
                study.update(request.observations, request.ranges)
            replies.send(SampledPoint(study.sample(request.sampler, request.seed)))


class ObservedStudy:
    """A study of Optuna in memory, with the points that were tried of a space."""

    def __init__(self, ranges: list[Range]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(direction="minimize")
        self._ranges = ranges
        self._distributions = {each.key: _distribution(each) for each in ranges}
        self._observations: list[Observation] = []
        self._numbers: dict[int, int] = {}  # of their trials, by their places
        self._trials = 0

    def update(self, observations: list[Observation], ranges: list[Range]) -> bool:
        """Add what was observed since the last call; return False if the study must be made anew for that.

        Points outside the ranges are left out: the ranges may have been others when they were tried.
        """
        known = self._observations
        if ranges != self._ranges or len(observations) < len(known):
            return False
        if any(not _follows(old, new) for old, new in zip(known, observations, strict=False)):
            return False
        for place, (old, new) in enumerate(zip(known, observations, strict=False)):
            if old.state != new.state and place in self._numbers:
                self._study.tell(self._numbers[place], new.loss, state=_states()[new.state])
        for place in range(len(known), len(observations)):
            if _is_inside(observations[place], ranges, self._distributions):
                self._numbers[place] = self._trials
                self._study.add_trial(_trial(observations[place], ranges, self._distributions))
                self._trials += 1
        self._observations = observations
        return True

    def sample(self, name: SamplerName, seed: int) -> dict[str, str]:
        """Return a point; the trial that this leaves in the study has failed, and says nothing to a sampler."""
        self._study.sampler = _sampler(name, seed)
        trial = self._study.ask(self._distributions)
        self._study.tell(trial, state=_states()["failed"])
        self._trials += 1
        return {each.key: _text(each, trial.params[each.key]) for each in self._ranges}


def _sampler(name: SamplerName, seed: int) -> Any:
    from optuna.samplers import GPSampler, RandomSampler, TPESampler

    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS)
    return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS) if name == "gp" else RandomSampler(seed=seed)


def _follows(old: Observation, new: Observation) -> bool:
    """Return whether a point may have become `new` by what happened since `old`."""
    return old == new or (
        old.point == new.point and old.state == "open" and (new.state != "finished" or new.loss is not None)
    )


def _distribution(range_: Range) -> Any:
    """Return a range as Optuna has it; numbers that are listed are ordered, and so the places in their list."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(range_, ValueList):
        last = len(range_.texts) - 1
        return IntDistribution(0, last) if range_.is_ordered else CategoricalDistribution(range_.texts)
    if range_.is_whole:
        return IntDistribution(round(range_.low), round(range_.high), log=range_.log, step=round(range_.step or 1))
    return FloatDistribution(range_.low, range_.high, log=range_.log, step=range_.step)


def _is_inside(observation: Observation, ranges: list[Range], distributions: Mapping[str, Any]) -> bool:
    """Return whether a point has a value in each range; the ranges may have been others when it was tried."""
    try:
        return all(distributions[each.key]._contains(_internal(each, observation, distributions)) for each in ranges)
    except (KeyError, ValueError):
        return False


def _internal(range_: Range, observation: Observation, distributions: Mapping[str, Any]) -> float:
    internal: float = distributions[range_.key].to_internal_repr(_param(range_, observation.point[range_.key]))
    return internal


def _states() -> dict[str, Any]:
    from optuna.trial import TrialState

    return {"open": TrialState.RUNNING, "finished": TrialState.COMPLETE, "failed": TrialState.FAIL}


def _trial(observation: Observation, ranges: list[Range], distributions: Mapping[str, Any]) -> Any:
    from optuna.trial import create_trial

    return create_trial(
        state=_states()[observation.state],
        params={each.key: _param(each, observation.point[each.key]) for each in ranges},
        distributions=dict(distributions),
        value=observation.loss,
    )


def _param(range_: Range, text: str) -> Any:
    """Return what Optuna has in place of a text; raises ValueError for one that is not in the range."""
    if isinstance(range_, ValueList):
        place = range_.texts.index(text)
        return place if range_.is_ordered else text
    value = parse_value(range_.key, text)
    return value if range_.is_whole else float(value)


def _text(range_: Range, param: Any) -> str:
    if isinstance(range_, ValueList):
        return range_.texts[param] if range_.is_ordered else str(param)
    return range_.text_of(param)


if __name__ == "__main__":
    main()
