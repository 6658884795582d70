"""A base in 4 bits against a plain round on weights rounded to 4 bits, and one in 8 bits against plain peft."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from engine.errors import SpecError
from engine.preflight import checks
from engine.runs.events import Prepared
from engine.spec.schema import Spec
from tests.support.plain import evaluations_of, plain_eval_loss, result_loss
from tests.support.rounds import change_spec
from tests.support.rounds_to_train import fail_here, figures_of, make_run, steps_of, train_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft uses an old name of transformers

MISSING = (
    "model.{} needs the package bitsandbytes, which is not installed: pip install 'loratui[qlora]', or set it to false"
)


def load_in_4_bits(directory: Path) -> Any:
    """Return the base model quantised as in QLoRA's paper."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, quantization_config=quantization, device_map={"": "cpu"}
    )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model with its linear weights rounded to 4 bits."""
    directory = tmp_path_factory.mktemp("rounded") / "tiny"
    directory.mkdir()
    for file in tiny_model.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    weights = load_file(directory / "model.safetensors")
    for path, module in load_in_4_bits(tiny_model).named_modules():
        if isinstance(module, Linear4bit):
            weights[f"{path}.weight"] = dequantize_4bit(module.weight.data, module.weight.quant_state).contiguous()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.mark.sample(1)
@pytest.mark.parametrize("settings", [{}, {"lora__use_dora": True}, {"train__gradient_checkpointing": True}])
def test_round_in_4_bits_equals_one_on_rounded_weights(
    tiny_model: Path, rounded: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    """Gradients still pass the 4-bit layers after the evaluations in between."""
    quantised = train_here(make_run(tmp_path / "4-bit", tiny_model, model__load_in_4bit=True, **settings))
    plain = train_here(make_run(tmp_path / "plain", rounded, **settings))
    assert len(steps_of(quantised)) == 20
    for ours, theirs in zip(figures_of(quantised), figures_of(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    evaluations = [evaluations_of(events) for events in (quantised, plain)]
    for step in (0, 9, 18, 20):
        assert evaluations[0][step].eval_loss == pytest.approx(evaluations[1][step].eval_loss, rel=1e-3)
    prepared = [event for event in (*quantised, *plain) if isinstance(event, Prepared)]
    assert prepared[0].parameters == prepared[1].parameters  # although one byte holds two of them


def test_adapter_scores_on_the_base_in_4_bits_what_the_round_says(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, model__load_in_4bit=True)
    events = train_here(run)
    tuned = PeftModel.from_pretrained(load_in_4_bits(tiny_model), run.adapter).eval()
    assert plain_eval_loss(tuned, tiny_model, run)[0] == pytest.approx(result_loss(events), rel=1e-4)


def test_it_resumes_exactly(tiny_model: Path, tmp_path: Path) -> None:
    whole = train_here(make_run(tmp_path / "whole", tiny_model, model__load_in_4bit=True))
    run = make_run(tmp_path / "run", tiny_model, model__load_in_4bit=True)
    halves = train_here(run, stop_after=8) + train_here(run, resume=True)
    assert figures_of(halves) == figures_of(whole)
    assert result_loss(halves) == result_loss(whole)


def test_adapter_scores_on_the_base_in_8_bits_what_the_round_says(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, model__load_in_8bit=True, train__num_train_epochs=1.0)
    events = train_here(run)

    def base() -> Any:
        eight = BitsAndBytesConfig(load_in_8bit=True)
        return AutoModelForCausalLM.from_pretrained(tiny_model, quantization_config=eight, device_map={"": "cpu"})

    evaluated = evaluations_of(events)
    assert evaluated[0].eval_loss == pytest.approx(plain_eval_loss(base().eval(), tiny_model, run)[0], rel=1e-3)
    tuned = PeftModel.from_pretrained(base(), run.adapter).eval()
    assert plain_eval_loss(tuned, tiny_model, run)[0] == pytest.approx(result_loss(events), rel=1e-3)
    assert result_loss(events) < (evaluated[0].eval_loss or 0) - 0.5


def test_weights_are_quantised_in_one_way(nano_spec: Spec) -> None:
    with pytest.raises(SpecError, match=r"load_in_4bit and model\.load_in_8bit are both true: set one of the two to"):
        checks.check(change_spec(nano_spec, model__load_in_4bit=True, model__load_in_8bit=True))


@pytest.mark.parametrize("option", ["load_in_4bit", "load_in_8bit"])
def test_missing_package_is_named(
    nano_spec: Spec, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Without its extra the package is missing, which both the preflight and the engine report."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    with pytest.raises(SpecError) as caught:
        checks.check(change_spec(nano_spec, **{f"model__{option}": True}))
    assert (caught.value.message, caught.value.key) == (MISSING.format(option), f"model.{option}")
    run = make_run(tmp_path / "run", tiny_model, **{f"model__{option}": True})
    assert fail_here(run, monkeypatch) == MISSING.format(option)


@pytest.mark.parametrize("option", ["load_in_4bit", "load_in_8bit"])
def test_pissa_cannot_split_quantised_weights(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    settings = {f"model__{option}": True, "lora__init_lora_weights": "pissa"}
    message = fail_here(make_run(tmp_path / "run", tiny_model, **settings), monkeypatch)
    assert f"those of model.{option} cannot be split" in message
