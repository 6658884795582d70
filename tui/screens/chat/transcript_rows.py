"""The rows of a chat on a terminal: the messages, and the answers side by side or one below the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from rich.cells import cell_len, chop_cells

from engine.chat.conversation import BASE, ChatAnswer, Exchange, Speaker
from tui.terminal.console import clean, clean_line

Look = Literal["message", "speaker", "text", "figures", "refusal", "rule"]
Row = list[tuple[str, Look]]

MIN_WIDTH = 36  # in cells, of an answer beside another one
RULE = " │ "
TAB = 4
WAITS = "…"


class Frame(NamedTuple):
    """The things besides an exchange that its rows depend on.

    Attributes:
        width: in cells.
        speakers: of the chat as it is now.
        positions: how many tokens a chat may have; None if that is not known.
        waiting: keys of the speakers that have still to answer.
        growing: the text of their answers so far, by key.
    """

    width: int
    speakers: tuple[Speaker, ...]
    positions: int | None
    waiting: tuple[str, ...] = ()
    growing: Mapping[str, str] = {}


def columns_of(width: int, number: int) -> int:
    """Return how many of `number` answers fit beside each other: all of them or, on a narrow terminal, one."""
    return number if number > 1 and (width - len(RULE) * (number - 1)) // number >= MIN_WIDTH else 1


def exchange_rows(exchange: Exchange, frame: Frame) -> list[Row]:
    """Return the rows of one exchange, with an empty row at the end."""
    rows: list[Row] = [[(line, "message")] for line in wrapped(f"› {exchange.message}", frame.width)]
    speakers = _speakers_in(exchange, frame)
    columns = columns_of(frame.width, len(speakers))
    blocks = [_block(speaker, exchange, frame, (frame.width - len(RULE) * (columns - 1)) // columns, len(speakers) > 1)
              for speaker in speakers]  # fmt: skip
    if columns == 1:
        for block in blocks:
            rows += [[], *block]
    elif blocks:
        rows += [[], *_beside(blocks, (frame.width - len(RULE) * (columns - 1)) // columns)]
    return [*rows, []]


def _speakers_in(exchange: Exchange, frame: Frame) -> list[Speaker]:
    """Return those who answered or will; those who have left the chat come last."""
    keys = {*exchange.answers, *frame.waiting}
    present = [speaker for speaker in frame.speakers if speaker.key in keys]
    present_keys = {speaker.key for speaker in present}
    return [*present, *(Speaker(key, None) for key in exchange.answers if key not in present_keys)]


def _block(speaker: Speaker, exchange: Exchange, frame: Frame, width: int, named: bool) -> list[Row]:
    """Return the rows of one answer: its speaker if it is `named`, its text, and its figures."""
    rows: list[Row] = []
    if named:
        name = f"{speaker.called} {speaker.name}".rstrip() if speaker.key != BASE else "base model"
        rows.append([(line, "speaker") for line in wrapped(clean_line(name), width)[:1]])
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
    """Return `24 tokens · 12.3 tokens/s · 231 of 2,048 positions`, and why the answer was cut if it was."""
    used = answer.prompt_tokens + answer.tokens
    parts = [f"{answer.tokens:,} token{'s' * (answer.tokens != 1)}"]
    if (rate := answer.tokens_per_second) is not None:
        parts.append(f"{rate:,.1f} tokens/s")
    parts.append(f"{used:,} of {positions:,} positions" if positions is not None else f"{used:,} positions")
    full = positions is not None and used >= positions
    ending = {"complete": "", "stopped": "stopped", "cut": "at the last position" if full else "cut at max_new_tokens"}
    return " · ".join([*parts, *filter(None, [ending[answer.ending]])])


def _beside(blocks: Sequence[list[Row]], width: int) -> list[Row]:
    """Return blocks side by side, each `width` cells wide."""
    rows: list[Row] = []
    for number in range(max(map(len, blocks))):
        row: Row = []
        for column, block in enumerate(blocks):
            pieces = block[number] if number < len(block) else []
            used = sum(cell_len(text) for text, _ in pieces)
            if column:
                row.append((RULE, "rule"))
            row += [*pieces, (" " * (width - used), "text")]
        rows.append(row)
    return rows


def wrapped(text: str, width: int) -> list[str]:
    """Return `text`, cleaned, as lines of at most `width` cells, broken at spaces if there are any."""
    return [line for paragraph in clean(text).split("\n") for line in _wrap(paragraph, max(1, width))]


@lru_cache(maxsize=4096)
def _wrap(paragraph: str, width: int) -> tuple[str, ...]:
    """Wrap one paragraph. Cached, as a growing answer is wrapped at each update and only its last paragraph is new."""
    paragraph = paragraph.expandtabs(TAB)
    if cell_len(paragraph) <= width:
        return (paragraph,)
    lines, line, used = [], "", 0
    for word in _words(paragraph):
        size = cell_len(word.rstrip(" "))
        if size > width:
            *whole, line = chop_cells(line + word, width)
            lines += whole
        elif used + size > width:
            if line.strip():
                lines.append(line.rstrip(" "))
            line = word
        else:
            line += word
        used = cell_len(line)
    return (*lines, line.rstrip(" "))


def _words(paragraph: str) -> list[str]:
    """Return the words, each with the spaces behind it; spaces at the start are a word of their own."""
    words, start = [], 0
    for place in range(1, len(paragraph)):
        if paragraph[place - 1] == " " != paragraph[place]:
            words.append(paragraph[start:place])
            start = place
    return [*words, paragraph[start:]]
