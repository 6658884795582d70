"""Measured lengths against the examples that the engine trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.planning.row_lengths import RowLengths, trained_rows
from engine.spec.plan import plan_steps
from engine.spec.presets import EMBEDDED, embedded_model
from engine.spec.schema import Spec
from engine.training.data.chat_templates import choose_chat_template
from engine.training.data.cut import cut
from engine.training.data.load import load_sets
from engine.training.data.tokenize import Example, mix, split, tokenise
from engine.training.workers.row_lengths import measure
from tests.support.rounds import make_spec
from tests.support.rounds_to_train import as_in_the_engine, make_rows, write_rows

TALKS = [
    {"messages": [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": "A bridge " * number}]}
    for number in range(1, 30)
]
TEXTS = [{"text": "The bridge is long. " * number} for number in range(1, 20)]


def spec_of(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> Spec:
    own: dict[str, Any] = {
        "model__path": EMBEDDED, "data__path": str(write_rows(tmp_path / "rows.jsonl", rows)), "data__samples": None,
        "data__max_length": 64, "data__eval_fraction": 0.0, "train__num_train_epochs": 2, "train__max_steps": None,
    }  # fmt: skip
    return make_spec(**own | settings)


def measured(spec: Spec, most: int = 10_000) -> RowLengths:
    with as_in_the_engine():
        return measure(spec, most)


def examples_of(spec: Spec) -> list[Example]:
    """The examples of an epoch, by the engine's own functions."""
    tokenizer: Any = AutoTokenizer.from_pretrained(embedded_model())
    choose_chat_template(tokenizer, spec.data)
    parts = []
    for rows in load_sets(spec.data):
        examples = tokenise(rows.usable, tokenizer, spec.data).examples
        shortened = cut(examples, spec.data.max_length, in_windows=rows.format.name == "text")
        parts.append(split(shortened.examples, spec.data)[0])
    return mix(parts, spec.data)


@pytest.mark.parametrize("rows", [make_rows(40), TALKS, TEXTS], ids=["alpaca", "messages", "text"])
def test_tokens_are_those_that_the_engine_trains_on(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    spec = spec_of(tmp_path, rows)
    examples = examples_of(spec)
    of_round = trained_rows(spec, plan_steps(spec, len(examples), 0), measured(spec))
    assert of_round is not None and of_round.are_all
    assert of_round.counts == (len(examples),)
    assert of_round.tokens == 2 * sum(map(len, examples))
    assert of_round.longest_example == max(map(len, examples))


def test_rows_are_rendered_as_those_that_are_mixed_in_ask_for(tmp_path: Path) -> None:
    """Beside conversations the other rows are written by the chat template too."""
    spec = spec_of(tmp_path, make_rows(40), data__mix=str(write_rows(tmp_path / "talks.jsonl", TALKS)))
    examples = examples_of(spec)
    of_round = trained_rows(spec, plan_steps(spec, len(examples), 0), measured(spec))
    assert of_round is not None
    assert (of_round.counts, of_round.tokens) == ((40, 29), 2 * sum(map(len, examples)))


def test_measured_rows_lie_evenly_spread(tmp_path: Path) -> None:
    """Of 29 rows every fourth: the lengths of the first, the fifth, and so on."""
    spec = spec_of(tmp_path, TALKS)
    (whole,), (some,) = measured(spec).sets, measured(spec, 8).sets
    assert some.lengths == whole.lengths[::4]
    assert (whole.rows, some.rows) == (29, 29)


def test_separate_held_out_set_is_not_trained_on(tmp_path: Path) -> None:
    held_out = write_rows(tmp_path / "held_out.jsonl", TALKS[:5])
    assert len(measured(spec_of(tmp_path, TALKS, data__eval_path=str(held_out))).sets) == 1
