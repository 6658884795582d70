from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SpecError
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


def test_presets_are_the_documented_ones() -> None:
    assert list(presets()) == ["nano", "tinyllama-alpaca"]
    assert all(preset.description for preset in presets().values())


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
    with pytest.raises(SpecError, match="no preset 'mega': choose one of nano, tinyllama-alpaca"):
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
    assert list(presets()) == ["nano", "tinyllama-alpaca", "wide-1"]
    assert load_preset("wide-1") == preset
    assert broken_presets() == []


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
    assert list(presets()) == ["nano", "tinyllama-alpaca", "good"]
    assert [str(own / "bad.json") in broken_presets()[0], "cannot be changed" in broken_presets()[1]] == [True, True]
    with pytest.raises(SpecError, match="is not valid"):
        load_preset("bad")


@pytest.mark.usefixtures("own")
def test_no_secret_is_kept_in_a_preset() -> None:
    with pytest.raises(SpecError, match="token or a password"):
        save_preset("mine", Preset("with hf_abcdefghijklmnopqrstuvwxyzabcdefgh", make_spec()))
    assert "mine" not in presets()
