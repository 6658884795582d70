"""The operations that a plan counts, against those that torch counts in a pass of plain transformers and peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks.flops import counter
from engine.planning.durations.operations import operations_of
from engine.spec.lora import LoraSpec
from tests.support.families import FAMILIES, config_of

TOKENS, LONG = 64, 384
SIZES: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "moe_intermediate_size": 96, "n_embd": 128, "n_layer": 4, "n_head": 4,
    "vocab_size": 512, "query_pre_attn_scalar": 32, "sliding_window": 4096,
}  # fmt: skip
NAMES = ("gemma", "gemma2", "gemma3-text", "gpt2", "gpt-neox", "llama", "mistral", "phi3", "qwen2", "qwen3")


def counted(directory: Path, lora: LoraSpec, train: bool, tokens_in_row: int = TOKENS) -> int:
    """Operations of one row, all of whose tokens are supervised."""
    base: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    base.config.use_cache = False
    config = LoraConfig(
        task_type="CAUSAL_LM", r=lora.r, target_modules=str(lora.target_modules), lora_dropout=0.0,
        fan_in_fan_out=base.config.model_type == "gpt2",
    )  # fmt: skip
    model: Any = get_peft_model(base, config).train()
    tokens = torch.arange(tokens_in_row)[None]
    with counter:
        loss = model(input_ids=tokens, labels=tokens).loss
        if train:
            loss.backward()
    total: int = counter.get_total_flops()
    return total


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_those_that_torch_counts(tmp_path: Path, name: str, train: bool) -> None:
    torch.manual_seed(0)
    config = config_of(**FAMILIES[name] | SIZES)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path)
    lora = LoraSpec(r=8, target_modules="all-linear", lora_dropout=0.0)
    operations = operations_of(tmp_path, lora)
    assert operations is not None
    planned = operations.training(TOKENS, 1.0, recompute=False) if train else operations.evaluation(TOKENS, 1.0)
    assert TOKENS * planned == pytest.approx(counted(tmp_path, lora, train), rel=0.06)


@pytest.mark.sample(6)
@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("window", [32, 4096])
@pytest.mark.parametrize("name", ["gemma2", "gemma3-text", "mistral"])
def test_rows_longer_than_a_sliding_window_take_as_much_as_others(
    tmp_path: Path, name: str, window: int, train: bool
) -> None:
    """Attention is a good third of the operations of these rows: what is outside the window is computed and masked."""
    torch.manual_seed(0)
    config = config_of(**FAMILIES[name] | SIZES | {"sliding_window": window})
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path)
    lora = LoraSpec(r=8, target_modules="all-linear", lora_dropout=0.0)
    operations = operations_of(tmp_path, lora)
    assert operations is not None
    planned = operations.training(LONG, 1.0, recompute=False) if train else operations.evaluation(LONG, 1.0)
    assert LONG * planned == pytest.approx(counted(tmp_path, lora, train, LONG), rel=0.03)


@pytest.mark.parametrize(("name", "share"), [("mixtral", 2 / 4), ("qwen3-moe", 2 / 4)])
def test_token_goes_through_its_experts_alone(tmp_path: Path, name: str, share: float) -> None:
    """Which torch does not count: of the loaded model's matrices, embeddings and head aside."""
    config = config_of(**FAMILIES[name] | SIZES)
    chosen, experts = config.num_experts_per_tok, getattr(config, "num_local_experts", 0) or config.num_experts
    assert chosen / experts == share
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(tmp_path)
    matrices = {
        key: parameter.numel() * (share if ".experts." in key else 1)
        for key, parameter in model.model.layers.named_parameters()
        if parameter.dim() > 1
    }
    operations = operations_of(tmp_path, LoraSpec(r=8, target_modules=("q_proj",), lora_dropout=0.0))
    assert operations is not None
    assert operations.matrices == 2 * sum(matrices.values())
