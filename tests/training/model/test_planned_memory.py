"""The memory that a plan foretells, against what torch allocates and what models hold once they are loaded."""

from __future__ import annotations

import gc
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from engine.errors import TrainingError
from engine.planning.activations import COUNTED, activations_of
from engine.planning.devices import Device
from engine.planning.memory import base_bytes, memory_need
from engine.preflight.base_model import read_config
from engine.preflight.families import family_of
from engine.spec.lora import LoraSpec
from engine.spec.plan import make_plan
from engine.spec.schema import ModelSpec
from engine.system.allowance import Memory
from engine.training.model import memory_budget
from engine.training.model.adapter import recompute_activations, trainable_parameters
from engine.training.model.forward import Forward, choose_forward
from engine.training.model.loading import load_base_model, load_config
from engine.training.model.operations import random_row
from tests.support.families import FAMILIES, write_family, write_sized
from tests.support.rounds import make_spec

TOKENS = 256
NAMES = (
    "gemma", "gemma2", "gemma3-text", "gpt2", "gpt-neox", "llama", "mistral", "mixtral", "phi3", "qwen2", "qwen3",
    "qwen3-moe",
)  # fmt: skip
ATTENTION = {"gpt2": ("c_attn",), "gpt-neox": ("query_key_value",), "phi3": ("qkv_proj",)}
Setting = tuple[str, torch.dtype, bool, bool]  # target modules, precision, recomputation, DoRA
SETTINGS: tuple[Setting, ...] = (
    ("attention", torch.float32, False, False),
    ("all-linear", torch.float32, False, False),
    ("all-linear", torch.float32, True, False),
    ("all-linear", torch.bfloat16, False, False),
    ("attention", torch.float32, False, True),
)


def adapted(directory: Path, lora: LoraSpec, dtype: torch.dtype) -> Any:
    base = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    targets = lora.target_modules
    config = LoraConfig(
        task_type="CAUSAL_LM", r=lora.r, target_modules=targets if isinstance(targets, str) else [*targets],
        lora_dropout=lora.lora_dropout, use_dora=lora.use_dora, fan_in_fan_out=base.config.model_type == "gpt2",
    )  # fmt: skip
    model: Any = get_peft_model(base, config).train()
    for parameter in trainable_parameters(model):
        parameter.data = parameter.data.float()
    return model


def forward_of(model: Any, dtype: torch.dtype, recompute: bool) -> Forward:
    forward = choose_forward(model, torch.device("cpu"), dtype, TOKENS)
    recompute_activations(model, recompute)
    gc.collect()  # or the model of an earlier test is freed while memory is measured, which would count as given back
    return forward


def test_every_counted_family_is_compared() -> None:
    assert {FAMILIES[name]["model_type"] for name in NAMES} == COUNTED


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of peft: adapters of experts are wrapped one in the other
@pytest.mark.sample(12)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting)))
@pytest.mark.parametrize("name", NAMES)
def test_activations_are_what_torch_allocates(tmp_path: Path, name: str, setting: Setting) -> None:
    """At the peak of forward and backward, by torch's own record of each allocation."""
    targets, dtype, recompute, dora = setting
    modules = ATTENTION.get(name, ("q_proj", "v_proj")) if targets == "attention" else targets
    lora = LoraSpec(r=8, target_modules=modules, lora_dropout=0.0, use_dora=dora)
    directory = write_sized(name, tmp_path)
    forward = forward_of(adapted(directory, lora, dtype), dtype, recompute)
    measured = memory_budget._try(forward, [random_row(forward.model, TOKENS, 0)])
    counted = activations_of(directory, lora)
    assert counted is not None and measured is not None
    precision = dtype.itemsize
    planned = counted.bytes_in(TOKENS, TOKENS, precision, recompute=recompute, on_cpu=True)
    assert planned == pytest.approx(measured, rel=0.15)


@pytest.mark.sample(15)
@pytest.mark.parametrize("name", sorted({*NAMES, "llama-tied", "falcon", "bloom", "olmo2", "starcoder2"}))
def test_base_model_takes_what_it_takes_once_loaded(tmp_path: Path, name: str) -> None:
    """Embeddings that share their weights count once; what a model adds to its file is no part of it."""
    directory = write_family(name, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    loaded = sum(parameter.nbytes for parameter in model.parameters())
    assert base_bytes(directory, ModelSpec(str(directory)), 2) == pytest.approx(loaded, rel=1e-3)


def test_base_model_in_4_bits_takes_what_bitsandbytes_holds(tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig

    directory = write_sized("llama", tmp_path)
    options = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(directory, quantization_config=options, dtype=torch.float32)
    held = 0
    for parameter in model.parameters():
        held += parameter.nbytes
        if (state := getattr(parameter, "quant_state", None)) is not None:
            held += state.absmax.nbytes + state.state2.absmax.nbytes
    planned = base_bytes(directory, ModelSpec(str(directory), load_in_4bit=True), 4)
    assert planned == pytest.approx(held, rel=0.02)


@pytest.mark.sample(2)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft uses an old name of transformers
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma", "phi3"])
def test_rows_of_a_base_in_4_bits_take_no_more_than_planned(tmp_path: Path, name: str, recompute: bool) -> None:
    directory = write_sized(name, tmp_path)
    spec = make_spec(
        model__path=str(directory), model__load_in_4bit=True, model__dtype="bfloat16", data__max_length=TOKENS,
        lora__target_modules="all-linear", lora__r=8, lora__lora_dropout=0.0,
        train__gradient_checkpointing=recompute,
    )  # fmt: skip
    device = Device("this processor", is_gpu=False, free=2**33, total=2**33, bfloat16=False)
    planned = memory_need(spec, make_plan(spec, 100), device)
    base = load_base_model(spec, load_config(spec), torch.bfloat16, torch.device("cpu"))
    model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear")).train()
    for parameter in trainable_parameters(model):
        parameter.data = parameter.data.float()
    forward = forward_of(model, torch.bfloat16, recompute)
    measured = memory_budget._try(forward, [random_row(forward.model, TOKENS, 0)])
    assert planned is not None and planned.row is not None and measured is not None
    assert measured <= planned.row <= 1.4 * measured


@pytest.mark.parametrize("share", [0.8, 1.25])
def test_engine_starts_where_the_plan_says_that_a_row_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """With a fifth less than the plan says it needs it refuses, and with a fourth more it does not."""
    directory = write_sized("llama", tmp_path)
    spec = make_spec(
        model__path=str(directory), model__dtype="float32", data__max_length=TOKENS, lora__target_modules="all-linear",
        lora__r=8, lora__lora_dropout=0.0, train__gradient_checkpointing=False,
    )  # fmt: skip
    plan = make_plan(spec, 100)

    def verdict(free: int) -> str:
        memory = memory_need(spec, plan, Device("processor", is_gpu=False, free=free, total=free, bfloat16=False))
        assert memory is not None
        return memory.verdict

    least = next(free for free in range(0, 2**33, 2**24) if verdict(free) == "fits")
    memory = memory_need(spec, plan, Device("processor", is_gpu=False, free=least, total=least, bfloat16=False))
    assert memory is not None
    free = round(share * (least - memory.process - memory.base - memory.adapter))  # once the model is loaded
    monkeypatch.setattr(memory_budget, "memory", lambda: Memory(free, 0, free))
    forward = forward_of(adapted(directory, spec.lora, torch.float32), torch.float32, recompute=False)
    rows = [random_row(forward.model, TOKENS, seed) for seed in range(4)]
    if share > 1:
        assert memory_budget.measure_budget(forward, rows, 4, checkpointing=False).tokens >= TOKENS
    else:
        with pytest.raises(TrainingError, match=f"out of memory with a single row of {TOKENS} tokens"):
            memory_budget.measure_budget(forward, rows, 4, checkpointing=False)


def test_experts_are_counted_by_those_that_a_token_uses(tmp_path: Path) -> None:
    directory = write_sized("mixtral", tmp_path)
    assert family_of(read_config(directory)) == "mixtral"
    one = activations_of(directory, LoraSpec(target_modules=("q_proj",), lora_dropout=0.0))
    every = activations_of(directory, LoraSpec(target_modules="all-linear", lora_dropout=0.0))
    assert one is not None and every is not None
    assert (one.experts, every.experts > 0) == (0, True)
    per_layer = sum(
        prod(shape.shape)
        for name, shape in AutoModelForCausalLM.from_pretrained(directory).named_parameters()
        if ".layers.0." in name and ".experts." in name
    )
    assert every.experts == per_layer
