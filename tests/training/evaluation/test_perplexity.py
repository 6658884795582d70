"""The figures of a round, compared with a plain computation of them."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from engine.files.paths import RunDir
from engine.runs.events import AnyEvent, Finished, Prepared
from engine.runs.scores import read_scores
from engine.runs.snapshot import RunSnapshot
from engine.system import training_memory
from tests.support.plain import (
    WITHOUT_INPUT,
    evaluations_of,
    load,
    plain_eval_loss,
    plain_scores,
    result_loss,
)
from tests.support.rounds_to_train import figures_of, make_rows, make_run, steps_of, train_here
from tests.support.tiny_model import write_model


def test_base_and_saved_adapter_score_as_computed_by_hand(
    reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path
) -> None:
    run, events = reference
    base = load(tiny_model)
    evaluated = evaluations_of(events)
    loss, count = plain_eval_loss(base, tiny_model, run)
    assert evaluated[0].eval_loss == pytest.approx(loss, rel=1e-5)
    assert evaluated[0].supervised_tokens == count
    tuned = PeftModel.from_pretrained(base, run.adapter).eval()
    tuned_loss, _ = plain_eval_loss(tuned, run.adapter, run)  # the tokenizer lies beside the adapter
    assert result_loss(events) == pytest.approx(tuned_loss, rel=1e-5)
    assert tuned_loss < loss - 1
    assert tuned.peft_config["default"].base_model_name_or_path == str(tiny_model)


def test_each_held_out_row_scores_as_computed_by_hand(
    reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path
) -> None:
    run, _ = reference
    base = load(tiny_model)
    tuned = PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()
    for step, model in ((0, base), (20, tuned)):
        scores = read_scores(run, step)
        assert scores is not None
        plain = plain_scores(model, tiny_model, run)
        assert scores.nlls == pytest.approx([nll for nll, _ in plain], rel=1e-5)
        assert scores.tokens == tuple(count for _, count in plain)
        assert len(set(scores.examples)) == len(scores.examples)


def test_scores_of_the_rows_add_up_to_the_reported_loss(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    run, events = reference
    for step, evaluated in evaluations_of(events).items():
        scores = read_scores(run, step)
        assert scores is not None
        assert math.fsum(nll or 0.0 for nll in scores.nlls) / sum(scores.tokens) == evaluated.eval_loss
        assert sum(scores.tokens) == evaluated.supervised_tokens


def test_result_identifies_its_held_out_rows_by_the_scored_ones(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    scores = read_scores(reference[0], 20)
    assert scores is not None
    digest = hashlib.sha256("\n".join(scores.examples).encode()).hexdigest()
    assert RunSnapshot(reference[1]).result.held_out_rows == digest


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_adapter_on_either_end_of_the_model_is_saved_whole(tiny_model: Path, tmp_path: Path, target: str) -> None:
    run = make_run(tmp_path / "run", tiny_model, lora__target_modules=(target, "v_proj"))
    events = train_here(run)
    tuned = PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()
    loss, _ = plain_eval_loss(tuned, tiny_model, run)
    assert result_loss(events) == pytest.approx(loss, rel=1e-5)
    assert loss < (evaluations_of(events)[0].eval_loss or 0.0) - 0.5


def test_result_sums_up_the_events(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    run, events = reference
    last, steps, evaluated = events[-1], steps_of(events), evaluations_of(events)
    assert isinstance(last, Finished)
    prepared = next(event for event in events if isinstance(event, Prepared))
    result = last.result
    assert [step.step for step in steps] == list(range(1, prepared.total_steps + 1))
    assert sorted(evaluated) == [0, prepared.steps_per_epoch, 2 * prepared.steps_per_epoch, prepared.total_steps]
    assert result.perplexity == pytest.approx(math.exp(result_loss(events)))
    assert result.base_perplexity == evaluated[0].perplexity
    assert result.trained_tokens == sum(step.tokens for step in steps) == steps[-1].trained_tokens
    assert result.train_seconds == pytest.approx(sum(step.seconds for step in steps))
    assert result.peak_memory_bytes is not None and result.peak_memory_bytes > 50 * 1024**2
    assert result.adapter_dir == f"runs/{run.path.name}/adapter"
    assert (prepared.train_samples, prepared.eval_samples, prepared.steps_per_epoch) == (36, 4, 9)
    assert (prepared.device, prepared.dtype) == ("cpu", "float32")


def test_learning_rate_warms_up_and_falls_to_zero(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    rates = [step.learning_rate for step in steps_of(reference[1])]
    assert rates[:3] == pytest.approx([0.0, 0.5e-2, 1e-2])
    assert rates[2:] == pytest.approx([1e-2 * (20 - step) / 18 for step in range(2, 20)])


def test_every_epoch_takes_every_row_once(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    steps = steps_of(reference[1])
    first, second = (sum(step.tokens for step in steps[start : start + 9]) for start in (0, 9))
    assert first == second
    assert [step.tokens for step in steps[:9]] != [step.tokens for step in steps[9:18]]


def test_the_same_round_gives_the_same_figures(
    reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path, tmp_path: Path
) -> None:
    again = train_here(make_run(tmp_path / "again", tiny_model))
    assert figures_of(again) == figures_of(reference[1])
    assert result_loss(again) == result_loss(reference[1])


def test_another_seed_gives_others(reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path, tmp_path: Path) -> None:
    other = train_here(make_run(tmp_path / "other", tiny_model, train__seed=7, train__num_train_epochs=0.5))
    assert figures_of(other)[0] != figures_of(reference[1])[0]
    assert evaluations_of(other)[0].eval_loss == evaluations_of(reference[1])[0].eval_loss  # that of the base


def test_accumulation_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """A step is the mean over the supervised tokens of its rows for any micro-batches (transformers#34191)."""
    runs = [
        train_here(
            make_run(
                tmp_path / f"by-{micro}",
                tiny_model,
                lora__lora_dropout=0.0,
                train__per_device_train_batch_size=micro,
                train__gradient_accumulation_steps=8 // micro,
                train__num_train_epochs=3.0,
                train__micro_batches="fixed",
            )
        )
        for micro in (8, 2, 1)
    ]
    whole, *split = ([(step.loss, step.grad_norm) for step in steps_of(events)] for events in runs)
    assert len(whole) == 15
    for sliced in split:
        for ours, theirs in zip(sliced, whole, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
    assert result_loss(runs[2]) == pytest.approx(result_loss(runs[0]), rel=1e-4)


@pytest.mark.sample(3)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("tokens", [1, 200, 100_000])
def test_evaluation_does_not_depend_on_its_batches(
    reference: tuple[RunDir, list[AnyEvent]],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
    packed: bool,
) -> None:
    monkeypatch.setattr(training_memory, "CPU_TOKENS", tokens)
    monkeypatch.setattr("engine.training.model.forward._takes_packed_rows", lambda *_: (packed, None))
    run = make_run(tmp_path / "run", tiny_model, data__eval_fraction=0.9, train__num_train_epochs=1.0)
    base = evaluations_of(train_here(run))[0]
    loss, count = plain_eval_loss(load(tiny_model), tiny_model, run)
    assert base.eval_loss == pytest.approx(loss, rel=1e-6)
    assert base.supervised_tokens == count


def test_all_tokens_but_the_first_can_be_supervised(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, data__supervised_tokens="all", train__num_train_epochs=0.2)
    base = evaluations_of(train_here(run))[0]
    model = load(tiny_model)
    loss, count = plain_eval_loss(model, tiny_model, run, all_tokens=True)
    assert base.eval_loss == pytest.approx(loss, rel=1e-5)
    assert base.supervised_tokens == count


def test_gradient_checkpointing_changes_nothing(
    reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__gradient_checkpointing=True)
    events = train_here(run)
    for ours, theirs in zip(figures_of(events), figures_of(reference[1]), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_half_precision_base_is_trained_by_a_float32_adapter(tmp_path: Path, bias: str) -> None:
    model = write_model(tmp_path / "model", attention_bias=True)
    run = make_run(tmp_path / "run", model, model__dtype="bfloat16", lora__bias=bias, train__num_train_epochs=1.0)
    events = train_here(run)
    prepared = next(event for event in events if isinstance(event, Prepared))
    assert prepared.dtype == "bfloat16"
    assert result_loss(events) < (evaluations_of(events)[0].eval_loss or 0.0) - 0.5
    from safetensors.torch import load_file

    weights = load_file(run.adapter / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert any(name.endswith("bias") for name in weights) is (bias != "none")


def test_end_of_sequence_is_learned_where_it_is_the_padding_too(tmp_path: Path) -> None:
    """Masking labels by token instead of by length leaves a model that never stops (trl#976)."""
    model = write_model(tmp_path / "model", pad="</s>")
    run = make_run(
        tmp_path / "run", model, train__num_train_epochs=12.0, train__learning_rate=2e-2, lora__lora_dropout=0.0
    )
    train_here(run)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    base = load(model)
    row = make_rows()[4]
    tokens = tokenizer(WITHOUT_INPUT.format(**row) + row["output"]).input_ids

    def end_probability(model: Any) -> float:
        with torch.no_grad():
            scores = model(torch.tensor([tokens])).logits[0, -1]
        return float(torch.softmax(scores, 0)[tokenizer.eos_token_id])

    before = end_probability(base)
    after = end_probability(PeftModel.from_pretrained(base, run.adapter).eval())
    assert after > 100 * before
