"""Follow the steps in README: `make run`, train a nano round from its form, watch it until it ends, and leave.

Run `python -m scripts.newcomer` in a fresh clone without an install, with a Python that has pexpect and pyte. It fails
and prints the screen if the app does not show an expected text.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.terminal import DOWN, ENTER, Terminal, ctrl

ROOT = Path(__file__).resolve().parents[1]
INSTALL_SECONDS = 1800.0
TRAINING_SECONDS = 900.0


def train_from_the_form() -> None:
    """Queue a nano round in the app that `make run` opens, watch it until it is finished, and leave."""
    with Terminal(["make", "run"], ROOT, columns=120, rows=36) as terminal:
        terminal.wait_for("5 rounds", seconds=INSTALL_SECONDS)
        terminal.type("n")
        terminal.wait_for("Start the new round from", "nano")
        terminal.type(DOWN + ENTER)
        terminal.wait_for("from preset nano", "rows to train on")
        terminal.type(ctrl("s"))
        terminal.wait_for("Round 6", "training", seconds=TRAINING_SECONDS)
        terminal.wait_for("finished", seconds=TRAINING_SECONDS)
        terminal.type("q")
        code = terminal.wait_for_end()
    if code:
        sys.exit(f"make run ended with exit code {code}")


def main() -> None:
    train_from_the_form()
    command = [".venv/bin/loratui", "ls", "--json", "--workspace", "workspace"]
    rounds = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    if len(rounds) != 6 or rounds[-1]["status"] != "finished":
        sys.exit(f"the round did not finish: {rounds[-1]}")
    print(f"a newcomer trained a round; its perplexity is {rounds[-1]['result']['perplexity']}")


if __name__ == "__main__":
    main()
