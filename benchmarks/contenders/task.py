"""What the peers' scripts share: the rows, the adapter, the arguments, and the marks they leave.

Rows become tokens here as in the scripts people write, without this engine's code: that both see the same tokens is
checked, not assumed.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import torch
from datasets import Dataset, disable_progress_bars, load_dataset
from peft import LoraConfig
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.flops import counted
from benchmarks.marks import EVALUATED, STEP, Mark, marks_file
from engine.files.paths import RunDir
from engine.spec.schema import Spec, decode_spec

INTRODUCTION = "Below is an instruction that describes a task"
REQUEST = "Write a response that appropriately completes the request."
IGNORED = -100


def read_spec(run: RunDir) -> Spec:
    """The spec of the round to train; raises SpecError or msgspec.DecodeError if it is none."""
    return decode_spec(msgspec.json.decode(run.spec.read_bytes())["spec"])


def prompt_of(row: dict[str, str]) -> str:
    """Alpaca's prompt (https://github.com/tatsu-lab/stanford_alpaca)."""
    instruction = f"### Instruction:\n{row['instruction']}\n\n"
    if row["input"].strip():
        context = ", paired with an input that provides further context. "
        return f"{INTRODUCTION}{context}{REQUEST}\n\n{instruction}### Input:\n{row['input']}\n\n### Response:\n"
    return f"{INTRODUCTION}. {REQUEST}\n\n{instruction}### Response:\n"


def load_rows(spec: Spec, tokenizer: PreTrainedTokenizerBase) -> tuple[Dataset, Dataset]:
    """(train, held-out) rows as `input_ids` and `labels`, unpadded, `IGNORED` where a token is not supervised."""
    disable_progress_bars()

    def encode(row: dict[str, str]) -> dict[str, list[int]]:
        prompt = tokenizer(prompt_of(row))["input_ids"]
        tokens = [*tokenizer(prompt_of(row) + row["output"])["input_ids"], tokenizer.eos_token_id]
        response = next((i for i, (a, b) in enumerate(zip(prompt, tokens, strict=False)) if a != b), len(prompt))
        start = 1 if spec.data.supervised_tokens == "all" else response
        labels = [IGNORED] * start + tokens[start:]
        return {"input_ids": tokens[: spec.data.max_length], "labels": labels[: spec.data.max_length]}

    rows = load_dataset("json", data_files=spec.data.path, split="train")
    if spec.data.samples is not None:
        rows = rows.select(range(spec.data.samples))
    rows = rows.map(encode, remove_columns=rows.column_names)
    rows = rows.filter(lambda row: any(label != IGNORED for label in row["labels"]))
    parts = rows.train_test_split(test_size=spec.data.eval_fraction, seed=spec.data.seed)
    return parts["train"], parts["test"]


def lora_config(spec: Spec) -> LoraConfig:
    """The adapter."""
    modules = spec.lora.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.lora.r,
        lora_alpha=spec.lora.lora_alpha,
        lora_dropout=spec.lora.lora_dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        bias=spec.lora.bias,
    )


def arguments_of(spec: Spec, run: RunDir) -> dict[str, Any]:
    """The arguments that every Trainer of this comparison is given; what is not here is each one's own choice."""
    return {
        "output_dir": str(run.checkpoints),
        "num_train_epochs": spec.train.num_train_epochs,
        "learning_rate": spec.train.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": spec.train.warmup_steps,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_steps": spec.train.logging_steps,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": spec.train.seed,
    }


class Marks(TrainerCallback):
    """Writes the marks of a Trainer's run."""

    def __init__(self, run: RunDir) -> None:
        self._file = marks_file(run).open("ab", buffering=0)

    def _mark(self, kind: str) -> None:
        peak = None
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a step has ended when the device has, and this engine waits for it too
            peak = torch.cuda.max_memory_allocated()
        self._file.write(msgspec.json.encode(Mark(kind, time.time(), counted(), peak)) + b"\n")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._mark("training")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._mark(STEP)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._mark(EVALUATED)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._mark("saved")
