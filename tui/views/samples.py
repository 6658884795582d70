"""Sample answers: each prompt with the expected answer and those of the base model and the adapter."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from engine.runs.events import Sampled
from tui.terminal.console import clean

INSTRUCTION, RESPONSE = "### Instruction:", "### Response:"  # Alpaca's headings


def sample_table(samples: Sequence[Sampled], steps: Sequence[int] | None = None) -> Table:
    """Return a table of the prompts in order, each with the answers of the base model and of the adapter at `steps`.

    Without `steps`, the latest step is shown.
    """
    steps = [samples[-1].step] if steps is None else steps
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    answers = {(sample.prompt, sample.step): sample for sample in samples}
    for number, prompt in enumerate(dict.fromkeys(sample.prompt for sample in samples), 1):
        recorded = [
            answers[prompt, step] for step in (0, *(step for step in steps if step > 0)) if (prompt, step) in answers
        ]
        if not recorded:
            continue
        if number > 1:
            table.add_row()
        table.add_row(Text(f"prompt {number}", "bold"), Text(_lines(question(prompt)), "bold"))
        table.add_row(Text("expected", "dim"), Text(_lines(recorded[0].expected), "dim"))
        for sample in recorded:
            name = Text(f"step {sample.step:,}", "bold") if sample.step > 0 else Text("base")
            table.add_row(name, Text(_lines(sample.text)))
    return table


def question(prompt: str) -> str:
    """Return the prompt without the fixed text of the Alpaca layout."""
    return (prompt.partition(INSTRUCTION)[2] or prompt).rstrip().removesuffix(RESPONSE)


def _lines(text: str) -> str:
    """Return the lines that are not blank, safe for the terminal."""
    return clean("\n".join(line for line in text.splitlines() if line.strip())) or "(nothing)"
