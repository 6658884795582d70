"""Messages, keys and filters under hostile text: nothing is mute, and no message hides its end."""

from __future__ import annotations

import random
from collections.abc import Callable

from rich.cells import cell_len

from engine.compare.filter_language import FilterError
from engine.compare.query import by_number, filter_rounds, why_none
from tests.support.faults.tried import Tried
from tests.support.hostile import HIDING, MARKUP, STEERING
from tests.support.rounds import make_round
from tui.terminal.console import clean_line
from tui.widgets.message_line import shortened

PIECES = ["ppl", "r", "tag", "<", ">=", "=", ":", "!", "-", "or", "|", "and", "not", "x", "3.3", *"()\"' "]


def test_no_filter_is_mute(tried: Tried, times: Callable[[int, int], int]) -> None:
    chance, count = random.Random(33), times(2_000, 50_000)
    rounds = [make_round(1, tags=("x",)), make_round(2)]
    mute = 0
    for _ in range(count):
        expression = "".join(chance.choices(PIECES, k=chance.randint(1, 12)))
        try:
            if not filter_rounds(rounds, expression):
                mute += not why_none(expression, by_number(rounds)).startswith("no round ")
        except FilterError as error:
            mute += not error.message
    tried("F33", "filters of random parts: each is read, refused with the part, or says what no round has", count, mute)
    assert mute == 0


def test_no_message_loses_its_end(tried: Tried) -> None:
    texts = [clean_line(f"{text * 99}: no space left on device") for text in (*STEERING, *HIDING, *MARKUP)]
    lost = sum(cell_len(shortened(text, 300)) > 300 or not shortened(text, 300).endswith("on device") for text in texts)
    tried("F33", "messages with hostile text: the end can be read", len(texts), lost)
    assert lost == 0
