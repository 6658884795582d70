"""A round scored on other data by the real process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from datasets import Dataset
from msgspec import convert, to_builtins

from engine.chat.protocol import AnswerRequest, LoadRequest, Message
from engine.compare.extra_evaluations import (
    EvaluationSummary,
    ExtraEvaluation,
    ScoreProgress,
    evaluate_on,
    read_evaluations,
    write_evaluation,
)
from engine.compare.paired_bootstrap import pair
from engine.errors import LoratuiError, RoundError
from engine.files.paths import RunDir
from engine.runs.events import AnyEvent
from engine.runs.scores import read_scores
from engine.spec.data import DataSpec
from engine.spec.schema import ModelSpec
from engine.training.workers.chat_model import ChatModel
from engine.training.workers.scorer import AdapterScorer
from engine.training.workers.stop_flag import StopFlag
from tests.support.plain import evaluations_of, result_loss
from tests.support.recorded_runs import scored_on
from tests.support.rounds_to_train import as_in_the_engine, make_rows, make_run, spec_of, train_here, write_rows
from tests.support.tiny_model import write_model

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def run(reference: tuple[RunDir, list[AnyEvent]], tmp_path: Path) -> RunDir:
    """A copy of the reference's run directory for this test alone."""
    shutil.copytree(reference[0].path, tmp_path / "runs" / "run")
    return RunDir(tmp_path / "runs" / "run")


def on(run: RunDir, file: Path) -> DataSpec:
    return msgspec.structs.replace(spec_of(run).data, path=str(file))


def ignore(_: ScoreProgress) -> None:
    pass


def score_here(run: RunDir, file: Path) -> ExtraEvaluation:
    """Score in this process."""
    with as_in_the_engine():
        return AdapterScorer(run, msgspec.structs.replace(spec_of(run), data=on(run, file)), ignore).score()


def test_rows_that_were_held_out_score_as_they_did_in_training(
    run: RunDir, reference: tuple[RunDir, list[AnyEvent]], tmp_path: Path
) -> None:
    held_out = list(Dataset.from_list(make_rows()).train_test_split(test_size=0.1, seed=42)["test"])
    file = write_rows(tmp_path / "held_out.jsonl", held_out)
    progress: list[ScoreProgress] = []
    evaluation = evaluate_on(run, on(run, file), progress.append)
    events = reference[1]
    assert evaluation.eval_loss == pytest.approx(result_loss(events), rel=1e-5)
    assert evaluation.base_eval_loss == pytest.approx(evaluations_of(events)[0].eval_loss, rel=1e-5)
    assert (evaluation.rows, evaluation.left_out) == (4, 0)
    assert evaluation.supervised_tokens == evaluations_of(events)[0].supervised_tokens
    trained = read_scores(run, 20)
    assert trained is not None and pair(trained, evaluation.scores).common == 4
    assert read_evaluations(run) == [convert(to_builtins(evaluation), EvaluationSummary)]
    assert {each.phase for each in progress} == {"loading", "tokenising", "evaluating base", "evaluating"}


@pytest.mark.parametrize(
    "trained", [{"bias": "all"}, {"bias": "lora_only"}, {"modules_to_save": ("embed_tokens", "lm_head", "norm")}]
)
def test_base_model_is_scored_without_its_own_weights_that_were_trained(
    tmp_path: Path, trained: dict[str, object]
) -> None:
    model = write_model(tmp_path / "model", attention_bias=True)
    run = make_run(
        tmp_path / "runs" / "run", model, train__learning_rate=0.05, train__num_train_epochs=1.0,
        train__sample_tokens=0, **{f"lora__{name}": value for name, value in trained.items()},
    )  # fmt: skip
    before, *_, after = evaluations_of(train_here(run)).values()
    held_out = list(Dataset.from_list(make_rows()).train_test_split(test_size=0.1, seed=42)["test"])
    evaluation = score_here(run, write_rows(tmp_path / "held_out.jsonl", held_out))
    assert evaluation.base_eval_loss == pytest.approx(before.eval_loss, rel=1e-5)
    assert evaluation.eval_loss == pytest.approx(after.eval_loss, rel=1e-5)
    assert before.eval_loss != pytest.approx(after.eval_loss, rel=0.05)


def test_base_model_answers_in_a_chat_without_its_own_weights_that_were_trained(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", attention_bias=True)
    options = {"lora__bias": "all", "lora__modules_to_save": ("embed_tokens", "lm_head", "norm")}
    trained = make_run(tmp_path / "runs" / "run", model, train__num_train_epochs=1.0, **options)
    train_here(trained)
    adapters = {"tuned": str(trained.adapter)}
    chats = [ChatModel(LoadRequest(ModelSpec(str(model), dtype="float32"), loaded)) for loaded in ({}, adapters)]
    question = AnswerRequest(None, (Message("user", "Say what a lamp is"),), temperature=0.0, max_new_tokens=20)
    alone, beside = (chat.answer(question, lambda _: None, StopFlag()).text for chat in chats)
    tuned = msgspec.structs.replace(question, adapter="tuned")
    first, second = (chats[1].answer(each, lambda _: None, StopFlag()).text for each in (tuned, tuned))
    assert beside == alone and first == second != alone


def test_workspace_whose_path_is_not_utf8_is_scored(run: RunDir, tmp_path: Path) -> None:
    data = on(run, write_rows(tmp_path / "a.jsonl", make_rows(10)))
    moved = RunDir((tmp_path / "runs").rename(tmp_path / os.fsdecode(b"caf\xe9")) / "run")
    evaluation = evaluate_on(moved, data, ignore)
    assert [each.time for each in read_evaluations(moved)] == [evaluation.time]
    with pytest.raises(LoratuiError, match="is not UTF-8 text: rename the file or its directory"):
        evaluate_on(moved, msgspec.structs.replace(data, path=str(moved.path / "a.jsonl")), ignore)


def test_place_that_takes_no_evaluation_is_refused_before_it_is_made(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != run.path)
    started: list[ScoreProgress] = []
    with pytest.raises(LoratuiError, match="cannot be written to, so an evaluation would be lost"):
        evaluate_on(run, on(run, write_rows(tmp_path / "a.jsonl", make_rows(10))), started.append)
    assert started == []


def test_run_directory_that_is_gone_by_the_end_is_named(run: RunDir, tmp_path: Path) -> None:
    def move(progress: ScoreProgress) -> None:
        if run.path.exists():
            run.path.rename(tmp_path / "moved")

    with pytest.raises(LoratuiError, match=r"perplexity \d.* could not be saved in .*/run/evaluations: no such file"):
        evaluate_on(run, on(run, write_rows(tmp_path / "a.jsonl", make_rows(10))), move)


def test_same_rows_take_the_place_of_their_earlier_score_and_others_stand_beside_it(
    run: RunDir, tmp_path: Path
) -> None:
    first, second = write_rows(tmp_path / "a.jsonl", make_rows(10)), write_rows(tmp_path / "b.jsonl", make_rows(12))
    for file in (first, second, first):
        write_evaluation(run, score_here(run, file))
    assert [(Path(each.data.path).name, each.rows) for each in read_evaluations(run)] == [
        ("b.jsonl", 12),
        ("a.jsonl", 10),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "has 0 usable rows"),
        ('[{"instruction": "a", "output": "b"}]', "usable row"),
        ('[{"colour": "red"}, {"colour": "blue"}]', "rows.json"),
        ("{", "rows.json"),
    ],
    ids=["no rows", "one row", "no form", "no JSON"],
)
def test_file_that_cannot_be_scored_is_refused_in_a_sentence(
    run: RunDir, tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(content)
    with pytest.raises(LoratuiError, match=words):
        score_here(run, file)


def lose_adapter(run: RunDir) -> None:
    shutil.rmtree(run.adapter)


def damage_adapter(run: RunDir) -> None:
    (run.adapter / "adapter_model.safetensors").write_bytes(b"\0" * 64)


def lose_base(run: RunDir) -> None:
    fields = json.loads(run.spec.read_bytes())
    fields["spec"]["model"]["path"] = str(run.path / "gone")
    run.spec.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose_adapter, "cannot be put on"), (damage_adapter, "cannot be put on"),
        (lose_base, "the directory does not exist"),
    ],
)  # fmt: skip
def test_missing_adapter_or_base_is_reported(
    run: RunDir, tmp_path: Path, harm: Callable[[RunDir], None], words: str
) -> None:
    harm(run)
    with pytest.raises(LoratuiError, match=words):
        score_here(run, write_rows(tmp_path / "a.jsonl", make_rows(10)))


def test_refusal_of_the_process_is_reported_in_its_words(run: RunDir, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text("[]")
    write_evaluation(run, scored_on("earlier.jsonl", 3.0))
    with pytest.raises(LoratuiError, match="has 0 usable rows, and at least 2 are needed"):
        evaluate_on(run, on(run, file), ignore)
    assert [each.data.path for each in read_evaluations(run)] == ["earlier.jsonl"]


def test_interrupted_evaluation_leaves_nothing(run: RunDir, tmp_path: Path) -> None:
    def break_off(advance: ScoreProgress) -> None:
        if advance.phase == "evaluating":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_on(run, on(run, write_rows(tmp_path / "a.jsonl", make_rows(10))), break_off)
    assert read_evaluations(run) == []


def test_file_that_is_not_an_evaluation_is_skipped(run: RunDir) -> None:
    run.evaluations.mkdir()
    (run.evaluations / "x.json").write_text("{}")
    (run.evaluations / "y.json").write_bytes(b"\xff")
    assert read_evaluations(run) == []


def test_link_in_the_place_of_evaluations_is_not_followed(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    run.evaluations.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RoundError, match="is a link"):
        evaluate_on(run, on(run, write_rows(tmp_path / "a.jsonl", make_rows(10))), ignore)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_round_that_a_damaged_run_directory_lacks_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    with pytest.raises(RoundError, match="choose a round that was trained to its end"):
        evaluate_on(run, on(run, write_rows(tmp_path / "a.jsonl", make_rows(10))), ignore)
