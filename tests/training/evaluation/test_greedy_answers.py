"""Scored answers to held-out prompts: those of the right model, without effect on the round, and never lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoTokenizer, GenerationMixin

from engine.files.paths import RunDir
from engine.runs.answers import read_answers
from engine.runs.event_log import read_events
from engine.runs.events import Answered, AnyEvent, Finished
from engine.runs.scores import read_scores
from engine.runs.snapshot import RunSnapshot
from engine.training.evaluation.text_metrics import score_texts
from tests.support.plain import load, plain_answer
from tests.support.rounds_to_train import figures_of, make_run, train_here

ASKED = {"generation__examples": 10, "generation__max_new_tokens": 30, "train__sample_tokens": 0}
HELD_OUT = 4


def answered_in(events: list[AnyEvent]) -> dict[int, Answered]:
    return {event.step: event for event in events if isinstance(event, Answered)}


@pytest.fixture(scope="module")
def scored_round(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, list[AnyEvent]]:
    run = make_run(tmp_path_factory.mktemp("scored") / "run", tiny_model, **ASKED)
    return run, train_here(run)


def test_base_and_adapter_answer_as_they_do_one_prompt_at_a_time(
    scored_round: tuple[RunDir, list[AnyEvent]], tiny_model: Path
) -> None:
    run, _ = scored_round
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    models = {0: load(tiny_model), 20: PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()}
    for step, model in models.items():
        answers = read_answers(run, step)
        assert len(answers) == HELD_OUT
        for answer in answers:
            assert answer.text == plain_answer(model, tokenizer, f"{answer.prompt}\n", 30)


def test_scores_are_those_of_the_stored_answers(scored_round: tuple[RunDir, list[AnyEvent]]) -> None:
    run, events = scored_round
    scores = answered_in(events)
    assert sorted(scores) == [0, 20]
    for step, answered in scores.items():
        answers, held_out = read_answers(run, step), read_scores(run, step)
        scored = score_texts([answer.text for answer in answers], [answer.expected for answer in answers])
        assert held_out is not None and tuple(answer.example for answer in answers) == held_out.examples
        assert answered.examples == HELD_OUT and answered.scores == pytest.approx(scored.scores)
        assert [answer.scores for answer in answers] == [pytest.approx(each) for each in scored.each]
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.result.base_generation, last.result.generation) == (scores[0].scores, scores[20].scores)


def test_answers_change_nothing_of_the_round(
    scored_round: tuple[RunDir, list[AnyEvent]], reference: tuple[RunDir, list[AnyEvent]]
) -> None:
    assert figures_of(scored_round[1]) == figures_of(reference[1])


def test_no_answers_are_scored_unless_the_spec_asks_for_it(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    run, events = reference
    assert not answered_in(events) and not run.answers.exists()


def test_error_in_answering_is_a_warning(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("this model generates nothing")

    monkeypatch.setattr(GenerationMixin, "generate", refuse)
    events = train_here(make_run(tmp_path / "run", tiny_model, **ASKED))
    assert isinstance(events[-1], Finished) and not answered_in(events)
    assert RunSnapshot(events).warnings == [
        "answers cannot be scored (this model generates nothing): generation.examples 0 turns this off"
    ]


def test_resumed_run_does_not_score_the_base_model_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model, **ASKED)
    train_here(run, stop_after=10)
    before = read_answers(run, 0)
    train_here(run, resume=True)
    answered = [event for event in read_events(run.events) if isinstance(event, Answered)]
    assert [event.step for event in answered] == [0, 20]
    assert before == read_answers(run, 0) != []
