"""The names a base model's modules have, from its weights or, where these are not there, its architecture."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import try_to_load_from_cache

from engine.errors import ModelError, SpecError
from engine.preflight.base_model import check_model, find_model_dir
from engine.preflight.families import USUAL
from engine.preflight.target_modules import check_names_in, model_modules
from engine.spec.lora import LoraSpec
from engine.spec.presets import EMBEDDED
from engine.spec.schema import Spec
from tests.support.rounds import LINEAR_MODULES, change_spec, write_model, write_safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEWER = "f" * 40


def cached(home: Path, name: str = "org/model", commit: str = COMMIT) -> Path:
    """Make the directory in which huggingface_hub keeps a model, with `main` at `commit`."""
    model = home / "hub" / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True, exist_ok=True)
    (model / "refs" / "main").write_text(commit)
    snapshot = model / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def test_modules_are_counted_over_all_files(tmp_path: Path) -> None:
    layers = {f"model.layers.{n}.self_attn.q_proj.weight": [4, 4] for n in range(3)}
    (tmp_path / "config.json").write_text("{}")
    write_safetensors(tmp_path / "model-00001-of-00002.safetensors", layers | {"model.embed_tokens.weight": [8, 4]})
    write_safetensors(
        tmp_path / "model-00002-of-00002.safetensors",
        {"model.layers.3.self_attn.q_proj.weight": [4, 4], "model.norm.weight": [4], "lm_head.weight": [8, 4]},
    )
    modules = model_modules(str(tmp_path))
    assert modules.all_linear == {"q_proj": 4}
    assert modules.others == {"embed_tokens": 1, "lm_head": 1}
    assert modules.parameters == {}


@pytest.mark.parametrize("kind", ["mixtral", "phimoe", "own"])
def test_experts_have_the_names_by_which_they_get_adapters(kind: str, tmp_path: Path) -> None:
    """By peft's names in Mixtral, as parameters in other families, and as stored in a family with its own code."""
    experts = {f"model.layers.0.moe.experts.{n}.{name}.weight": [4, 4] for n in range(8) for name in ("w1", "w2", "w3")}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "num_hidden_layers": 1}))
    write_safetensors(
        tmp_path / "model.safetensors",
        experts | {"model.layers.0.moe.gate.weight": [8, 4], "model.layers.0.self_attn.q_proj.weight": [4, 4]},
    )
    modules = model_modules(str(tmp_path))
    stacked = {"experts.down_proj": 1, "experts.gate_up_proj": 1}
    assert (modules.all_linear, modules.others, modules.parameters) == {
        "mixtral": ({"q_proj": 1, "w1": 1, "w2": 1, "w3": 1}, {"gate": 1}, stacked),
        "phimoe": ({"q_proj": 1}, {}, stacked),
        "own": ({"q_proj": 1, "w1": 8, "w2": 8, "w3": 8, "gate": 1}, {}, {}),
    }[kind]
    targets = LoraSpec(target_modules=("w1", "w2", "w3"))
    with pytest.raises(SpecError, match="has 'w1', which") if kind == "phimoe" else nullcontext():
        check_names_in(tmp_path, targets)


def test_changed_weights_are_read_again(tmp_path: Path) -> None:
    file = write_model(tmp_path) / "model.safetensors"
    assert "q_proj" in model_modules(str(tmp_path)).all_linear
    write_safetensors(file, {"model.layers.0.fc.weight": [4, 4]})
    assert set(model_modules(str(tmp_path)).all_linear) == {"fc"}


def test_embedded_model_has_the_names_of_a_llama() -> None:
    assert set(model_modules(EMBEDDED).all_linear) == set(LINEAR_MODULES)
    assert len(set(model_modules(EMBEDDED).all_linear.values())) == 1, "as many of each as there are layers"


def test_model_in_the_hub_cache_is_found(tmp_path: Path) -> None:
    write_model(cached(tmp_path))
    assert model_modules("org/model", {"HF_HOME": str(tmp_path)}).all_linear == dict.fromkeys(LINEAR_MODULES, 1)
    assert model_modules("org/model", {"HF_HUB_CACHE": str(tmp_path / "hub")}).all_linear


@pytest.mark.parametrize("main", [COMMIT, NEWER, "0" * 40, "../snapshots/" + COMMIT, ""])
def test_cached_model_is_the_one_that_main_points_to(tmp_path: Path, main: str) -> None:
    """Compare with huggingface_hub's own lookup; which snapshot was written last does not matter."""
    for commit in (COMMIT, NEWER):
        (cached(tmp_path, commit=commit) / "config.json").write_text("{}")
    (tmp_path / "hub" / "models--org--model" / "refs" / "main").write_text(main)
    theirs = try_to_load_from_cache("org/model", "config.json", cache_dir=tmp_path / "hub")
    directory = find_model_dir("org/model", {"HF_HOME": str(tmp_path)})
    assert (None if directory is None else str(directory / "config.json")) == theirs


@pytest.mark.parametrize("revision", ["v1", "refs/pr/1", COMMIT, NEWER[:8], "../main", "/etc/passwd", "v1/../main", ""])
def test_cached_model_of_a_revision_is_the_one_that_the_hub_s_library_finds(tmp_path: Path, revision: str) -> None:
    for commit in (NEWER, COMMIT):
        (cached(tmp_path, commit=commit) / "config.json").write_text("{}")
    refs = tmp_path / "hub" / "models--org--model" / "refs"
    (refs / "refs" / "pr").mkdir(parents=True)
    for name in ("v1", "refs/pr/1"):
        (refs / name).write_text(NEWER)
    inside = ".." not in revision and not revision.startswith("/")
    theirs = try_to_load_from_cache("org/model", "config.json", cache_dir=tmp_path / "hub", revision=revision or None)
    directory = find_model_dir("org/model", {"HF_HOME": str(tmp_path)}, revision or None)
    found = None if directory is None else str(directory / "config.json")
    assert found == (theirs if inside else None)


def test_local_model_has_no_revision(nano_spec: Spec) -> None:
    with pytest.raises(SpecError, match=r"model\.revision is v1, but only a model of the hub has one: leave it empty"):
        check_model(change_spec(nano_spec, model__revision="v1"))


def test_cached_model_without_main_is_not_used(tmp_path: Path) -> None:
    cached(tmp_path)
    (tmp_path / "hub" / "models--org--model" / "refs" / "main").unlink()
    assert find_model_dir("org/model", {"HF_HOME": str(tmp_path)}) is None


def test_architecture_tells_the_names_while_the_weights_are_not_there(tmp_path: Path) -> None:
    (cached(tmp_path) / "config.json").write_text(json.dumps({"model_type": "gpt_neox"}))
    modules = model_modules("org/model", {"HF_HOME": str(tmp_path)})
    assert modules.all_linear == dict.fromkeys(("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"))


@pytest.mark.parametrize(
    ("config", "reason"),
    [(None, "not on this machine yet"), ({"model_type": "odd"}, "a odd, whose"), ([], "config.json cannot be read")],
)
def test_unknown_modules_must_be_typed(tmp_path: Path, config: object, reason: str) -> None:
    if config is not None:
        (cached(tmp_path) / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=reason):
        model_modules("org/model", {"HF_HOME": str(tmp_path)})


def test_names_of_the_architectures_are_peft_s() -> None:
    """Our names include the default targets of every architecture that peft knows."""
    constants = pytest.importorskip("peft.utils.constants")
    theirs = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    both = USUAL.keys() & theirs.keys()
    assert len(both) > 10
    assert {kind: set(theirs[kind]) - set(USUAL[kind]) for kind in both} == {kind: set() for kind in both}


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"exclude_modules": ("q_proj", "layers.0.block.k_proj")}, False),
        ({"exclude_modules": ("c_attn",)}, True),
        ({"modules_to_save": ("lm_head", "embed_tokens", "norm")}, False),
        ({"modules_to_save": ("wte",)}, True),
        ({"target_parameters": ("q_proj.weight",)}, False),
        ({"target_parameters": ("experts.down_proj",)}, True),
    ],
)
def test_modules_that_the_weights_lack_are_refused(tmp_path: Path, settings: dict[str, Any], refused: bool) -> None:
    write_model(tmp_path)
    lora = LoraSpec(**settings)
    with pytest.raises(SpecError, match=r"of this model: it has .*q_proj") if refused else nullcontext():
        check_names_in(tmp_path, lora)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "odd"}))
    check_names_in(tmp_path, lora)  # whose modules may have other names
