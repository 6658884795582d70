"""Every kind of adapter scores in plain peft, on the original base model, what the round reports."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from engine.files.paths import RunDir
from engine.training.model.pissa import read_plain
from tests.support.plain import evaluations_of, load, plain_eval_loss, result_loss
from tests.support.rounds_to_train import assert_resumed_exactly, fail_here, figures_of, make_run, train_here
from tests.support.tiny_model import write_model

ADAPTERS: dict[str, dict[str, object]] = {
    "rslora": {"lora__use_rslora": True, "lora__r": 16},
    "dora": {"lora__use_dora": True},
    "dora on biases and both ends": {
        "lora__use_dora": True,
        "lora__bias": "all",
        "lora__target_modules": ("embed_tokens", "v_proj", "lm_head"),
    },
    "gaussian": {"lora__init_lora_weights": "gaussian"},
    "regular expression": {"lora__target_modules": r".*\.[01]\.(self_attn\.[qv]|mlp\.up)_proj"},
    "modules in full": {
        "lora__exclude_modules": r".*\.1\..*",
        "lora__modules_to_save": ("embed_tokens", "lm_head", "norm"),
        "lora__bias": "lora_only",
    },
    "all but some": {"lora__exclude_modules": ("mlp.up_proj", "o_proj"), "lora__modules_to_save": ("layers.1.mlp",)},
    "tokens": {"lora__trainable_token_indices": (70, "</s>", 71), "lora__lora_dropout": 0.0},
    "lora+ and tokens": {"lora__loraplus_lr_ratio": 8.0, "lora__trainable_token_indices": (70, "</s>", 71)},
    "lora+": {"lora__loraplus_lr_ratio": 8.0, "lora__bias": "lora_only"},
    "pissa": {"lora__init_lora_weights": "pissa", "train__learning_rate": 3e-3},
    "fast pissa": {"lora__init_lora_weights": "pissa_niter_16", "train__learning_rate": 3e-3},
    "pissa with all else": {
        "lora__init_lora_weights": "pissa",
        "lora__use_rslora": True,
        "lora__use_dora": True,
        "lora__bias": "all",
        "train__learning_rate": 3e-3,
    },
}
KINDS = pytest.mark.parametrize("settings", ADAPTERS.values(), ids=ADAPTERS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that has biases to train."""
    return write_model(tmp_path_factory.mktemp("model") / "biased", attention_bias=True)


@pytest.mark.sample(4)
@KINDS
def test_adapter_scores_in_plain_peft_what_the_round_says(
    model: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    run = make_run(tmp_path / "run", model, **settings)
    events = train_here(run)
    evaluated = evaluations_of(events)
    assert evaluated[0].eval_loss == pytest.approx(plain_eval_loss(load(model), model, run)[0], rel=1e-5)
    assert (result := result_loss(events)) < (evaluated[0].eval_loss or 0) - 0.5
    tuned = PeftModel.from_pretrained(load(model), run.adapter).eval()
    assert plain_eval_loss(tuned, model, run)[0] == pytest.approx(result, rel=2e-5)
    at_18 = PeftModel.from_pretrained(load(model), run.checkpoint(18)).eval()
    assert plain_eval_loss(at_18, model, run)[0] == pytest.approx(evaluated[18].eval_loss, rel=2e-5)


@pytest.mark.sample(3)
@KINDS
def test_it_resumes_exactly(model: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    assert_resumed_exactly(model, tmp_path, **settings)


def test_rslora_scales_by_the_root_of_the_rank(model: Path, tmp_path: Path) -> None:
    """At r 16 it equals a plain adapter of four times the alpha."""
    alike = [
        {"lora__use_rslora": True, "lora__lora_alpha": 8},
        {"lora__use_rslora": False, "lora__lora_alpha": 32},
    ]
    runs = [
        train_here(make_run(tmp_path / str(index), model, lora__r=16, **settings))
        for index, settings in enumerate(alike)
    ]
    assert figures_of(runs[0]) == figures_of(runs[1])


def test_pissa_starts_from_the_largest_singular_values(model: Path, tmp_path: Path) -> None:
    settings: dict[str, object] = {"lora__r": 4, "lora__lora_dropout": 0.0, "train__num_train_epochs": 0.2}
    run = make_run(tmp_path / "run", model, lora__init_lora_weights="pissa", **settings)
    first, plain = (
        figures_of(train_here(each))[0][1] for each in (run, make_run(tmp_path / "plain", model, **settings))
    )
    assert first == pytest.approx(plain, rel=1e-5)
    _, initial = read_plain(load_file(run.adapter / "adapter_model.safetensors"))
    base = load_file(model / "model.safetensors")
    name = "model.layers.1.mlp.up_proj"
    ours = initial[f"base_model.model.{name}.lora_B.weight"] @ initial[f"base_model.model.{name}.lora_A.weight"]
    u, s, v = torch.linalg.svd(base[f"{name}.weight"].double(), full_matrices=False)
    principal = u[:, :4] @ torch.diag(s[:4]) @ v[:4]
    torch.testing.assert_close((32 / 4) * ours.double(), principal, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rslora", [False, True])
def test_pissa_is_written_as_peft_converts_it(model: Path, tmp_path: Path, rslora: bool) -> None:
    """It has twice the rank and the same scaling."""
    settings = {"lora__init_lora_weights": "pissa", "lora__use_rslora": rslora, "train__num_train_epochs": 0.5}
    run = make_run(tmp_path / "run", model, **settings)
    train_here(run)
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    assert (config["r"], config["init_lora_weights"]) == (8, True)
    scaling = config["lora_alpha"] / (math.sqrt(config["r"]) if rslora else config["r"])
    assert scaling == pytest.approx(32 / (math.sqrt(4) if rslora else 4))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"lora__target_modules": ("embed_tokens", "v_proj")},
            "lora.init_lora_weights is pissa, which cannot split the embedding: take model.embed_tokens out of "
            "lora.target_modules, or set lora.init_lora_weights to true",
        ),
        (
            {"lora__r": 17, "lora__target_modules": ("k_proj",)},
            "lora.init_lora_weights is pissa, but model.layers.0.self_attn.k_proj has only 16 singular values: set "
            "lora.r, which is 17, to at most that",
        ),
        (
            {"model__dtype": "bfloat16"},
            "lora.init_lora_weights is pissa, which splits the base weights, and in bfloat16 the parts do not add up "
            "to them exactly: set model.dtype to float32",
        ),
    ],
)
def test_impossible_pissa_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], sentence: str
) -> None:
    run = make_run(tmp_path / "run", model, lora__init_lora_weights="pissa", **settings)
    assert fail_here(run, monkeypatch) == sentence


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_head_that_shares_the_embeddings_weights_is_not_split(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tied: Any = load(model)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    directory = tmp_path / "tied"
    tied.save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((model / file).read_bytes())
    run = make_run(tmp_path / "run", directory, lora__init_lora_weights="pissa", lora__target_modules=("lm_head",))
    assert "cannot split the embedding: take lm_head out of" in fail_here(run, monkeypatch)


def test_adapter_directory_of_a_stopped_round_loads_too(model: Path, tmp_path: Path) -> None:
    run: RunDir = make_run(tmp_path / "run", model, lora__init_lora_weights="pissa", train__learning_rate=3e-3)
    train_here(run, stop_after=9)
    stopped = PeftModel.from_pretrained(load(model), run.adapter).eval()
    loss = plain_eval_loss(stopped, model, run)[0]
    evaluated = evaluations_of(train_here(run, resume=True))
    assert loss == pytest.approx(evaluated[9].eval_loss, rel=2e-5)
