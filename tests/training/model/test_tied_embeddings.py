"""Adapters on embeddings that share their weights: warned of, and merged into the base where plain peft can do so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from engine.preflight import checks
from engine.preflight.tied_embeddings import INPUT, OUTPUT, adapted_alone, saved_alone, tied_warnings
from engine.spec.lora import LoraSpec
from tests.support.plain import load, plain_eval_loss, result_loss
from tests.support.rounds_to_train import make_run, spec_of, train_here, warned_in
from tests.support.tiny_model import write_model

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*tie_word_embeddings=True", "ignore:Input and output embeddings are no longer tied"
)
SHORT: dict[str, object] = {"train__num_train_epochs": 0.5, "train__sample_tokens": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tied", tie_word_embeddings=True)


@pytest.mark.parametrize(
    ("settings", "warnings", "can_be_merged"),
    [
        ({"lora__target_modules": ("embed_tokens", "v_proj")}, [adapted_alone("embed_tokens", OUTPUT)], False),
        ({"lora__target_modules": r".*(lm_head|v_proj)"}, [adapted_alone("lm_head", INPUT)], False),
        ({"lora__modules_to_save": ("lm_head",)}, [saved_alone("lm_head", INPUT)], True),
        ({"lora__modules_to_save": ("model.embed_tokens",)}, [saved_alone("embed_tokens", OUTPUT)], True),
        ({"lora__modules_to_save": ("embed_tokens", "lm_head")}, [], True),
    ],
)
def test_embedding_that_is_adapted_alone_is_warned_of_and_the_others_are_merged(
    model: Path, tmp_path: Path, settings: dict[str, object], warnings: list[str], can_be_merged: bool
) -> None:
    run = make_run(tmp_path / "run", model, **settings, **SHORT)
    assert [each for each in checks.check(spec_of(run)).warnings if "embed" in each or "head" in each] == warnings
    events = train_here(run)
    assert warned_in(events) == warnings
    tuned: Any = PeftModel.from_pretrained(load(model), run.adapter).eval()
    assert plain_eval_loss(tuned, model, run)[0] == pytest.approx(result_loss(events), rel=2e-5)
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        unmerged = tuned(tokens).logits
        merged = tuned.merge_and_unload()(tokens).logits
    assert torch.allclose(merged, unmerged, atol=1e-3) is can_be_merged


@pytest.mark.parametrize("tied", [True, False])
def test_untied_embeddings_are_not_warned_of(tmp_path: Path, tied: bool) -> None:
    directory = write_model(tmp_path / "model", tie_word_embeddings=tied)
    lora = LoraSpec(target_modules=("lm_head",), modules_to_save=("embed_tokens",))
    assert bool(tied_warnings(directory, lora)) is tied
    config = directory / "config.json"
    config.write_text(config.read_text().replace("tie_word_embeddings", "other"))
    assert bool(tied_warnings(directory, lora)) is tied, "the weights have a head of their own, or not"
