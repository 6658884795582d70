"""The attention that a spec chooses: used as it is, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import MptConfig

from engine.errors import SpecError
from engine.preflight import checks
from engine.spec.schema import Spec
from engine.training.model.loading import load_base_model, load_config
from tests.support.rounds import change_spec
from tests.support.rounds_to_train import figures_of, make_run, prepared, spec_of, train_here

KEY = "model.attn_implementation"


def test_chosen_attention_trains_as_rows_that_are_packed_do(tiny_model: Path, tmp_path: Path) -> None:
    short: dict[str, object] = {"lora__lora_dropout": 0.0, "train__num_train_epochs": 0.3, "train__sample_tokens": 0}
    packed = train_here(make_run(tmp_path / "packed", tiny_model, **short))
    run = make_run(tmp_path / "eager", tiny_model, model__attn_implementation="eager", **short)
    for ours, theirs in zip(figures_of(train_here(run)), figures_of(packed), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    with prepared(run) as training:
        assert not training.forward.packed
        assert training.model.config._attn_implementation == training.forward.attention == "eager"


@pytest.mark.parametrize(
    ("chosen", "package"), [("flash_attention_2", "flash_attn"), ("flash_attention_3", "flash_attn_interface")]
)
def test_missing_package_is_named_before_the_round_is_queued(nano_spec: Spec, chosen: str, package: str) -> None:
    with pytest.raises(SpecError, match=f"needs the package {package}, and that is not installed") as caught:
        checks.check(change_spec(nano_spec, model__attn_implementation=chosen))
    assert caught.value.key == KEY


def test_attention_that_needs_a_gpu_is_refused_on_a_cpu(tiny_model: Path, tmp_path: Path) -> None:
    spec = spec_of(make_run(tmp_path / "run", tiny_model, model__attn_implementation="flex_attention"))
    with pytest.raises(
        SpecError, match=f"{KEY} is flex_attention, which needs a GPU: set it to auto or one of eager, sd"
    ):
        load_base_model(spec, load_config(spec), torch.float32, torch.device("cpu"))


def test_attention_that_the_model_lacks_is_refused_before_its_weights_are_read(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The directory has no weights at all."""
    directory = tmp_path / "mpt"
    MptConfig(vocab_size=97, d_model=32, n_layers=1, n_heads=4, max_seq_len=160).save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"architectures": ["MptForCausalLM"]}))
    spec = spec_of(make_run(tmp_path / "run", directory, model__attn_implementation="sdpa"))
    with pytest.raises(
        SpecError, match=f"{KEY} is sdpa, which this model cannot use: MptForCausalLM does not"
    ) as caught:
        load_base_model(spec, load_config(spec), torch.float32, torch.device("cpu"))
    assert "\n" not in caught.value.message and caught.value.message.endswith(": set it to auto")
