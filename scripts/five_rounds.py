"""Train the reference's five rounds through the app, as a person would: each cloned from the one before, with its note.

`python -m scripts.five_rounds --model DIR --data FILE WORKSPACE` types into the app and waits, for hours with a real
model. Started again it goes on after the last round. Warm-up is the reference's share of the steps, as there are fewer
rows than its 2,600.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.terminal import ENTER, ESCAPE, Terminal, ctrl

PROGRAM = str(Path(sys.executable).with_name("loratui"))
ROUND_SECONDS = 6 * 3600.0
NAME = "smollm2-alpaca"
DISCARD = "d discard a half-filled form"
PASTE = "\x1b[200~{}\x1b[201~"  # as a terminal sends what is pasted


class ReferenceRound(NamedTuple):
    """The settings of one of the reference's rounds in which it differs from the one before, and its note."""

    settings: dict[str, str]
    note: str


ROUNDS = (
    ReferenceRound(
        {
            "lora.r": "8", "lora.lora_alpha": "32", "lora.lora_dropout": "0.1", "lora.target_modules": "q_proj, v_proj",
            "data.eval_fraction": "0.1", "data.max_length": "512",
            "train.learning_rate": "2e-4", "train.per_device_train_batch_size": "4",
            "train.gradient_accumulation_steps": "8", "train.num_train_epochs": "3", "train.warmup_steps": "45.05 %",
            "train.save_strategy": "epoch", "train.logging_steps": "10",
        },
        "The usual starting values.",
    ),
    ReferenceRound(
        {
            "train.learning_rate": "5e-5", "train.per_device_train_batch_size": "8",
            "train.gradient_accumulation_steps": "4", "train.num_train_epochs": "4", "train.warmup_steps": "33.78 %",
        },
        "Twice the batch, half the accumulation. A lower learning rate and one more epoch.",
    ),
    ReferenceRound(
        {"train.learning_rate": "2e-5", "train.num_train_epochs": "5", "train.warmup_steps": "81.08 %"},
        "A lower learning rate against the oscillation, more epochs to make up for it, and a longer warm-up.",
    ),
    ReferenceRound(
        {"train.learning_rate": "5e-5", "train.num_train_epochs": "3", "train.warmup_steps": "22.52 %"},
        "Back to a higher learning rate with a shorter warm-up, and fewer epochs to save time.",
    ),
    ReferenceRound(
        {"train.learning_rate": "3e-5", "train.warmup_steps": "45.05 %"},
        "A lower learning rate again and a longer warm-up.",
    ),
)  # fmt: skip


def start(terminal: Terminal, number: int, settings: dict[str, str], note: str) -> None:
    """Open the form of round `number`, paste its settings, write its note, and start it.

    The first starts from the preset that the list names first, each other one from the round before, which is selected.
    """
    origin = "from preset" if number == 1 else f"clone of round {number - 1}"
    terminal.type("n")
    if DISCARD in terminal.wait_for("Start the new round from"):  # this program was ended while it filled in the form
        terminal.type("d")
        terminal.wait_until(lambda screen: DISCARD not in screen, "the list without the half-filled form")
    terminal.type(ENTER)
    terminal.wait_for(origin, seconds=120)
    line = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in settings.items())
    line += f" --name {NAME}" if number == 1 else ""
    terminal.type(PASTE.format(line))
    terminal.wait_for(f"the pasted line set {len(settings)} field")
    terminal.type(ctrl("n"))
    terminal.type(PASTE.format(note))
    terminal.wait_for(note.split()[-1])
    terminal.type(ctrl("s"))
    terminal.wait_for(f"Round {number} ", seconds=120)


def watch(terminal: Terminal, number: int) -> None:
    """Wait in the run screen until the round has ended, and go back to the table, where it is selected."""
    terminal.wait_until(
        lambda screen: any(f"{word} " in screen.split("\n")[0] for word in ("finished", "failed", "stopped")),
        f"the end of round {number}",
        ROUND_SECONDS,
    )
    terminal.type(ESCAPE)
    terminal.wait_for(f"{number} rounds" if number > 1 else "1 round")


def rounds_of(workspace: Path) -> list[dict[str, Any]]:
    """Return the rounds in the workspace as `loratui ls --json` prints them."""
    command = [PROGRAM, "ls", "--json", "--workspace", str(workspace)]
    rounds: list[dict[str, Any]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts.five_rounds", description=__doc__)
    parser.add_argument("--model", required=True, help="directory of the base model")
    parser.add_argument("--data", required=True, help="Alpaca rows")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the first round, for a smaller copy",
    )
    parser.add_argument("workspace", type=Path)
    options = parser.parse_args()
    # All rows: the preset that the first round starts from has more than there may be.
    first = {"model.path": options.model, "data.path": options.data, "model.dtype": "auto", "data.samples": ""}
    first |= dict(setting.split("=", 1) for setting in options.set)
    rounds = train_rounds(options.workspace, first)
    for each in rounds:
        print(each["number"], each["status"], each["result"]["perplexity"], each["result"]["eval_loss_interval"])
    if [each["status"] for each in rounds] != ["finished"] * len(ROUNDS):
        sys.exit("not all rounds are finished")


def train_rounds(workspace: Path, first: dict[str, str]) -> list[dict[str, Any]]:
    """Train the rounds that are missing in `workspace`, the first one with the settings `first` too; return all."""
    workspace.mkdir(parents=True, exist_ok=True)
    is_new = not (workspace / "experiments.json").exists()
    done = 0 if is_new else len(rounds_of(workspace))
    with Terminal([PROGRAM, str(workspace)], workspace, columns=120, rows=40) as terminal:
        if is_new:
            terminal.wait_for("Welcome to loratui")
            terminal.type(ENTER)
        terminal.wait_for(f"{done} round")
        for number in range(done + 1, len(ROUNDS) + 1):
            settings, note = ROUNDS[number - 1]
            start(terminal, number, settings | first if number == 1 else settings, note)
            watch(terminal, number)
        terminal.type("q")
        terminal.wait_for_end()
    return rounds_of(workspace)


if __name__ == "__main__":
    main()
