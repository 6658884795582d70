from __future__ import annotations

import pytest

from engine.errors import SpecError
from engine.presets import EMBEDDED, embedded_data, embedded_model, load_preset, presets


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
