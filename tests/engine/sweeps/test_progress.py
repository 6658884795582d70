from __future__ import annotations

from typing import Any

import pytest

from engine.spec.round import Result, Round, Status, Trial
from engine.store.trash import Removed
from engine.sweeps.progress import NextTrial, progress_of
from engine.sweeps.sweep import Sweep
from tests.support.rounds import make_round, make_spec


def make_sweep(**fields: Any) -> Sweep:
    values: dict[str, Any] = {"number": 1, "ranges": {"lora.r": "8, 16"}, "spec": make_spec(), "created": 0.0}
    return Sweep(**values | fields)


def trial(number: int, setting: int, status: Status, loss: float | None = None, repeat: int = 0, **more: Any) -> Round:
    """A round of sweep 1; `number` is also when it started, and 10 s later it ended."""
    part = Trial(sweep=1, setting=setting, repeat=repeat, point={"lora.r": str(8 * setting)})
    return make_round(number, status, trial=part, result=Result(eval_loss=loss), **more)


def test_rounds_of_others_do_not_count() -> None:
    other = make_round(2, trial=Trial(sweep=2, setting=1, point={"lora.r": "8"}))
    progress = progress_of(make_sweep(trials=2), [make_round(1), other])
    assert progress.settings == () and progress.next_trial() == NextTrial(None)


def test_setting_has_the_mean_loss_of_its_repeats_once_all_are_finished() -> None:
    rounds = [trial(1, 1, Status.FINISHED, 1.0), trial(2, 1, Status.FINISHED, 2.0, repeat=1)]
    sweep = make_sweep(trials=1, repeats=3)
    (setting,) = progress_of(sweep, rounds).settings
    assert setting.loss is None and setting.state == "open"
    assert progress_of(sweep, rounds).next_trial() == NextTrial(setting, 2)
    (setting,) = progress_of(sweep, [*rounds, trial(3, 1, Status.FINISHED, 6.0, repeat=2)]).settings
    assert (
        setting.loss == 3.0 and setting.state == "finished" and setting.perplexity == pytest.approx(20.0855, rel=1e-5)
    )


def test_round_that_fails_is_repeated_once_and_never_stops_the_sweep() -> None:
    sweep = make_sweep(trials=2)
    once = progress_of(sweep, [trial(1, 1, Status.FAILED)])
    assert once.next_trial() == NextTrial(once.settings[0], 0)
    twice = progress_of(sweep, [trial(1, 1, Status.FAILED), trial(2, 1, Status.INTERRUPTED)])
    assert twice.settings[0].state == "failed" and twice.next_trial() == NextTrial(None)
    healed = progress_of(sweep, [trial(1, 1, Status.FAILED), trial(2, 1, Status.FINISHED, 1.5)])
    assert healed.settings[0].loss == 1.5


def test_round_that_a_person_stopped_is_not_repeated() -> None:
    progress = progress_of(make_sweep(trials=1), [trial(1, 1, Status.STOPPED)])
    assert progress.settings[0].state == "failed" and progress.next_trial() is None and progress.status == "finished"


def test_finished_round_without_a_loss_has_failed() -> None:
    assert progress_of(make_sweep(trials=1), [trial(1, 1, Status.FINISHED)]).settings[0].state == "failed"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.HELD, Status.RUNNING, Status.STOPPING])
def test_open_round_is_waited_for(status: Status) -> None:
    progress = progress_of(make_sweep(trials=1), [trial(1, 1, status)])
    assert progress.settings[0].state == "open" and progress.next_trial() is None and progress.status == "running"


def test_best_is_the_lowest_loss() -> None:
    rounds = [trial(number, number, Status.FINISHED, loss) for number, loss in enumerate((1.3, 1.1, 1.2), 1)]
    best = progress_of(make_sweep(), rounds).best
    assert best is not None and best.number == 2


def test_nothing_is_begun_beyond_the_trials_the_budget_or_a_stop() -> None:
    rounds = [trial(n, n, Status.FINISHED, 1.0, started=float(n), ended=n + 10.0) for n in (1, 2)]
    assert progress_of(make_sweep(trials=2), rounds).next_trial() is None
    assert progress_of(make_sweep(trials=3), rounds).next_trial() == NextTrial(None)
    assert progress_of(make_sweep(budget_seconds=20.0), rounds).next_trial() is None
    assert progress_of(make_sweep(budget_seconds=20.5), rounds).next_trial() == NextTrial(None)
    assert progress_of(make_sweep(trials=3, stopped=9.0), rounds).next_trial() is None


def test_removed_round_still_counts_as_tried() -> None:
    gone = Removed(2, "0002-00c0ffee", 5.0, trial=Trial(sweep=1, setting=2, point={"lora.r": "16"}))
    progress = progress_of(make_sweep(trials=2), [trial(1, 1, Status.FINISHED, 1.0)], [gone])
    assert progress.points == [{"lora.r": "8"}, {"lora.r": "16"}]
    assert progress.next_trial() is None and progress.last_number == 2
