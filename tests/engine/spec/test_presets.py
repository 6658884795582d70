from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.errors import SpecError
from engine.preflight import checks
from engine.spec.fields import flatten
from engine.spec.presets import (
    EMBEDDED,
    Preset,
    broken_presets,
    embedded_data,
    embedded_model,
    load_preset,
    presets,
    save_preset,
)
from tests.support.rounds import make_spec

SHIPPED = ["nano", "chat-sft", "domain-text", "qlora-small-card", "tinyllama-alpaca"]
# As the sources have them. A share of all steps is called `warmup_ratio` there, `cutoff_len` the longest row, and
# `target_max_len` too; `lora_target: all` and `lora_modules: all` are `all-linear`.
PUBLISHED = {
    "chat-sft": {
        "model.path": "Qwen/Qwen2-0.5B", "data.path": "trl-lib/Capybara", "lora.r": 32, "lora.lora_alpha": 16,
        "train.learning_rate": 2e-4, "train.num_train_epochs": 1, "train.per_device_train_batch_size": 2,
        "train.gradient_accumulation_steps": 8, "train.eval_strategy": "steps", "train.eval_steps": 100,
    },
    "domain-text": {
        "model.path": "Qwen/Qwen3-4B-Instruct-2507", "data.samples": 1000, "data.max_length": 2048, "lora.r": 8,
        "lora.target_modules": "all-linear", "train.learning_rate": 1e-4, "train.num_train_epochs": 3,
        "train.per_device_train_batch_size": 1, "train.gradient_accumulation_steps": 8, "train.warmup_steps": 0.1,
        "train.lr_scheduler_type": "cosine",
    },
    "qlora-small-card": {
        "model.load_in_4bit": True, "model.dtype": "bfloat16", "data.max_length": 512, "lora.r": 64,
        "lora.lora_alpha": 16, "lora.lora_dropout": 0.1, "lora.target_modules": "all-linear",
        "train.learning_rate": 2e-4, "train.lr_scheduler_type": "constant", "train.max_steps": 1875,
        "train.per_device_train_batch_size": 4, "train.gradient_accumulation_steps": 4, "train.adam_beta2": 0.999,
        "train.max_grad_norm": 0.3, "train.weight_decay": 0, "train.optim": "paged_adamw_32bit",
        "train.eval_steps": 187, "train.save_steps": 500, "train.gradient_checkpointing": True, "train.seed": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_has_the_values_of_its_source(name: str) -> None:
    values = flatten(load_preset(name).spec)
    assert {key: values[key] for key in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_preset_passes_the_checks(name: str) -> None:
    unknown = "data.samples is empty: the number of steps is known once the hub dataset is loaded"
    assert set(checks.check(load_preset(name).spec).warnings) <= {unknown}


def test_presets_are_the_documented_ones() -> None:
    assert list(presets()) == SHIPPED
    assert all(preset.description for preset in presets().values())
    without_source = [name for name, preset in presets().items() if not preset.source]
    assert without_source == ["nano", "tinyllama-alpaca"], "the two that are loratui's own"


def test_nano_needs_nothing_from_outside() -> None:
    spec = load_preset("nano").spec
    assert (spec.model.path, spec.data.path) == (EMBEDDED, EMBEDDED)
    assert (embedded_model() / "config.json").is_file()
    assert embedded_data().is_file()


def test_reference_preset_is_the_reference_round() -> None:
    spec = load_preset("tinyllama-alpaca").spec
    assert (spec.model.path, spec.data.path) == ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "tatsu-lab/alpaca")
    assert (spec.data.samples, spec.lora.r, spec.lora.lora_alpha) == (2600, 8, 32)
    assert spec.train.per_device_train_batch_size * spec.train.gradient_accumulation_steps == 32


def test_unknown_preset_names_the_known() -> None:
    with pytest.raises(SpecError, match="no preset 'mega': choose one of nano, chat-sft"):
        load_preset("mega")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty directory of one's own presets."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "loratui" / "presets"


@pytest.mark.usefixtures("own")
def test_own_preset_is_there_beside_the_others() -> None:
    preset = Preset("wide", make_spec(lora__r=64))
    file = save_preset("wide-1", preset)
    assert (file.stat().st_mode & 0o777, file.name) == (0o600, "wide-1.json")
    assert list(presets()) == [*SHIPPED, "wide-1"]
    assert load_preset("wide-1") == preset
    assert broken_presets() == []


def test_preset_of_an_older_version_has_no_source(own: Path) -> None:
    preset = Preset("wide", make_spec(lora__r=64))
    own.mkdir(parents=True)
    older = {name: value for name, value in msgspec.to_builtins(preset).items() if name != "source"}
    (own / "old.json").write_bytes(msgspec.json.encode(older))
    assert load_preset("old") == preset and preset.source == ""


@pytest.mark.usefixtures("own")
def test_preset_is_overwritten_only_if_asked() -> None:
    save_preset("mine", Preset("first", make_spec()))
    with pytest.raises(SpecError, match="there is already a preset mine"):
        save_preset("mine", Preset("second", make_spec()))
    assert load_preset("mine").description == "first"
    save_preset("mine", Preset("second", make_spec()), replace=True)
    assert load_preset("mine").description == "second"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "nano", "a b", "\x1b[31m", "ä"])
def test_name_that_will_not_do_is_refused(own: Path, name: str) -> None:
    with pytest.raises(SpecError):
        save_preset(name, Preset("", make_spec()), replace=True)
    assert not own.exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"description": "x"}', b"\xff", b'{"description": 1, "spec": {}}'])
def test_broken_preset_is_reported_and_hides_no_other(own: Path, content: bytes) -> None:
    save_preset("good", Preset("", make_spec()))
    (own / "bad.json").write_bytes(content)
    (own / "nano.json").write_bytes(b"{}")
    assert list(presets()) == [*SHIPPED, "good"]
    assert [str(own / "bad.json") in broken_presets()[0], "cannot be changed" in broken_presets()[1]] == [True, True]
    with pytest.raises(SpecError, match="is not valid"):
        load_preset("bad")


@pytest.mark.usefixtures("own")
def test_no_secret_is_kept_in_a_preset() -> None:
    with pytest.raises(SpecError, match="token or a password"):
        save_preset("mine", Preset("with hf_abcdefghijklmnopqrstuvwxyzabcdefgh", make_spec()))
    assert "mine" not in presets()
