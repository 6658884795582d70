"""The names a base model's modules have, from its weights or, where these are not there, its architecture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.preflight.target_modules import USUAL, model_modules
from engine.spec.presets import EMBEDDED
from tests.support.rounds import LINEAR_MODULES, write_model, write_safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(home: Path, name: str = "org/model") -> Path:
    """Where huggingface_hub keeps a model."""
    snapshot = home / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def test_modules_are_counted_over_all_files(tmp_path: Path) -> None:
    layers = {f"model.layers.{n}.self_attn.q_proj.weight": [4, 4] for n in range(3)}
    write_safetensors(tmp_path / "model-00001-of-00002.safetensors", layers | {"model.embed_tokens.weight": [8, 4]})
    write_safetensors(
        tmp_path / "model-00002-of-00002.safetensors",
        {"model.layers.3.self_attn.q_proj.weight": [4, 4], "model.norm.weight": [4], "lm_head.weight": [8, 4]},
    )
    found = model_modules(str(tmp_path))
    assert found.all_linear == {"q_proj": 4}
    assert found.others == {"embed_tokens": 1, "lm_head": 1}


def test_embedded_model_has_the_names_of_a_llama() -> None:
    assert set(model_modules(EMBEDDED).all_linear) == set(LINEAR_MODULES)
    assert len(set(model_modules(EMBEDDED).all_linear.values())) == 1, "as many of each as there are layers"


def test_model_in_the_hub_cache_is_found(tmp_path: Path) -> None:
    write_model(cached(tmp_path))
    assert model_modules("org/model", {"HF_HOME": str(tmp_path)}).all_linear == dict.fromkeys(LINEAR_MODULES, 1)
    assert model_modules("org/model", {"HF_HUB_CACHE": str(tmp_path / "hub")}).all_linear


def test_architecture_tells_the_names_while_the_weights_are_not_there(tmp_path: Path) -> None:
    (cached(tmp_path) / "config.json").write_text(json.dumps({"model_type": "gpt_neox"}))
    found = model_modules("org/model", {"HF_HOME": str(tmp_path)})
    assert found.all_linear == dict.fromkeys(("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"))


@pytest.mark.parametrize(
    ("config", "told"),
    [(None, "not on this machine yet"), ({"model_type": "odd"}, "a odd, whose"), ([], "config.json cannot be read")],
)
def test_what_is_not_known_is_typed(tmp_path: Path, config: object, told: str) -> None:
    if config is not None:
        (cached(tmp_path) / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=told):
        model_modules("org/model", {"HF_HOME": str(tmp_path)})


def test_names_of_the_architectures_are_peft_s() -> None:
    """Where peft knows an architecture, what it targets by default is among our names."""
    constants = pytest.importorskip("peft.utils.constants")
    theirs = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    both = USUAL.keys() & theirs.keys()
    assert len(both) > 10
    assert {kind: set(theirs[kind]) - set(USUAL[kind]) for kind in both} == {kind: set() for kind in both}
