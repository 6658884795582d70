"""TRL's SFTTrainer: `python -m benchmarks.contenders.trl_sft RUN_DIR SETTINGS`, SETTINGS being JSON for SFTConfig."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from benchmarks.contenders.task import Marks, arguments_of, load_rows, lora_config, read_spec
from engine.files.paths import RunDir
from engine.training.runtime.device import resolve_dtype


def main() -> None:
    run, settings = RunDir(Path(sys.argv[1])), json.loads(sys.argv[2])
    spec = read_spec(run)
    tokenizer = AutoTokenizer.from_pretrained(spec.model.path)
    train, held_out = load_rows(spec, tokenizer)
    arguments = {
        **arguments_of(spec, run),
        "per_device_eval_batch_size": settings["per_device_train_batch_size"],
        "max_length": spec.data.max_length,
        "use_cpu": not torch.cuda.is_available(),
        # TRL's default, which a CPU without instructions for it multiplies hundreds of times more slowly than float32.
        "bf16": torch.cuda.is_available() or resolve_dtype("auto", torch.device("cpu")) == torch.bfloat16,
        **settings,
    }
    trainer = SFTTrainer(
        model=spec.model.path,
        args=SFTConfig(**arguments),
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=lora_config(spec),
        callbacks=[Marks(run)],
    )
    trainer.train()
    trainer.save_model(str(run.adapter))


if __name__ == "__main__":
    main()
