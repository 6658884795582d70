"""Compare traced passes with what torch allocates in them: `python -m benchmarks.trace`.

For each family of models: the ratio of the bytes that a trace foretells to those that torch's profiler records, for one
row of 256 tokens, on attention and on all linear layers, in float32 and in bfloat16.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import time
import warnings
from itertools import product
from pathlib import Path

import torch
from transformers.utils import logging as library_logging

from benchmarks.machine import describe_machine
from engine.spec.data import DataSpec
from engine.spec.lora import LoraSpec
from engine.spec.schema import ModelSpec, Spec, TrainSpec
from engine.training.model import memory_budget
from engine.training.model.adapter import add_adapter
from engine.training.model.forward import choose_forward
from engine.training.model.loading import load_base_model, load_config
from engine.training.model.operations import random_row
from engine.training.model.traced_passes import PassTracer
from tests.support.families import write_sized

FAMILIES = (
    "gemma", "gemma2", "gemma3-text", "gpt2", "gpt-neox", "llama", "mistral", "mixtral", "phi3", "qwen2", "qwen3",
    "qwen3-moe",
)  # fmt: skip
ATTENTION = {"gpt2": ("c_attn",), "gpt-neox": ("query_key_value",), "phi3": ("qkv_proj",)}
TOKENS = 256
CASES = tuple(product(("attention", "all-linear"), (torch.float32, torch.bfloat16)))


def main() -> None:
    warnings.filterwarnings("ignore")
    library_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    for line in describe_machine("", 0):
        print(line)
    print("\n| family | " + " | ".join(f"{targets}, {str(dtype)[6:]}" for targets, dtype in CASES) + " | seconds |")
    print("|---|" + "---:|" * (len(CASES) + 1))
    for family in FAMILIES:
        with tempfile.TemporaryDirectory(prefix="loratui-trace-") as directory:
            write_sized(family, Path(directory))
            results = [compare(family, Path(directory), targets, dtype) for targets, dtype in CASES]
        ratios = " | ".join(f"{ratio:.3f}" for ratio, _ in results)
        print(f"| {family} | {ratios} | {max(seconds for _, seconds in results):.1f} |", flush=True)


def compare(family: str, directory: Path, targets: str, dtype: torch.dtype) -> tuple[float, float]:
    """Return traced by allocated bytes, and the seconds that the trace took."""
    modules = ATTENTION.get(family, ("q_proj", "v_proj")) if targets == "attention" else targets
    lora = LoraSpec(r=8, lora_dropout=0.0, target_modules=modules)
    spec = Spec(ModelSpec(str(directory)), DataSpec("-", max_length=TOKENS), lora, TrainSpec())
    config, device = load_config(spec), torch.device("cpu")
    started = time.perf_counter()
    traced = PassTracer(spec, config, dtype, TOKENS).peak_bytes(TOKENS, recompute=False)
    seconds = time.perf_counter() - started
    model = add_adapter(load_base_model(spec, config, dtype, device), spec)
    forward = choose_forward(model, device, dtype, TOKENS)
    gc.collect()  # what the trace leaves behind would be freed in the pass
    allocated = memory_budget._try(forward, [random_row(model, TOKENS, 0)])
    assert allocated is not None
    return traced / allocated, seconds


if __name__ == "__main__":
    main()
