"""Sample answers, each prompt with what was expected, what the base model said and what the adapter says by now."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from engine.runs.events import Sampled
from tui.terminal.console import clean

INSTRUCTION, RESPONSE = "### Instruction:", "### Response:"  # Alpaca's headings


def sample_table(samples: Sequence[Sampled], steps: Sequence[int] | None = None) -> Table:
    """The prompts in the order they were asked in, each with the base model's answer and those after `steps`.

    Without `steps` it is the latest.
    """
    steps = [samples[-1].step] if steps is None else steps
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    answers = {(item.prompt, item.step): item for item in samples}
    for number, prompt in enumerate(dict.fromkeys(item.prompt for item in samples), 1):
        recorded = [
            answers[prompt, step] for step in (0, *(step for step in steps if step > 0)) if (prompt, step) in answers
        ]
        if not recorded:
            continue
        if number > 1:
            table.add_row()
        table.add_row(Text(f"prompt {number}", "bold"), Text(_lines(question(prompt)), "bold"))
        table.add_row(Text("expected", "dim"), Text(_lines(recorded[0].expected), "dim"))
        for item in recorded:
            name = Text(f"step {item.step:,}", "bold") if item.step > 0 else Text("base")
            table.add_row(name, Text(_lines(item.text)))
    return table


def question(prompt: str) -> str:
    """The prompt without what every Alpaca row has around its instruction and input."""
    return (prompt.partition(INSTRUCTION)[2] or prompt).removesuffix(RESPONSE)


def _lines(text: str) -> str:
    """The lines that say something, harmless to the terminal."""
    return clean("\n".join(line for line in text.splitlines() if line.strip())) or "(nothing)"
