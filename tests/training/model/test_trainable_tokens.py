"""Single tokens whose embeddings are trained beside the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaConfig

from engine.errors import SpecError
from engine.preflight import checks
from engine.training.model.adapter import check_adapter
from engine.training.model.trainable_tokens import trainable_tokens
from tests.support.passes import SMALL
from tests.support.plain import evaluations_of, load, plain_eval_loss, result_loss
from tests.support.rounds import make_spec
from tests.support.rounds_to_train import fail_here, make_run, spec_of, train_here
from tests.support.tiny_model import make_tokenizer, write_model

TOKENS = (70, "</s>")
SHORT: dict[str, object] = {"train__num_train_epochs": 0.5, "train__sample_tokens": 0}


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings=True")
@pytest.mark.parametrize("tied", [False, True])
def test_only_their_rows_change_in_both_embeddings_if_these_are_one(tmp_path: Path, tied: bool) -> None:
    model = write_model(tmp_path / "model", tie_word_embeddings=tied)
    run = make_run(tmp_path / "run", model, lora__trainable_token_indices=TOKENS, **SHORT)
    events = train_here(run)
    assert evaluations_of(events)[0].eval_loss == pytest.approx(plain_eval_loss(load(model), model, run)[0], rel=1e-5)
    tuned: Any = PeftModel.from_pretrained(load(model), run.adapter).eval()
    assert plain_eval_loss(tuned, model, run)[0] == pytest.approx(result_loss(events), rel=2e-5)
    base = load(model)
    with torch.no_grad():
        merged = tuned.merge_and_unload()
        changed = [
            (after.weight - before.weight).abs().sum(dim=1).nonzero().flatten().tolist()
            for after, before in (
                (merged.get_input_embeddings(), base.get_input_embeddings()),
                (merged.get_output_embeddings(), base.get_output_embeddings()),
            )
        ]
    end = make_tokenizer().eos_token_id
    assert changed == ([sorted((70, end))] * 2 if tied else [[70], []])
    sizes = {name: tensor.numel() for name, tensor in load_file(run.adapter / "adapter_model.safetensors").items()}
    assert [size for name, size in sizes.items() if "token" in name] == [2 * 32]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"trainable_token_indices": (97,)}, "has 97, and this model embeds the ids from 0 to 96"),
        ({"trainable_token_indices": (-1,)}, "has -1, and this model embeds the ids from 0 to 96"),
        (
            {"trainable_token_indices": (3,), "target_modules": ("q_proj", "embed_tokens")},
            "trains single rows of model.embed_tokens, and lora.target_modules trains all of it: take it out of one",
        ),
        (
            {"trainable_token_indices": (3,), "modules_to_save": ("embed_tokens",)},
            "trains single rows of model.embed_tokens, and lora.modules_to_save trains all of it: take it out of one",
        ),
        (
            {"trainable_token_indices": (3,), "modules_to_save": ("lm_head",)},
            "trains single rows of lm_head, and lora.modules_to_save trains all of it: take it out of one of the two",
        ),
    ],
)
def test_tokens_that_cannot_be_trained_are_refused_from_the_config_alone(
    settings: dict[str, Any], sentence: str
) -> None:
    spec = make_spec(**{f"lora__{name}": value for name, value in settings.items()})
    with pytest.raises(SpecError) as caught:
        check_adapter(spec, LlamaConfig(**SMALL, tie_word_embeddings=True), settings["trainable_token_indices"])
    assert caught.value.message.startswith(f"lora.trainable_token_indices {sentence}")


def test_id_beyond_the_vocabulary_is_refused_before_the_round_is_queued(tmp_path: Path, tiny_model: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, lora__trainable_token_indices=(100_000,))
    with pytest.raises(SpecError, match="has 100000, and this model embeds the ids from"):
        checks.check(spec_of(run))


def test_text_that_is_no_token_is_refused_before_the_model_is_loaded(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model, lora__trainable_token_indices=("</s>", "<|never|>"))
    assert fail_here(run, monkeypatch).startswith(
        "lora.trainable_token_indices has '<|never|>', which is not one token"
    )


def test_tokens_are_found_by_their_text() -> None:
    tokenizer = make_tokenizer()
    lora = make_spec(lora__trainable_token_indices=(7, "</s>", "<pad>", tokenizer.eos_token_id)).lora
    assert trainable_tokens(lora, tokenizer) == [7, tokenizer.eos_token_id, tokenizer.pad_token_id]
