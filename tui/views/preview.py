"""A row of the data as coloured text, for the screen and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from engine.dataset.preview import Preview
from tui.terminal.console import clean, clean_line

SUPERVISED = "black on green"
CUT = "dim strike"
SCISSORS = "✂"
BLOCKS = " ▁▂▃▄▅▆▇█"


def preview_facts(preview: Preview, warning_colour: str = "yellow", error_colour: str = "red") -> Text:
    """Describe the data and the row, a line each, and the warnings."""
    lines = [_data_line(preview), _lengths_line(preview), _row_line(preview)]
    text = Text("\n".join(line for line in lines if line))
    for warning in preview.warnings:
        text.append(f"\n! {clean_line(warning)}", warning_colour)
    if preview.problem is not None:
        text.append(f"\n✗ row {preview.row:,} is left out: {clean_line(preview.problem)}", f"bold {error_colour}")
    return text


def _data_line(preview: Preview) -> str:
    measured = preview.measured < preview.rows - preview.left_out
    of = f"of the first {preview.measured:,} rows" if measured else f"of {preview.measured:,} rows"
    are = "is" if preview.longer == 1 else "are"
    cut = f"{preview.longer:,} {of} {are} longer than max_length {preview.max_length:,}" if preview.longer else ""
    if cut and preview.format.name == "text":
        cut += ", and cut into windows"
    longest = f"longest {preview.longest:,} tokens"
    format_facts = [clean_line(fact) for fact in (str(preview.format), *preview.format.remarks())]
    return " · ".join(part for part in (*format_facts, longest, cut) if part)


def _lengths_line(preview: Preview) -> str:
    """Draw how many rows have which length, if they differ; a range without rows is empty."""
    if len(preview.histogram) < 2:
        return ""
    each = f", a block for each {preview.bin_tokens:,}" if preview.bin_tokens > 1 else ""
    return f"lengths {preview.shortest:,} {histogram_blocks(preview.histogram)} {preview.longest:,} tokens{each}"


def histogram_blocks(counts: Sequence[int]) -> str:
    """Draw counts as blocks of that height; a count of 0 is empty."""
    most = max(counts)
    return "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // most)] for count in counts)


def _row_line(preview: Preview) -> str:
    if not preview.segments:
        return ""
    cut = ""
    if preview.windows > 1:
        cut = f" in {preview.windows:,} windows"
    elif preview.tokens > preview.max_length:
        cut = f", cut at {preview.max_length:,}"
    row = f"row {preview.row:,} of {preview.rows:,}"
    return f"{row}: {preview.tokens:,} tokens{cut}, {preview.supervised_tokens:,} supervised"


def preview_text(preview: Preview, marks: tuple[str, str] = ("", "")) -> Text:
    """Return the row's text: supervised parts in colour and between `marks`, cut parts struck out after scissors."""
    text = Text()
    for index, segment in enumerate(preview.segments):
        if segment.cut and not preview.segments[index - 1].cut:
            text.append(SCISSORS, "bold red")
        style = CUT if segment.cut else SUPERVISED if segment.supervised else ""
        before, after = marks if segment.supervised and not segment.cut else ("", "")
        text.append(before + clean(segment.text) + after, style)
    return text
