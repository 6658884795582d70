"""The preview against the engine: what it shows is what is trained on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from engine.dataset.preview import Preview, Previewer
from engine.errors import LoratuiError
from engine.spec.presets import EMBEDDED, embedded_model
from engine.spec.schema import Spec
from engine.training.data.load import load_rows
from engine.training.data.tokenize import tokenise
from engine.training.workers.preview import RowPreviews, segments_of
from tests.support.rounds import make_spec
from tests.support.rounds_to_train import as_in_the_engine, make_rows, write_rows
from tests.support.tiny_model import make_tokenizer

TALK = {"messages": [{"role": "user", "content": "Say 🌉"}, {"role": "assistant", "content": "A bridge 🌉"}]}
TOKENIZERS: dict[str, Any] = {"tiny": make_tokenizer(), "nano": AutoTokenizer.from_pretrained(embedded_model())}


def spec_of_rows(file: Path, rows: list[dict[str, Any]], **settings: object) -> Spec:
    own: dict[str, Any] = {"model__path": EMBEDDED, "data__path": str(write_rows(file, rows)), "data__samples": None}
    return make_spec(**own | {"data__max_length": 256} | settings)


def preview_here(spec: Spec, row: int = 1) -> Preview:
    with as_in_the_engine():
        return RowPreviews(spec).show(row)


@given(st.sampled_from(sorted(TOKENIZERS)), st.text(), st.data(), st.integers(min_value=1, max_value=40))
def test_segments_are_the_text_letter_for_letter(name: str, text: str, data: st.DataObject, max_length: int) -> None:
    """Wherever they are divided, even within a letter."""
    tokens = TOKENIZERS[name](text + "🌉").input_ids
    supervised = data.draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens)))
    segments = segments_of(TOKENIZERS[name], tokens, supervised, max_length)
    whole = TOKENIZERS[name].decode(tokens, clean_up_tokenization_spaces=False)
    assert "".join(segment.text for segment in segments) == whole
    flags = list(zip(supervised, (position >= max_length for position in range(len(tokens))), strict=True))
    runs = [flag for index, flag in enumerate(flags) if index == 0 or flags[index - 1] != flag]
    assert [(segment.supervised, segment.cut) for segment in segments] == runs


@pytest.mark.parametrize("rows", [make_rows(8), [TALK] * 3], ids=["alpaca", "messages"])
def test_row_is_shown_as_it_is_trained_on(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    spec = spec_of_rows(tmp_path / "rows.jsonl", rows)
    tokenizer: Any = AutoTokenizer.from_pretrained(embedded_model())
    examples = tokenise(load_rows(spec.data).usable, tokenizer, spec.data).examples
    lengths = [len(example) for example in examples]
    with as_in_the_engine():
        previews = RowPreviews(spec)
    for number, example in enumerate(examples, 1):
        shown = previews.show(number)
        learned = "".join(segment.text for segment in shown.segments if segment.supervised)
        assert learned == tokenizer.decode(example.tokens[example.supervised])
        assert "".join(segment.text for segment in shown.segments) == tokenizer.decode(example.tokens)
        assert (shown.tokens, shown.supervised_tokens) == (len(example), int(torch.sum(example.supervised)))
        assert (shown.row, shown.rows, shown.left_out, shown.problem) == (number, len(rows), 0, None)
        assert (shown.measured, shown.longest, shown.longer) == (len(rows), max(lengths), 0)
        assert (shown.shortest, sum(shown.histogram)) == (min(lengths), len(rows))


def test_rows_left_out_are_shown_with_the_reason(tmp_path: Path) -> None:
    rows = make_rows(6)
    rows[2]["output"] = ""
    spec = spec_of_rows(tmp_path / "rows.jsonl", rows)
    shown = preview_here(spec, 3)
    assert (shown.problem, shown.segments, shown.left_out) == ("its output is empty", (), 1)
    assert shown.warnings == ("1 row was left out; the first is row 3: its output is empty",)
    assert preview_here(spec, 4).problem is None
    assert (preview_here(spec, 99).row, preview_here(spec, -1).row) == (6, 1)


def test_cut_is_shown(tmp_path: Path) -> None:
    spec = spec_of_rows(tmp_path / "rows.jsonl", make_rows(6), data__max_length=80)
    with as_in_the_engine():
        previews = RowPreviews(spec)
    shown = [previews.show(number) for number in range(1, 7)]
    assert shown[0].longer == sum(row.tokens > 80 for row in shown) > 0
    for row in shown:
        uncut = "".join(segment.text for segment in row.segments if not segment.cut)
        whole = "".join(segment.text for segment in row.segments)
        assert TOKENIZERS["nano"].decode(TOKENIZERS["nano"](whole, add_special_tokens=False).input_ids[:80]) == uncut
    short = preview_here(spec_of_rows(tmp_path / "short.jsonl", make_rows(6), data__max_length=8))
    assert short.problem == "cut at data.max_length 8 tokens, it has no supervised token"


def test_refusal_of_the_chat_template_is_shown_at_its_row(tmp_path: Path) -> None:
    refused = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 2}
    model = shutil.copytree(embedded_model(), tmp_path / "model")
    (model / "chat_template.jinja").write_text(
        "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}{{ messages[-1]['content'] }}"
    )
    spec = spec_of_rows(tmp_path / "rows.jsonl", [TALK, refused, TALK], model__path=str(model))
    assert preview_here(spec, 1).problem is None
    shown = preview_here(spec, 2)
    assert shown.problem == "the chat template refuses it: too long"
    assert shown.warnings == ("1 of 3 rows was left out; the first because the chat template refuses it: too long",)


def test_process_answers_row_after_row(tmp_path: Path) -> None:
    spec = spec_of_rows(tmp_path / "rows.jsonl", [TALK] * 3)
    with Previewer(spec) as previewer:
        answers = [previewer.show(number) for number in (2, 3, 1)]
    assert answers == [preview_here(spec, number) for number in (2, 3, 1)]
    assert answers[0].format.name == "messages"
    assert answers[0].warnings[0].startswith("the tokenizer has no chat template")
    assert previewer._process.returncode is not None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data__path": "/no/such/rows.csv"}, "data.path is '/no/such/rows.csv': no such file or directory"),
        ({"model__path": "/no/such/model"}, "model.path is '/no/such/model': it has no tokenizer"),
        ({"data__path": "somebody/rows"}, "data.path is 'somebody/rows': the Hugging Face hub cannot be reached"),
        ({"model__path": "somebody/model"}, "model.path is 'somebody/model': its tokenizer cannot be loaded"),
    ],
)
def test_spec_that_cannot_be_previewed_is_refused_in_a_sentence(
    tmp_path: Path, forked_workers: None, settings: dict[str, object], sentence: str
) -> None:
    """The hub is out of reach, as it is for forked processes."""
    with (
        Previewer(spec_of_rows(tmp_path / "rows.jsonl", make_rows(3), **settings)) as previewer,
        pytest.raises(LoratuiError) as caught,
    ):
        previewer.show(1)
    assert caught.value.message.startswith(sentence) and "\n" not in caught.value.message


def test_death_of_the_process_is_reported_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    with (
        Previewer(spec_of_rows(tmp_path / "rows.jsonl", make_rows(3))) as previewer,
        pytest.raises(LoratuiError, match=r"the preview ended without an answer: \S+"),
    ):
        previewer.show(1)


def test_answers_are_json_of_a_line_each(tmp_path: Path, forked_workers: None) -> None:
    """Whatever a row holds, line breaks and control characters too."""
    rows = [{"prompt": "a\r\n\u2028\x1b[31m", "completion": "b\x00\n\x85"}] * 2
    with Previewer(spec_of_rows(tmp_path / "rows.jsonl", rows)) as previewer:
        shown = previewer.show(1)
    assert "".join(segment.text for segment in shown.segments).startswith("<s>a\r\n\u2028\x1b[31mb")
