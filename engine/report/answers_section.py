"""What the models of rounds answered, as parts of their write-up: scores, what people preferred, samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from engine.compare.columns import TEXT_SCORES, columns, format_text_score
from engine.compare.comparability import INCOMPARABLE
from engine.compare.leaders import find_leaders
from engine.files.paths import Workspace
from engine.preference.judgement_log import read_judgements
from engine.preference.ranking import WORTH_EXPLAINED, rank, worth_text
from engine.preference.win_rate import interval_text
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Round
from engine.text.humanize import name_rounds
from engine.text.markdown import escape_markdown, markdown_table
from engine.text.sanitize import clean

SHOWN_PROMPTS = 3
Runs = Mapping[int, RunSnapshot]  # by the number of the round


def fenced(text: str, language: str) -> str:
    """`text` line by line, in a block that nothing within it can close."""
    cleaned = clean(text)
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", cleaned))]))
    return f"{fence}{language}\n{cleaned}\n{fence}"


def answer_scores(rounds: Sequence[Round], runs: Runs) -> Iterator[str]:
    """How near the answers to held-out prompts came to the expected ones, and how that was counted."""
    answered = [item for item in rounds if item.result.generation]
    if not answered:
        return
    stands = {key: find_leaders(answered, key) for key in TEXT_SCORES}
    rows = [[f"round {item.number}", str(item.spec.generation.examples)] for item in answered]
    for row, item in zip(rows, answered, strict=True):
        for key, found in stands.items():
            text = columns()[key].text(item)
            text = f"**{text}**" if item.number in found.best else text
            row.append(f"{INCOMPARABLE} {text}" if item.number in found.incomparable else text)
    bases: dict[tuple[str, ...], list[int]] = {}
    for item in answered:
        base = tuple(format_text_score(key, item.result.base_generation.get(key)) for key in TEXT_SCORES)
        bases.setdefault((str(item.spec.generation.examples), *base), []).append(item.number)
    names = ["base model" if len(bases) == 1 else f"base model of {name_rounds(numbers)}" for numbers in bases.values()]
    rows = [[name, *base] for name, base in zip(names, bases, strict=True)] + rows
    yield markdown_table(["", "prompts", *TEXT_SCORES.values()], rows, [False, *[True] * (1 + len(TEXT_SCORES))])
    yield "Greedy answers; BLEU and chrF go to 100, ROUGE (F1) to 1, and more is better."
    if any(found.best for found in stands.values()):
        yield "**Bold**: the best where the prompts are the same."
    if any(found.incomparable for found in stands.values()):
        yield f"{INCOMPARABLE}: to other prompts, or of another length, than most."
    signatures = {
        (TEXT_SCORES[name], told)
        for item in answered
        for found in runs[item.number].answered
        for name, told in found.signatures.items()
        if name in TEXT_SCORES
    }
    if signatures:
        yield "Counted by " + "; ".join(f"{name} {escape_markdown(told)}" for name, told in sorted(signatures)) + "."


def samples(rounds: Sequence[Round], runs: Runs) -> Iterator[str]:
    """What the rounds answered last to the prompts that they share, prompt by prompt."""
    said: dict[str, dict[str, str]] = {}
    for round_ in rounds:
        sampled = runs[round_.number].samples
        last = sampled[-1].step if sampled else 0
        for item in sampled:
            if item.step in (0, last):
                answers = said.setdefault(item.prompt, {"expected": item.expected})
                who = "base model" if item.step == 0 else f"round {round_.number}"
                answers.setdefault(who, item.text)
    for prompt, answers in list(said.items())[:SHOWN_PROMPTS]:
        rows = [[who, escape_markdown(text) or "(nothing)"] for who, text in answers.items()]
        yield f"{fenced(prompt.strip(), 'text')}\n\n{markdown_table(['', 'answer'], rows)}"


def judgements(workspace: Workspace, rounds: Sequence[Round]) -> str:
    """What people preferred who did not know whose answers they saw, of these rounds and their base models alone.

    Raises:
        StoreError: the judgements cannot be read.
    """
    ranking = rank(read_judgements(workspace.judgements), rounds)
    rows = [
        [
            escape_markdown(place.called), f"{place.rate.count:,}", f"{100 * place.rate.rate:.0f} %",
            interval_text(place.rate), f"{worth_text(place.worth)} ({worth_text(place.low)}–{worth_text(place.high)})",
        ]
        for place in ranking.places
    ]  # fmt: skip
    if not rows:
        return ""
    table = markdown_table(["", "judgements", "preferred", "95 %", "worth (95 %)"], rows)
    told = [f"- {escape_markdown(f'{sentence[:1].upper()}{sentence[1:]}.')}" for sentence in ranking.sentences]
    return f"{table}\n\nWorth by a Bradley-Terry model: {WORTH_EXPLAINED}\n\n" + "\n".join(told)
