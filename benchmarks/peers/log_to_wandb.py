"""Log the lines of `benchmarks.step_lines` to a local run of Weights & Biases: `log_to_wandb.py DIR < LINES`."""

import json
import sys

import wandb

settings = wandb.Settings(mode="offline", silent=True, console="off")
with wandb.init(project="benchmark", dir=sys.argv[1], settings=settings) as run:
    for line in sys.stdin:
        figures = json.loads(line)
        step = figures.pop("step")
        run.log({f"train/{name}": value for name, value in figures.items()}, step=step)
