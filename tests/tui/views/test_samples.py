from __future__ import annotations

import pytest

from engine.dataset.templates import WITHOUT_INPUT
from tui.views.samples import question


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (
            WITHOUT_INPUT.format(instruction="Say one."),
            "Say one.",
        ),  # as the engine records it, with its last line break
        (WITHOUT_INPUT.format(instruction="Say one.").rstrip(), "Say one."),
        ("Where is ### Response: written?", "Where is ### Response: written?"),
        ("Just text\n", "Just text"),
    ],
)
def test_headings_of_alpaca_are_not_part_of_the_question(prompt: str, shown: str) -> None:
    assert question(prompt).strip() == shown
