"""Log the lines of `benchmarks.step_lines` as TensorBoard events: `log_to_tensorboard.py DIR < LINES`."""

import json
import sys

from tensorboardX import SummaryWriter

with SummaryWriter(sys.argv[1], flush_secs=1) as writer:
    for line in sys.stdin:
        figures = json.loads(line)
        step = figures.pop("step")
        for name, value in figures.items():
            writer.add_scalar(f"train/{name}", value, step)
