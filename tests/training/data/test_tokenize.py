"""Tokenization of rows: supervised tokens, cutting, rows left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import transformers
from transformers import AutoTokenizer

from engine.dataset.rows import AlpacaRow, PlainText, PromptCompletion, Row
from engine.dataset.templates import render_prompt
from engine.errors import SpecError
from engine.runs.events import Evaluated, Prepared
from engine.spec.data import DataSpec
from engine.spec.plan import make_plan, split_sizes
from engine.spec.presets import embedded_model
from engine.training.data.batching import padded_batches_of, step_rows
from engine.training.data.cut import cut
from engine.training.data.tokenize import Example, split, tokenise
from tests.support.rounds_to_train import (
    make_example,
    make_rows,
    make_run,
    spec_of,
    steps_of,
    train_here,
    warned_in,
    write_rows,
)
from tests.support.tiny_model import make_tokenizer


def tokenised(tokenizer: Any, *rows: Row, **settings: Any) -> list[Example]:
    data = DataSpec(path="rows.json", **settings)
    return tokenise(rows, tokenizer, data).examples


def test_prompts_are_alpacas() -> None:
    assert render_prompt(AlpacaRow("Add {x}", "4", "2 and 2")) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd {x}\n\n### Input:\n2 and 2\n\n"
        "### Response:\n"
    )
    assert render_prompt(AlpacaRow("Add", "4")) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd\n\n### Response:\n"
    )


def test_response_and_its_end_are_supervised() -> None:
    tokenizer = make_tokenizer()
    (example,) = tokenised(tokenizer, AlpacaRow("Say it", "a lamp"))
    assert tokenizer.decode(example.tokens[example.supervised]) == "a lamp</s>"
    assert tokenizer.decode(example.tokens[~example.supervised]) == render_prompt(AlpacaRow("Say it", ""))
    (example,) = tokenised(tokenizer, AlpacaRow("Say it", "a lamp"), supervised_tokens="all")
    assert example.supervised_tokens == len(example) - 1


@pytest.mark.parametrize("template", ["{0}:0 $A", "$A {1}:0", "{0}:0 $A {1}:0"])
def test_tokens_the_tokenizer_adds_stay_at_the_ends(template: str) -> None:
    """A start token is kept, an end token never comes between prompt and response nor twice after it."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    template = template.format("<pad>", "</s>")  # `<pad>` stands in for a start token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<pad>", 1), ("</s>", 0)]
    )
    (example,) = tokenised(tokenizer, AlpacaRow("Say it", "a lamp"))
    text = tokenizer.decode(example.tokens)
    start = "<pad>" if "<pad>" in template else ""
    assert text == start + render_prompt(AlpacaRow("Say it", "")) + "a lamp</s>"
    assert tokenizer.decode(example.tokens[example.supervised]) == "a lamp</s>"


def test_rows_that_are_cut_or_lose_their_response_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, data__max_length=60, train__num_train_epochs=1.0)
    examples = _all_examples()
    long = sum(len(example) > 60 for example in examples)
    dropped = sum(not example.supervised[:60].any() for example in examples)
    assert 1 < dropped < long < 40
    events = train_here(run)
    assert warned_in(events) == [
        f"{long} of 40 rows are longer than data.max_length 60 tokens and were cut",
        f"{dropped} of 40 rows were left out: cut at data.max_length 60 tokens, they have no supervised token",
    ]
    prepared = next(event for event in events if isinstance(event, Prepared))
    plan = make_plan(spec_of(run), 40 - dropped)
    assert (prepared.train_samples, prepared.eval_samples) == split_sizes(40 - dropped, 0.1)
    assert (prepared.total_steps, prepared.steps_per_epoch) == (plan.total_steps, plan.steps_per_epoch)
    assert len(steps_of(events)) == plan.total_steps


def _all_examples() -> list[Example]:
    return tokenised(make_tokenizer(), *(AlpacaRow(**row) for row in make_rows()))


def test_one_row_is_reported_in_the_singular() -> None:
    examples = [make_example(range(length), 4) for length in (5, 6, 9)]
    assert cut(examples, 6).warnings(6) == ["1 of 3 rows is longer than data.max_length 6 tokens and was cut"]


def test_too_few_rows_with_a_supervised_token_end_the_round() -> None:
    with pytest.raises(SpecError, match=r"data.max_length is 8 tokens: cut there, 0 of 2 rows have a"):
        cut([make_example(range(20), 10)] * 2, 8)


def test_rows_that_cannot_be_used_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=0.2)
    rows: list[Any] = make_rows()
    rows[3] = {"instruction": "Say nothing", "input": "", "output": " "}
    write_rows(Path(spec_of(run).data.path), rows)
    events = train_here(run)
    assert warned_in(events) == ["1 row was left out; the first is row 4: its output is empty"]
    prepared = next(event for event in events if isinstance(event, Prepared))
    assert (prepared.train_samples, prepared.data_format) == (35, "alpaca")


def test_split_is_the_datasets_librarys() -> None:
    examples = [make_example([number, 0], 1) for number in range(50)]
    theirs = datasets.Dataset.from_dict({"n": range(50)}).train_test_split(test_size=0.13, seed=5)
    train, held_out = split(examples, DataSpec(path="rows", eval_fraction=0.13, seed=5))
    assert [example.tokens[0] for example in train] == theirs["train"]["n"]
    assert [example.tokens[0] for example in held_out] == theirs["test"]["n"]
    assert (len(train), len(held_out)) == split_sizes(50, 0.13)


def test_held_out_rows_that_are_trained_on_too_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=0.1, data__eval_fraction=0.5)
    write_rows(Path(spec_of(run).data.path), [{"text": "a lamp"}] * 6)
    assert warned_in(train_here(run)) == [
        "3 of 3 held-out rows are in the training rows too, token for token, and make the perplexity look lower: "
        "set data.drop_copies to true to train without them"
    ]


def test_start_token_that_the_text_has_is_not_added_again() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(embedded_model())
    begin = tokenizer.bos_token
    rows: list[Row] = [PlainText(f"{begin}a lamp"), PlainText("a lamp"), PromptCompletion(f"{begin}Say: ", "a lamp")]
    done = tokenise(rows, tokenizer, DataSpec(path="rows.json"))
    texts = [f"{begin}a lamp", f"{begin}a lamp", f"{begin}Say: a lamp"]
    assert [tokenizer.decode(example.tokens) for example in done.examples] == [f"{text}</s>" for text in texts]
    assert [example.tokens.tolist().count(tokenizer.bos_token_id) for example in done.examples] == [1, 1, 1]
    assert done.warnings == ("2 of 3 rows begin with the start token: the tokenizer does not add a second one",)


def test_order_of_rows_follows_from_seed_and_step_alone() -> None:
    epochs = [[row for step in range(first, first + 4) for row in step_rows(step, 10, 3, seed=1)] for first in (1, 5)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    assert len(step_rows(4, 10, 3, seed=1)) == 1  # the epoch's last step takes the rest
    assert step_rows(1, 10, 3, seed=1) != step_rows(1, 10, 3, seed=2)
    assert step_rows(1, 10, 3, seed=2**32 - 1)


def test_evaluation_batches_keep_to_their_budget() -> None:
    examples = [make_example(range(length), 1) for length in (50, 3, 9, 4, 8, 200)]
    batches = padded_batches_of(examples, 20)
    assert [[len(example) for example in batch] for batch in batches] == [[3, 4], [8, 9], [50], [200]]


def test_evaluations_count_every_supervised_token_once(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, data__eval_fraction=0.95, train__num_train_epochs=1.0)
    events = train_here(run)
    _, held_out = split(_all_examples(), spec_of(run).data)
    counted = {event.supervised_tokens for event in events if isinstance(event, Evaluated)}
    assert counted == {sum(example.supervised_tokens for example in held_out)}


# Answers of the hub, without the hub.


def test_tokenizers_warning_about_length_is_not_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 8
    transformers.logging.set_verbosity_warning()
    tokenised(tokenizer, AlpacaRow("Say it", "a lamp " * 20))
    assert "longer than the specified maximum" not in capfd.readouterr().err
