"""The tokenizer beside an adapter: the base model's own files where they give the same tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.spec.schema import ModelSpec
from engine.training.model.loading import load_tokenizer
from engine.training.model.tokenizer_files import CONFIG, TEMPLATE, save_tokenizer
from tests.support.rounds_to_train import make_run, train_here
from tests.support.tiny_model import make_tokenizer, write_model

OLD = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<pad>", "clean_up": False}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tokenizer as an earlier version of transformers wrote it, with its template in its configuration."""
    directory = tmp_path / "base"
    make_tokenizer().save_pretrained(directory)
    (directory / CONFIG).write_text(json.dumps(OLD | {"chat_template": "{{ messages[0].content }}"}))
    (directory / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>", "pad_token": "<pad>"}))
    return directory


def saved(base: Path, out: Path, template: str | None = None) -> dict[str, bytes]:
    """Save the tokenizer of `base`, with another template if one is given; return the files."""
    model = ModelSpec(str(base))
    tokenizer = load_tokenizer(model)
    if template is not None:
        tokenizer.chat_template = template
    out.mkdir()
    save_tokenizer(tokenizer, model, out)
    return {file.name: file.read_bytes() for file in out.iterdir()}


def test_files_are_those_of_the_base(base: Path, tmp_path: Path) -> None:
    assert saved(base, tmp_path / "out") == {file.name: file.read_bytes() for file in base.iterdir()}


def test_file_with_another_class_than_the_loaded_one_is_kept(base: Path, tmp_path: Path) -> None:
    """Earlier versions know `PreTrainedTokenizerFast`; this one writes another name for it."""
    saved(base, tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    load_tokenizer(ModelSpec(str(base))).save_pretrained(tmp_path / "theirs")
    theirs = json.loads((tmp_path / "theirs" / CONFIG).read_text())["tokenizer_class"]
    assert theirs != "PreTrainedTokenizerFast", "or the files of the base need not be kept"


@pytest.mark.parametrize("in_file", [True, False])
def test_another_chat_template_is_saved_where_the_base_has_its_own(base: Path, tmp_path: Path, in_file: bool) -> None:
    if in_file:
        (base / CONFIG).write_text(json.dumps(OLD))
        (base / TEMPLATE).write_text("{{ messages[0].content }}")
    files = saved(base, tmp_path / "out", "{{ messages }}")
    again: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.chat_template == "{{ messages }}"
    assert files["tokenizer.json"] == (base / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("damage", ["class", "class unknown", "end"])
def test_files_that_do_not_load_alike_by_themselves_are_written_anew(base: Path, tmp_path: Path, damage: str) -> None:
    """A config.json may name the class, or a tokenizer be changed after it was loaded."""
    model = ModelSpec(str(base))
    tokenizer = load_tokenizer(model)
    config = {"class": {"eos_token": "</s>"}, "class unknown": OLD | {"tokenizer_class": "Odd"}}.get(damage, OLD)
    (base / CONFIG).write_text(json.dumps(config))
    if damage == "end":
        tokenizer.eos_token = "<pad>"
    out = tmp_path / "out"
    out.mkdir()
    save_tokenizer(tokenizer, model, out)
    again: Any = AutoTokenizer.from_pretrained(out)
    assert (again.eos_token, again.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)
    assert again("one two").input_ids == tokenizer("one two").input_ids


def test_round_saves_the_files_of_its_base(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / CONFIG).write_text(json.dumps(OLD))
    run = make_run(tmp_path / "run", model, train__num_train_epochs=0.2, train__sample_tokens=0)
    train_here(run)
    for directory in (run.adapter, run.checkpoint(1)):
        for name in ("tokenizer.json", CONFIG):
            assert (directory / name).read_bytes() == (model / name).read_bytes()
