"""The model card, read back by the hub's own reader and by a Markdown parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from huggingface_hub import ModelCard

from engine.files.paths import RunDir
from engine.runs.events import AnyEvent, Finished
from engine.spec.round import Result
from engine.training.model.model_card import RoundNames, model_card, public_name
from tests.support.markdown import COMMENT, HOSTILE, flat, folded, parse, tables_of, text_of
from tests.support.rounds import make_spec
from tests.support.rounds_to_train import make_run, spec_of, train_here


def test_card_beside_the_adapter_has_its_results_and_settings(reference: tuple[RunDir, list[AnyEvent]]) -> None:
    run, events = reference
    last = events[-1]
    assert isinstance(last, Finished)
    card = ModelCard.load(run.adapter / "README.md")
    assert card.data.library_name == "peft" and card.data.base_model == "tiny"
    assert card.data.pipeline_tag == "text-generation" and {"lora", "transformers"} <= set(card.data.tags or [])
    metrics = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert metrics == {"loss": last.result.eval_loss, "perplexity": last.result.perplexity}
    results, settings = (dict(table[1:]) for table in tables_of(card.text))
    assert results["eval loss"] == f"{last.result.eval_loss:.4f}"
    assert settings["lora.r"] == "4" and settings["train.learning_rate"] == "0.01"
    assert settings["model.path"] == "tiny" and settings["data.path"] == "rows.jsonl"
    assert "after step 20 of 20" in card.text
    assert str(Path(spec_of(run).model.path).parent) not in card.content and str(run.path) not in card.content


def test_card_of_a_stopped_round_has_no_missing_result(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=12)
    card = ModelCard.load(run.adapter / "README.md")
    assert not card.data.eval_results and "after step 12 of 20" in card.text
    results = dict(tables_of(card.text)[0][1:])
    assert "perplexity" not in results and "perplexity of the base model" in results
    (run.adapter / "README.md").unlink()
    train_here(run, resume=True)
    assert "after step 20 of 20" in (run.adapter / "README.md").read_text()


def test_name_and_note_are_those_the_round_has_at_its_end(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=0.1)
    described = {"id": "x", "number": 12, "name": "wider", "note": "more rank", "spec": spec_of(run)}
    run.spec.write_bytes(msgspec.json.encode(described))
    train_here(run)
    text = (run.adapter / "README.md").read_text()
    assert "# wider\n" in text and "(round 12)" in text and "\n\nWhy: more rank\n\n" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    spec = make_spec(model__path=text, data__path=text)
    card = ModelCard(model_card(spec, RoundNames(1, text, text), Result(perplexity=3.0), 1, 2))
    data: Any = card.data
    assert data.model_name == folded(text)
    tokens = flat(parse(card.text))
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2", "h2", "h2"]
    assert not [token for token in tokens if token.type in ("link_open", "image", "html_block")]
    assert {token.content for token in tokens if token.type == "html_inline"} <= {COMMENT}
    inline = [text_of(token) for token in tokens if token.type == "inline"]
    assert inline[0] == folded(text) and inline[2] == f"Why: {folded(text)}"
    (code,) = (token.content for token in tokens if token.type == "fence")
    compile(code, "README.md", "exec")


@pytest.mark.parametrize(
    ("path", "name", "loaded"),
    [
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", True),
        ("gpt2", "gpt2", True),
        ("/home/somebody/models/Tiny-1.1B", "Tiny-1.1B", False),
        ("embedded:nano", "nano", False),
        ('x")\nevil("', 'x")\nevil("', False),
    ],
)
def test_base_model_is_named_without_its_directory(path: str, name: str, loaded: bool) -> None:
    card = model_card(make_spec(model__path=path), RoundNames(), Result(), 1, 1)
    assert public_name(path) == " ".join(name.split())
    assert (f'from_pretrained("{path}")' in card) is loaded
    assert "/home/somebody" not in card
    assert ('"path/to/the/base/model"' in card) is not loaded


def test_card_of_a_quantised_round_loads_the_base_as_it_was_trained() -> None:
    card = model_card(make_spec(model__load_in_4bit=True), RoundNames(), Result(), 1, 1)
    (code,) = (token.content for token in flat(parse(ModelCard(card).text)) if token.type == "fence")
    compile(code, "README.md", "exec")
    assert "quantization_config=BitsAndBytesConfig(load_in_4bit=True" in code
