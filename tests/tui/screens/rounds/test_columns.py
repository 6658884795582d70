"""The words that the table adds to the status of a round."""

from __future__ import annotations

from engine.spec.round import Status, Trial
from tests.support.rounds import make_round
from tui.screens.rounds.columns import round_columns, status_words


def test_queued_rounds_have_their_place_and_held_ones_are_counted_but_not_numbered() -> None:
    rounds = [make_round(1, Status.QUEUED), make_round(2, Status.HELD), make_round(3, Status.QUEUED)]
    assert status_words(rounds, {}) == {1: "1", 3: "3"}


def test_progress_is_shown_only_while_the_round_runs() -> None:
    rounds = [make_round(1, Status.RUNNING), make_round(2, Status.FINISHED)]
    assert status_words(rounds, {1: "10 %", 2: "90 %", 9: "50 %"}) == {1: "10 %"}


def test_sweep_and_setting_of_a_trial_are_one_text() -> None:
    text = round_columns()["sweep"].text
    assert text(make_round(4, trial=Trial(sweep=1, setting=3, point={"lora.r": "8"})), {}) == "1.3"
    assert text(make_round(5), {}) == ""
