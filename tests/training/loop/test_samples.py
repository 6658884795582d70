"""Sample answers: greedy, for the same held-out prompts each time, without any effect on the round."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoTokenizer, GenerationMixin

from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Finished, Sampled, Stopped, Warned
from engine.runs.snapshot import RunSnapshot
from engine.training.data.tokenize import Example
from engine.training.evaluation.greedy_answers import cut_at_answer
from engine.training.loop.stop import StopRequested
from tests.support.plain import WITH_INPUT, WITHOUT_INPUT, load, plain_answer
from tests.support.rounds_to_train import POSITIONS, figures_of, make_rows, make_run, train_here

Reference = tuple[RunDir, list[AnyEvent]]


def samples_in(events: list[AnyEvent]) -> list[Sampled]:
    return [event for event in events if isinstance(event, Sampled)]


def held_out_rows() -> list[dict[str, str]]:
    return list(Dataset.from_list(make_rows()).train_test_split(test_size=0.1, seed=42)["test"])


def test_samples_are_the_greedy_answers_to_the_first_held_out_prompts(reference: Reference, tiny_model: Path) -> None:
    run, events = reference
    samples = samples_in(events)
    assert [event.step for event in samples] == [step for step in (0, 9, 18, 20) for _ in range(3)]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    base = load(tiny_model)
    models = {0: base, 20: PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()}
    for step, model in models.items():
        of_step = [event for event in samples if event.step == step]
        for event, row in zip(of_step, held_out_rows(), strict=False):
            prompt = (WITH_INPUT if row["input"] else WITHOUT_INPUT).format(**row)
            assert event.prompt == prompt.strip()
            assert event.expected == row["output"]
            assert event.text == plain_answer(model, tokenizer, prompt, 40)
    assert {event.text for event in samples if event.step == 0} != {event.text for event in samples if event.step == 20}


def test_samples_change_nothing_of_the_round(reference: Reference, tiny_model: Path, tmp_path: Path) -> None:
    without = train_here(make_run(tmp_path / "run", tiny_model, train__sample_tokens=0))
    assert samples_in(without) == []
    assert figures_of(without) == figures_of(reference[1])
    first, last = without[-1], reference[1][-1]
    assert isinstance(first, Finished) and isinstance(last, Finished)
    assert first.result.eval_loss == last.result.eval_loss


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_samples_of_a_checkpointed_and_of_a_half_precision_round(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr("engine.training.loop.setup.emulates", lambda *_: False)  # of which a round is warned
    settings = {"train__gradient_checkpointing": True, "model__dtype": dtype, "train__num_train_epochs": 1.0}
    events = train_here(make_run(tmp_path / "run", tiny_model, **settings))
    assert [event.step for event in samples_in(events)] == [0, 0, 0, 9, 9, 9]
    assert not [event for event in events if isinstance(event, Warned)]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to"), "CUDA out of memory."),
        (ValueError("this model generates nothing"), "this model generates nothing"),
    ],
)
def test_error_in_sampling_is_a_warning(
    reference: Reference,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(GenerationMixin, "generate", refuse)
    events = train_here(make_run(tmp_path / "run", tiny_model))
    assert isinstance(events[-1], Finished) and figures_of(events) == figures_of(reference[1])
    assert RunSnapshot(events).warnings == [
        f"samples cannot be generated ({words}): train.sample_tokens 0 turns them off"
    ]


def test_sampling_ended_by_a_stop_is_done_on_resume(
    reference: Reference, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__sample_tokens=40)
    generate = GenerationMixin.generate
    calls = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StopRequested  # as the signal itself does
        return generate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(GenerationMixin, "generate", interrupted)
        train_here(run)
    last = read_events(run.events)[-1]
    assert not isinstance(last, Stopped | Finished) and run.checkpoint(9).is_dir()
    train_here(run, resume=True)
    replay = RunSnapshot(read_events(run.events))
    assert replay.samples == [
        *(event for event in replay.samples if event.step == 0),
        *(event for event in replay.samples if event.step == 9),
        *(event for event in replay.samples if event.step == 18),
        *(event for event in replay.samples if event.step == 20),
    ]
    replayed = [(event.step, event.text) for event in replay.samples]
    assert replayed == [(event.step, event.text) for event in samples_in(reference[1])]


def test_sampling_settings_of_the_model_are_ignored(reference: Reference, tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    wishes = {"do_sample": True, "temperature": 2.0, "top_k": 5, "max_length": 4}
    (model / "generation_config.json").write_text(json.dumps(wishes))
    events = train_here(make_run(tmp_path / "run", model, train__sample_tokens=40))
    assert [event.text for event in samples_in(events)] == [event.text for event in samples_in(reference[1])]


def test_answer_ends_where_the_model_has_no_more_positions(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, lengths = GenerationMixin.generate, []

    def measured(*arguments: Any, **options: Any) -> Any:
        output: Any = generate(*arguments, **options)
        lengths.append(output.shape[1])
        return output

    monkeypatch.setattr(GenerationMixin, "generate", measured)
    events = train_here(make_run(tmp_path / "run", tiny_model, train__sample_tokens=4096, train__num_train_epochs=0.1))
    assert len(samples_in(events)) == 6 and not [event for event in events if isinstance(event, Warned)]
    assert lengths[0] == POSITIONS  # the untrained model never ends an answer
    assert max(lengths) <= POSITIONS


def example(supervised: list[int]) -> Example:
    return Example(torch.arange(len(supervised), dtype=torch.int32), torch.tensor(supervised, dtype=torch.bool))


@pytest.mark.parametrize(
    ("supervised", "prompt", "expected"),
    [
        ([0, 0, 0, 1, 1], [0, 1, 2], [3, 4]),
        ([0, 0, 1, 1, 0, 0, 1], [0, 1], [2, 3]),  # a conversation of two turns: the first is the prompt
        ([0, 1, 1, 1, 1, 1], [0, 1, 2], [3, 4, 5]),  # all supervised: the second half is the answer
        ([0, 1], [0], [1]),
    ],
)
def test_row_is_cut_where_its_answer_begins(supervised: list[int], prompt: list[int], expected: list[int]) -> None:
    question = cut_at_answer(example(supervised))
    assert (question.prompt.tolist(), question.expected.tolist()) == (prompt, expected)
