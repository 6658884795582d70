"""The script most people run: plain `Trainer`, every row padded to `max_length`, gradient checkpointing on.

`python -m benchmarks.contenders.reference RUN_DIR [--group-by-length]`; with the option rows of like length share a
batch and are padded to the longest of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
    set_seed,
)

from benchmarks.contenders.task import Marks, arguments_of, load_rows, lora_config, read_spec
from engine.files.paths import RunDir


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--group-by-length", action="store_true")
    options = parser.parse_args()
    run = RunDir(options.run_dir)
    spec = read_spec(run)
    on_gpu = torch.cuda.is_available()
    set_seed(spec.train.seed)

    tokenizer = AutoTokenizer.from_pretrained(spec.model.path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    train, held_out = load_rows(spec, tokenizer)
    padding = "longest" if options.group_by_length else "max_length"
    collator = DataCollatorForSeq2Seq(tokenizer, padding=padding, max_length=spec.data.max_length)

    dtype = torch.float16 if on_gpu else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(spec.model.path, dtype=dtype)
    model.enable_input_require_grads()
    model = get_peft_model(model, lora_config(spec))

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            **arguments_of(spec, run),
            per_device_train_batch_size=spec.train.per_device_train_batch_size,
            per_device_eval_batch_size=spec.train.per_device_train_batch_size,
            gradient_accumulation_steps=spec.train.gradient_accumulation_steps,
            activation_checkpointing=True,
            fp16=on_gpu,
            train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        ),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=collator,
        callbacks=[Marks(run)],
    )
    trainer.train()
    model.save_pretrained(run.adapter)


if __name__ == "__main__":
    main()
