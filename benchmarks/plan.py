"""Compare the memory that a plan foretells with what rounds take: `python -m benchmarks.plan [--device cpu|cuda]`.

It trains 24 short rounds, each in a process of its own: four families, three sizes, adapters on attention alone and on
all linear layers. The plan knows the lengths of their rows, as the form and `loratui plan` do.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.machine import describe_machine
from engine.files.paths import RunDir
from engine.planning.devices import device_here
from engine.planning.length_request import LengthRequest
from engine.planning.memory import memory_need
from engine.planning.row_lengths import RowLengths, trained_rows
from engine.preflight.checks import check
from engine.runs.event_log import read_events
from engine.runs.events import Finished, Prepared
from engine.spec.data import DataSpec
from engine.spec.lora import LoraSpec
from engine.spec.presets import EMBEDDED, embedded_model
from engine.spec.schema import ModelSpec, Spec, TrainSpec

GIB = 2**30
ROW_TOKENS, BATCH, STEPS = 128, 64, 3
# Hidden size, width of the feed-forward layers, layers and heads.
SIZES = {"small": (256, 704, 6, 4), "medium": (512, 1408, 12, 8), "large": (768, 2112, 12, 12)}
FAMILIES = ("llama", "qwen3", "gemma", "gpt_neox")
ATTENTION = {"gpt_neox": ("query_key_value",)}


class Figures(NamedTuple):
    """Bytes that a round was said to take before it began and when the engine had measured its passes, and took."""

    planned: int
    measured: int
    actual: int
    verdict: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.plan", description=__doc__)
    parser.add_argument("--data", default=EMBEDDED, help="rows to train on (default: those that come with loratui)")
    options = parser.parse_args()
    device = device_here()
    for line in describe_machine(device.name, 0):
        print(line)
    print("\n| round | planned | at its start | peak | planned ÷ peak | at its start ÷ peak | verdict |")
    print("|---|---:|---:|---:|---:|---:|---|")
    ratios: list[float] = []
    with tempfile.TemporaryDirectory(prefix="loratui-plan-") as directory:
        for name, spec in rounds(Path(directory), options.data):
            figures = train(Path(directory) / "run", spec)
            ratios.append(figures.planned / figures.actual)
            sizes = " | ".join(f"{size / GIB:.2f} GiB" for size in figures[:3])
            ratio, later = (part / figures.actual for part in figures[:2])
            print(f"| {name} | {sizes} | {ratio:.2f} | {later:.2f} | {figures.verdict} |", flush=True)
    errors = [abs(ratio - 1) for ratio in ratios]
    limit = 0.05 if device.is_gpu else 0.15
    print(f"\n{len(ratios)} rounds: median error {statistics.median(errors):.1%}, worst {max(errors):.1%}")
    print(f"- {'met' if max(errors) <= limit else 'not met'}: within {limit:.0%}")


def rounds(directory: Path, data: str) -> Iterator[tuple[str, Spec]]:
    """Write the models, and yield each round by its name."""
    for family in FAMILIES:
        for size in SIZES:
            model = write_model(directory / f"{family}-{size}", family, *SIZES[size])
            attention = ATTENTION.get(family, ("q_proj", "v_proj"))
            for targets in (attention, "all-linear"):
                yield (
                    f"{family} {size}, {', '.join(targets) if isinstance(targets, tuple) else targets}",
                    Spec(
                        ModelSpec(str(model), dtype="auto"),
                        DataSpec(data, samples=3 * BATCH, eval_fraction=0.1, max_length=ROW_TOKENS),
                        LoraSpec(r=16, lora_dropout=0.0, target_modules=targets),
                        TrainSpec(
                            per_device_train_batch_size=BATCH,
                            gradient_accumulation_steps=1,
                            max_steps=STEPS,
                            sample_tokens=0,
                        ),
                    ),
                )
            shutil.rmtree(model)


def write_model(directory: Path, family: str, width: int, inner: int, layers: int, heads: int) -> Path:
    """Write a model of random weights with the tokenizer that comes with loratui."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    tokenizer: Any = AutoTokenizer.from_pretrained(embedded_model())
    kind: Any = CONFIG_MAPPING[family]
    config = kind(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, head_dim=width // heads, max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def train(directory: Path, spec: Spec) -> Figures:
    """Plan a round for this machine as it is now, and train it in a process of its own."""
    plan, lengths = check(spec).plan, LengthRequest().measure(spec)
    assert isinstance(lengths, RowLengths)
    need = memory_need(spec, plan, device_here(), trained_rows(spec, plan, lengths))
    assert need is not None and need.peak is not None
    shutil.rmtree(directory, ignore_errors=True)
    run = RunDir(directory)
    directory.mkdir()
    run.spec.write_bytes(msgspec.json.encode({"id": "plan", "number": 1, "spec": spec}))
    command = [sys.executable, "-P", "-m", "engine.training", str(directory)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    events = [*read_events(run.events)]
    prepared = next(event for event in events if isinstance(event, Prepared))
    finished = next(event for event in events if isinstance(event, Finished))
    peak = finished.result.peak_memory_bytes
    assert peak is not None and prepared.estimated_memory_bytes is not None
    return Figures(need.peak, prepared.estimated_memory_bytes, peak, need.verdict)


if __name__ == "__main__":
    main()
