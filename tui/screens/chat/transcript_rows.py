"""The lines of a conversation on a terminal: what was said, and the answers side by side or beneath each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from rich.cells import cell_len, chop_cells

from engine.chat.conversation import BASE, ChatAnswer, Exchange, Speaker
from tui.terminal.console import clean, clean_line

Look = Literal["said", "speaker", "text", "figures", "refusal", "rule"]
Row = list[tuple[str, Look]]

SPAN = 36  # cells that an answer has to have at least beside another
RULE = " │ "
TAB = 4
WAITS = "…"


class Frame(NamedTuple):
    """What else an exchange is drawn by.

    Attributes:
        width: in cells.
        speakers: those who take part now.
        positions: how many tokens a conversation may have, None if that is not known.
        asked, growing: of the exchange that is being answered, who is to answer and what there is of it by now.
    """

    width: int
    speakers: tuple[Speaker, ...]
    positions: int | None
    asked: tuple[str, ...] = ()
    growing: Mapping[str, str] = {}


def columns_of(width: int, number: int) -> int:
    """How many of `number` answers fit beside each other: all of them or, on a narrow terminal, one."""
    return number if number > 1 and (width - len(RULE) * (number - 1)) // number >= SPAN else 1


def exchange_rows(exchange: Exchange, frame: Frame) -> list[Row]:
    """The rows of one exchange, and an empty one behind it."""
    rows: list[Row] = [[(line, "said")] for line in wrapped(f"› {exchange.message}", frame.width)]
    speakers = _speakers_in(exchange, frame)
    columns = columns_of(frame.width, len(speakers))
    blocks = [_block(item, exchange, frame, (frame.width - len(RULE) * (columns - 1)) // columns, len(speakers) > 1)
              for item in speakers]  # fmt: skip
    if columns == 1:
        for block in blocks:
            rows += [[], *block]
    elif blocks:
        rows += [[], *_beside(blocks, (frame.width - len(RULE) * (columns - 1)) // columns)]
    return [*rows, []]


def _speakers_in(exchange: Exchange, frame: Frame) -> list[Speaker]:
    """Who answered or is to; one that takes part no more stands behind the others."""
    keys = {*exchange.answers, *frame.asked}
    present = [item for item in frame.speakers if item.key in keys]
    gone = [Speaker(key, None) for key in exchange.answers if key not in {item.key for item in present}]
    return [*present, *gone]


def _block(speaker: Speaker, exchange: Exchange, frame: Frame, width: int, named: bool) -> list[Row]:
    """One answer: whose it is where there are several, its text, and its figures."""
    rows: list[Row] = []
    if named:
        told = f"{speaker.called} {speaker.name}".rstrip() if speaker.key != BASE else "base model"
        rows.append([(line, "speaker") for line in wrapped(clean_line(told), width)[:1]])
    answer = exchange.answers.get(speaker.key)
    text = answer.text if answer is not None else frame.growing.get(speaker.key, WAITS)
    if text:
        rows += [[(line, "text")] for line in wrapped(text.strip("\n"), width)]
    if answer is None:
        return rows
    if answer.refusal:
        rows += [[(line, "refusal")] for line in wrapped(f"✗ {answer.refusal}", width)]
    if answer.tokens or not answer.refusal:
        rows += [[(line, "figures")] for line in wrapped(figures(answer, frame.positions), width)]
    return rows


def figures(answer: ChatAnswer, positions: int | None) -> str:
    """`24 tokens · 12.3 tokens/s · 231 of 2,048 positions`, and how it ended if not by itself."""
    used = answer.prompt_tokens + answer.tokens
    parts = [f"{answer.tokens:,} token{'s' * (answer.tokens != 1)}"]
    if (rate := answer.tokens_per_second) is not None:
        parts.append(f"{rate:,.1f} tokens/s")
    parts.append(f"{used:,} of {positions:,} positions" if positions is not None else f"{used:,} positions")
    full = positions is not None and used >= positions
    ending = {"complete": "", "stopped": "stopped", "cut": "at the last position" if full else "cut at max_new_tokens"}
    return " · ".join([*parts, *filter(None, [ending[answer.ending]])])


def _beside(blocks: Sequence[list[Row]], width: int) -> list[Row]:
    """Blocks as columns of `width` cells."""
    rows: list[Row] = []
    for number in range(max(map(len, blocks))):
        row: Row = []
        for place, block in enumerate(blocks):
            pieces = block[number] if number < len(block) else []
            used = sum(cell_len(text) for text, _ in pieces)
            if place:
                row.append((RULE, "rule"))
            row += [*pieces, (" " * (width - used), "text")]
        rows.append(row)
    return rows


def wrapped(text: str, width: int) -> list[str]:
    """`text` as lines of at most `width` cells, made harmless; broken at spaces as far as there are any."""
    return [line for paragraph in clean(text).split("\n") for line in _wrap(paragraph, max(1, width))]


@lru_cache(maxsize=4096)
def _wrap(paragraph: str, width: int) -> tuple[str, ...]:
    """A growing answer is wrapped anew at each piece of it: of all its paragraphs only the last is not known here."""
    paragraph = paragraph.expandtabs(TAB)
    if cell_len(paragraph) <= width:
        return (paragraph,)
    lines, line, used = [], "", 0
    for word in _words(paragraph):
        size = cell_len(word.rstrip(" "))
        if size > width:
            *whole, line = chop_cells(line + word, width)
            lines += whole
        elif used + size > width and line.strip():
            lines.append(line.rstrip(" "))
            line = word
        else:
            line += word
        used = cell_len(line)
    return (*lines, line.rstrip(" "))


def _words(paragraph: str) -> list[str]:
    """Words, each with the spaces behind it; spaces at the start are a word of their own."""
    words, start = [], 0
    for place in range(1, len(paragraph)):
        if paragraph[place - 1] == " " != paragraph[place]:
            words.append(paragraph[start:place])
            start = place
    return [*words, paragraph[start:]]
