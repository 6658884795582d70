"""A round against a plain one: one row at a time, no padding, tokens and optimizer made by the test itself."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

from engine.dataset.rows import AlpacaRow
from engine.dataset.templates import render_prompt
from engine.files.paths import RunDir
from engine.runs.events import AnyEvent, Evaluated, Finished
from engine.spec.data import DataSpec
from engine.training.data.batching import pad, step_rows
from engine.training.data.tokenize import tokenise
from engine.training.evaluation.perplexity import evaluate
from engine.training.loop.state import Training
from engine.training.loop.step import take_step
from engine.training.model.adapter import trainable_parameters
from tests.support.plain import WITH_INPUT, WITHOUT_INPUT
from tests.support.rounds_to_train import (
    CPU,
    make_rows,
    make_run,
    prepared,
    spec_of,
    steps_of,
    train_here,
)
from tests.support.tiny_model import make_tokenizer

Tokens = tuple[list[int], int]  # of one row, and where its response begins


def plain_rows(run: RunDir) -> tuple[list[Tokens], list[Tokens]]:
    """Return (train, held-out) rows as tokens."""
    spec = spec_of(run)
    tokenizer = AutoTokenizer.from_pretrained(spec.model.path)

    def tokens_of(row: dict[str, str]) -> Tokens:
        prompt = (WITH_INPUT if row["input"] else WITHOUT_INPUT).format(**row)
        tokens = [*tokenizer(prompt + row["output"]).input_ids, tokenizer.eos_token_id]
        return tokens, 1 if spec.data.supervised_tokens == "all" else len(tokenizer(prompt).input_ids)

    parts = Dataset.from_list(make_rows()).train_test_split(test_size=spec.data.eval_fraction, seed=spec.data.seed)
    return [tokens_of(row) for row in parts["train"]], [tokens_of(row) for row in parts["test"]]


def plain_nll(model: Any, row: Tokens) -> torch.Tensor:
    """Return the loss summed over the supervised tokens of one row."""
    tokens, start = row
    logits = model(torch.tensor([tokens])).logits[0]
    return functional.cross_entropy(logits[start - 1 : -1], torch.tensor(tokens[start:]), reduction="sum")


def plain_loss(model: Any, rows: list[Tokens]) -> float:
    """Return the mean loss over all supervised tokens of all rows."""
    with torch.no_grad():
        total = math.fsum(float(plain_nll(model, row)) for row in rows)
    return total / sum(len(tokens) - start for tokens, start in rows)


def train_plainly(training: Training) -> list[tuple[float, float, float]]:
    """Return (loss, gradient norm before clipping, learning rate) of each step; the order of rows is the engine's."""
    train, _ = plain_rows(training.run)
    options, total = training.spec.train, training.plan.total_steps or 0
    parameters = trainable_parameters(training.model)
    optimizer = torch.optim.AdamW(parameters, options.learning_rate, weight_decay=0.0, foreach=False, fused=False)
    schedule = get_linear_schedule_with_warmup(optimizer, training.plan.warmup_steps or 0, total)
    figures = []
    for step in range(1, total + 1):
        rows = [train[index] for index in step_rows(step, len(train), training.plan.effective_batch, options.seed)]
        loss = sum(plain_nll(training.model, row) for row in rows) / sum(len(row) - start for row, start in rows)
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
        for gradient in gradients:
            gradient.mul_(min(1.0, 1.0 / (norm + 1e-6)))
        figures.append((loss.item(), norm, schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return figures


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "settings",
    [
        {"train__per_device_train_batch_size": 8, "train__gradient_accumulation_steps": 1},
        {"train__per_device_train_batch_size": 2, "train__gradient_accumulation_steps": 4},
        {"train__per_device_train_batch_size": 1, "train__gradient_accumulation_steps": 8},
        {"train__per_device_train_batch_size": 5, "train__gradient_accumulation_steps": 2, "train__warmup_steps": 0.3},
        {"data__supervised_tokens": "all"},
        {"train__gradient_checkpointing": True},
    ],
)
def test_every_step_is_that_of_a_plain_round(tiny_model: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    """The last step of an epoch is short, as neither 8 nor 10 divides 36 rows."""
    settings = {"lora__lora_dropout": 0.0, "train__learning_rate": 1e-3} | settings
    run = make_run(tmp_path / "run", tiny_model, **settings)
    events = train_here(run)
    with prepared(run) as training, training.forward.as_loaded():
        plain = train_plainly(training)
    ours = [(step.loss, step.grad_norm, step.learning_rate) for step in steps_of(events)]
    assert len(ours) == len(plain)
    assert max(norm for _, norm, _ in plain) > 1  # some steps are clipped
    for figures, theirs in zip(ours, plain, strict=True):
        assert figures[:2] == pytest.approx(theirs[:2], rel=1e-5)
        assert figures[2] == pytest.approx(theirs[2], rel=1e-12)
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    saved = PeftModel.from_pretrained(base, run.adapter).eval()
    last = events[-1]
    assert isinstance(last, Finished)
    _, held_out = plain_rows(run)
    assert last.result.eval_loss == pytest.approx(plain_loss(saved, held_out), rel=1e-6)
    with training.forward.as_loaded():
        assert last.result.eval_loss == pytest.approx(plain_loss(training.model.eval(), held_out), rel=1e-5)


def test_reported_losses_are_the_saved_adapters(reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path) -> None:
    run, events = reference
    _, held_out = plain_rows(run)
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    evaluated = {event.step: event.eval_loss for event in events if isinstance(event, Evaluated)}
    assert evaluated[0] == pytest.approx(plain_loss(base.eval(), held_out), rel=1e-6)
    for step, directory in [(18, run.checkpoints / "checkpoint-18"), (20, run.adapter)]:
        tuned = PeftModel.from_pretrained(copy.deepcopy(base), directory).eval()
        assert evaluated[step] == pytest.approx(plain_loss(tuned, held_out), rel=1e-6)


@pytest.mark.parametrize("micro", [1, 3, 8])
def test_gradient_of_a_padded_step_is_that_of_its_rows_one_at_a_time(
    tiny_model: Path, tmp_path: Path, micro: int
) -> None:
    run = make_run(
        tmp_path / "run",
        tiny_model,
        lora__lora_dropout=0.0,
        train__per_device_train_batch_size=micro,
        train__gradient_accumulation_steps=-(-8 // micro),
    )
    with prepared(run) as training:
        parameters = trainable_parameters(training.model)
        torch.manual_seed(1)
        for parameter in parameters:
            torch.nn.init.normal_(parameter, std=0.1)  # lora_B is no longer zero, so lora_A has a gradient too
        train, _ = plain_rows(run)
        batch = training.plan.effective_batch
        rows = [train[index] for index in step_rows(1, len(train), batch, training.spec.train.seed)]
        assert len({len(tokens) for tokens, _ in rows}) > 3
        with training.forward.as_loaded():
            loss = torch.stack([plain_nll(training.model, row) for row in rows]).sum()
        count = sum(len(tokens) - start for tokens, start in rows)
        plain = [gradient / count for gradient in torch.autograd.grad(loss, parameters)]
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in plain))
        gradients_of_step: list[torch.Tensor] = []
        training.optimizer.register_step_pre_hook(
            lambda *_: gradients_of_step.extend(
                parameter.grad.clone() for parameter in parameters if parameter.grad is not None
            )
        )
        take_step(training, 1, 1e-3)
    for ours, theirs in zip(gradients_of_step, plain, strict=True):
        expected = theirs * min(1.0, 1.0 / (norm + 1e-6))
        assert float((ours - expected).norm() / expected.norm()) < 1e-5


def test_perplexity_does_not_depend_on_the_order_of_rows(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, data__eval_fraction=0.9)
    with prepared(run) as training:
        orders = [training.held_out, training.held_out[::-1], training.held_out[::2] + training.held_out[1::2]]
        losses = [
            evaluate(training.forward, rows, training.budget.tokens, lambda *_: None).eval_loss
            for rows in (*orders, *orders[:1])
        ]
    with training.forward.as_loaded():
        assert losses == pytest.approx([plain_loss(training.model.eval(), plain_rows(run)[1])] * 4, rel=1e-6)
    assert losses[0] == losses[3]


@pytest.mark.parametrize("pad_token", ["<pad>", "</s>"])
def test_end_of_sequence_is_among_the_targets_of_every_row(pad_token: str) -> None:
    tokenizer = make_tokenizer(pad_token)
    rows = [AlpacaRow("Say it", "a lamp"), AlpacaRow("Say it", "a lamp is a lamp and a lamp is a lamp")]
    examples = tokenise(rows, tokenizer, DataSpec(path="rows.json")).examples
    batch = pad(examples, CPU)
    ends = [token for token in batch.targets.tolist() if token == tokenizer.eos_token_id]
    assert len(ends) == 2
    assert len(batch.logit_positions) == len(batch.targets) == sum(example.supervised_tokens for example in examples)
    assert batch.attention_mask is not None
    assert batch.attention_mask.sum(dim=1).tolist() == [len(example) for example in examples]


TOKENIZER = make_tokenizer()


def text_of(tokens: torch.Tensor) -> str:
    """Return the text of the tokens."""
    return str(TOKENIZER.decode(tokens, clean_up_tokenization_spaces=False))


@given(instruction=st.text(), given_input=st.text(), output=st.text(min_size=1))
def test_tokens_hold_the_text_of_the_row_and_the_response_is_supervised(
    instruction: str, given_input: str, output: str
) -> None:
    row = AlpacaRow(instruction, output, given_input)
    (example,) = tokenise([row], TOKENIZER, DataSpec(path="rows.json")).examples
    whole = text_of(example.tokens)
    assert whole.removesuffix("</s>") == (render_prompt(row) + output).removesuffix("</s>")
    learned = text_of(example.tokens[example.supervised])
    assert learned.removesuffix("</s>").endswith(output.removesuffix("</s>"))
    assert example.supervised_tokens >= 1


def test_adapter_weights_are_those_of_the_last_checkpoint_of_a_round_that_ends_on_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=1.0, train__save_strategy="epoch")
    train_here(run)
    weights = "adapter_model.safetensors"
    ours, theirs = load_file(run.adapter / weights), load_file(run.checkpoints / "checkpoint-9" / weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs) and ours.keys() == theirs.keys()
