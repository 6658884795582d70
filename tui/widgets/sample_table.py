"""Sample answers, each prompt with what was expected, what the base model said and what the adapter says by now."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from engine.events import Sampled
from tui.plain import clean

INSTRUCTION, RESPONSE = "### Instruction:", "### Response:"  # Alpaca's headings


def sample_table(samples: Sequence[Sampled]) -> Table:
    """The prompts in the order they were asked in; of the answers the base model's and the latest."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    base = {item.prompt: item for item in samples if item.step == 0}
    latest = {item.prompt: item for item in samples if item.step == samples[-1].step}
    for number, (prompt, item) in enumerate(latest.items(), 1):
        if number > 1:
            table.add_row()
        table.add_row(Text(f"prompt {number}", "bold"), Text(_lines(_question(prompt)), "bold"))
        table.add_row(Text("expected", "dim"), Text(_lines(item.expected), "dim"))
        if prompt in base:
            table.add_row(Text("base"), Text(_lines(base[prompt].text)))
        if item.step > 0:
            table.add_row(Text(f"step {item.step:,}", "bold green"), Text(_lines(item.text)))
    return table


def _question(prompt: str) -> str:
    """The prompt without what every Alpaca row has around its instruction and input."""
    return (prompt.partition(INSTRUCTION)[2] or prompt).removesuffix(RESPONSE)


def _lines(text: str) -> str:
    """The lines that say something, harmless to the terminal."""
    return clean("\n".join(line for line in text.splitlines() if line.strip())) or "(nothing)"
