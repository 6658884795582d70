"""A round that starts from another adapter, against peft and against the round that made it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from engine.errors import SpecError
from engine.files.paths import RunDir
from engine.preflight import checks
from engine.preflight.initial_adapter import CONFIG, WEIGHTS
from engine.runs.events import Evaluated, Provenance
from engine.training.loop.provenance import file_hash
from tests.support.plain import load, plain_eval_loss
from tests.support.rounds import change_spec
from tests.support.rounds_to_train import fail_here, make_run, spec_of, steps_of, train_here

FROZEN: dict[str, object] = {"train__learning_rate": 1e-12, "train__max_steps": 1, "lora__lora_dropout": 0.0}


def eval_losses(events: list[Any]) -> list[float | None]:
    return [event.eval_loss for event in events if isinstance(event, Evaluated)]


def test_round_goes_on_from_the_adapter_of_another(
    reference: Any, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a learning rate of nothing the end is where the other round ended; the base is measured without it."""
    first, events = reference
    run = make_run(tmp_path / "run", tiny_model, **FROZEN, lora__initial_adapter=str(first.adapter))
    checks.check(spec_of(run))
    base, begin, end = eval_losses(train_here(run))
    assert base == eval_losses(events)[0]
    assert begin == pytest.approx(end, rel=1e-6)
    assert end == pytest.approx(eval_losses(events)[-1], rel=1e-6)
    tuned = PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()
    assert plain_eval_loss(tuned, tiny_model, run)[0] == pytest.approx(end, rel=1e-5)
    assert f"initial adapter: eval loss {end:.4f}" in capsys.readouterr().out


def test_adapter_of_peft_itself_is_trained_on(tiny_model: Path, tmp_path: Path) -> None:
    targets = ["q_proj", "v_proj"]
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, target_modules=targets, use_dora=True)
    theirs = get_peft_model(load(tiny_model), config)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path / "theirs")
    run = make_run(
        tmp_path / "run", tiny_model, **FROZEN, lora__initial_adapter=str(tmp_path / "theirs"), lora__lora_alpha=16,
        lora__target_modules=("q_proj", "v_proj"), lora__use_dora=True,
    )  # fmt: skip
    checks.check(spec_of(run))
    end = eval_losses(train_here(run))[-1]
    assert end == pytest.approx(plain_eval_loss(theirs.eval(), tiny_model, run)[0], rel=1e-5)


def test_resumed_round_does_not_start_from_it_again(reference: Any, tiny_model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(reference[0].adapter, adapter)
    settings: dict[str, object] = {"lora__initial_adapter": str(adapter), "train__max_steps": 6}
    whole = train_here(make_run(tmp_path / "whole", tiny_model, **settings))
    run = make_run(tmp_path / "run", tiny_model, **settings)
    first = train_here(run, stop_after=3)
    shutil.rmtree(adapter)
    second = train_here(run, resume=True)
    losses = [step.loss for step in (*steps_of(first), *steps_of(second))]
    assert losses == [step.loss for step in steps_of(whole)]


def test_origin_of_the_round_names_its_weights(reference: Any, tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, **FROZEN, lora__initial_adapter=str(reference[0].adapter))
    provenance = next(event for event in train_here(run) if isinstance(event, Provenance))
    assert provenance.initial_adapter == file_hash(reference[0].adapter / WEIGHTS) is not None


def remove(adapter: Path, name: str) -> None:
    (adapter / name).unlink()


def set_config(adapter: Path, **values: object) -> None:
    config = json.loads((adapter / CONFIG).read_text()) | values
    (adapter / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda adapter: shutil.rmtree(adapter), "no such directory"),
        (lambda adapter: remove(adapter, CONFIG), "no adapter_config.json in it"),
        (lambda adapter: remove(adapter, WEIGHTS), "no adapter_model.safetensors in it"),
        (lambda adapter: (adapter / CONFIG).write_text("{"), "is not valid"),
        (lambda adapter: (adapter / CONFIG).write_text("[" * 100_000), "is not valid"),
        (lambda adapter: set_config(adapter, peft_type="PREFIX_TUNING"), "peft_type is PREFIX_TUNING"),
        (lambda adapter: set_config(adapter, rank_pattern={"q_proj": 2}), "differ in rank"),
        (
            lambda adapter: set_config(adapter, r=2, lora_alpha=64, use_rslora=True),
            "--set lora.r=2 --set lora.lora_alpha=64 --set lora.use_rslora=true",
        ),
    ],
)
def test_adapter_that_cannot_be_started_from_is_refused_before_the_start(
    reference: Any, tiny_model: Path, tmp_path: Path, damage: Any, reason: str
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(reference[0].adapter, adapter)
    damage(adapter)
    run = make_run(tmp_path / "run", tiny_model, lora__initial_adapter=str(adapter))
    with pytest.raises(SpecError) as refused:
        checks.check(spec_of(run))
    assert str(adapter) in str(refused.value) and reason in str(refused.value)


def test_names_that_differ_are_told_before_the_start(reference: Any, tiny_model: Path, tmp_path: Path) -> None:
    adapter = str(reference[0].adapter)
    run = make_run(tmp_path / "run", tiny_model, lora__initial_adapter=adapter, lora__target_modules=("q_proj",))
    with pytest.raises(SpecError, match=r"--set 'lora\.target_modules=down_proj, gate_proj, k_proj"):
        checks.check(spec_of(run))
    spec = change_spec(spec_of(run), lora__target_modules="all-linear", lora__init_lora_weights="pissa")
    with pytest.raises(SpecError, match="PiSSA makes an adapter of its own"):
        checks.check(spec)


def drop_a_tensor(file: Path) -> None:
    tensors = load_file(file)
    del tensors[min(tensors)]
    save_file(tensors, file)


def transpose_a_tensor(file: Path) -> None:
    tensors = load_file(file)
    name = next(name for name, tensor in sorted(tensors.items()) if tensor.shape[0] != tensor.shape[1])
    save_file(tensors | {name: tensors[name].T.contiguous()}, file)


def put_a_nan(file: Path) -> None:
    tensors = load_file(file)
    tensors[min(tensors)][0, 0] = float("nan")
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-8]), "cannot be read"),
        (lambda file: file.write_bytes(b"\xff" * 64), "cannot be read"),
        (drop_a_tensor, "do not fit"),
        (transpose_a_tensor, "do not fit"),
        (put_a_nan, "are not finite"),
    ],
)
def test_weights_that_do_not_fit_end_the_round_with_a_sentence(
    reference: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, reason: str
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(reference[0].adapter, adapter)
    damage(adapter / WEIGHTS)
    run = make_run(tmp_path / "run", tiny_model, lora__initial_adapter=str(adapter))
    checks.check(spec_of(run))
    message = fail_here(run, monkeypatch)
    assert message.startswith(f"lora.initial_adapter is {str(adapter)!r}: its weights {reason}")
    assert not RunDir(run.path).adapter.exists()
