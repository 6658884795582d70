"""Answers to held-out prompts that are scored: whose they are, that nothing else changes, and that none is lost."""

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

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft uses an old name of transformers

ASKED = {"generation__examples": 10, "generation__max_new_tokens": 30, "train__sample_tokens": 0}
HELD_OUT = 4


def answered_in(events: list[AnyEvent]) -> dict[int, Answered]:
    return {event.step: event for event in events if isinstance(event, Answered)}


@pytest.fixture(scope="module")
def asked(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, list[AnyEvent]]:
    run = make_run(tmp_path_factory.mktemp("asked") / "run", tiny_model, **ASKED)
    return run, train_here(run)


def test_base_and_adapter_answer_as_they_do_one_prompt_at_a_time(
    asked: tuple[RunDir, list[AnyEvent]], tiny_model: Path
) -> None:
    run, _ = asked
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    models = {0: load(tiny_model), 20: PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()}
    for step, model in models.items():
        answers = read_answers(run, step)
        assert len(answers) == HELD_OUT
        for answer in answers:
            assert answer.text == plain_answer(model, tokenizer, f"{answer.prompt}\n", 30)


def test_scores_are_those_of_the_answers_that_are_kept(asked: tuple[RunDir, list[AnyEvent]]) -> None:
    run, events = asked
    found = answered_in(events)
    assert sorted(found) == [0, 20]
    for step, answered in found.items():
        answers, held_out = read_answers(run, step), read_scores(run, step)
        scored = score_texts([item.text for item in answers], [item.expected for item in answers])
        assert held_out is not None and tuple(item.example for item in answers) == held_out.examples
        assert answered.examples == HELD_OUT and answered.scores == pytest.approx(scored.scores)
        assert [item.scores for item in answers] == [pytest.approx(each) for each in scored.each]
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.result.base_generation, last.result.generation) == (found[0].scores, found[20].scores)


def test_answers_change_nothing_of_the_round(
    asked: tuple[RunDir, list[AnyEvent]], reference: tuple[RunDir, list[AnyEvent]]
) -> None:
    assert figures_of(asked[1]) == figures_of(reference[1])


def test_none_are_made_unless_they_are_asked_for(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    run, events = reference
    assert not answered_in(events) and not run.answers.exists()


def test_what_goes_wrong_in_answering_is_a_warning(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("this model generates nothing")

    monkeypatch.setattr(GenerationMixin, "generate", refuse)
    events = train_here(make_run(tmp_path / "run", tiny_model, **ASKED))
    assert isinstance(events[-1], Finished) and not answered_in(events)
    assert RunSnapshot(events).warnings == [
        "no answers could be scored (this model generates nothing): generation.examples 0 does without them"
    ]


def test_resumed_run_does_not_ask_the_base_model_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model, **ASKED)
    train_here(run, stop_after=10)
    before = read_answers(run, 0)
    train_here(run, resume=True)
    answered = [event for event in read_events(run.events) if isinstance(event, Answered)]
    assert [event.step for event in answered] == [0, 20]
    assert before == read_answers(run, 0) != []
