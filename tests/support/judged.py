"""Judgements of answers, as a blind test writes them."""

from __future__ import annotations

from engine.preference.judgement_log import (
    Judgement,
    Preference,
    Side,
)

BASE = Side("some/model")
FIRST, SECOND = Side("some/model", "0001-00c0ffee", 10), Side("some/model", "0002-00c0ffee", 10)


def preferred(
    prompt: str, verdict: Preference, *, sides: tuple[Side, Side] = (FIRST, SECOND), mark: str = ""
) -> Judgement:
    return Judgement(
        id=f"{prompt}{mark}", time=1.0, prompt=prompt, first=sides[0], second=sides[1], first_on_left=True, seed="s",
        prompts=4, verdict=verdict,
    )  # fmt: skip
