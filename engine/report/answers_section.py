"""The sections of a write-up on answers: scores, judgements of people, samples."""

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
    """Put `text` in a code block that nothing within it can close."""
    cleaned = clean(text)
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", cleaned))]))
    return f"{fence}{language}\n{cleaned}\n{fence}"


def answer_scores(rounds: Sequence[Round], runs: Runs) -> Iterator[str]:
    """Yield the scores of answers to held-out prompts against the expected ones, and how they were computed."""
    answered = [round_ for round_ in rounds if round_.result.generation]
    if not answered:
        return
    leaders_by_key = {key: find_leaders(answered, key) for key in TEXT_SCORES}
    rows = [[f"round {round_.number}", str(round_.spec.generation.examples)] for round_ in answered]
    for row, round_ in zip(rows, answered, strict=True):
        for key, leaders in leaders_by_key.items():
            text = columns()[key].text(round_)
            text = f"**{text}**" if round_.number in leaders.best else text
            row.append(f"{INCOMPARABLE} {text}" if round_.number in leaders.incomparable else text)
    bases: dict[tuple[str, ...], list[int]] = {}
    for round_ in answered:
        base = tuple(format_text_score(key, round_.result.base_generation.get(key)) for key in TEXT_SCORES)
        bases.setdefault((str(round_.spec.generation.examples), *base), []).append(round_.number)
    names = ["base model" if len(bases) == 1 else f"base model of {name_rounds(numbers)}" for numbers in bases.values()]
    rows = [[name, *base] for name, base in zip(names, bases, strict=True)] + rows
    yield markdown_table(["", "prompts", *TEXT_SCORES.values()], rows, [False, *[True] * (1 + len(TEXT_SCORES))])
    yield "Greedy answers; BLEU and chrF go to 100, ROUGE (F1) to 1; higher is better."
    if any(leaders.best for leaders in leaders_by_key.values()):
        yield "**Bold**: the best among the rounds with the same prompts."
    if any(leaders.incomparable for leaders in leaders_by_key.values()):
        yield f"{INCOMPARABLE}: answers to other prompts, or of another length, than those of most rounds."
    signatures = {
        (TEXT_SCORES[name], signature)
        for round_ in answered
        for event in runs[round_.number].answered
        for name, signature in event.signatures.items()
        if name in TEXT_SCORES
    }
    if signatures:
        texts = [f"{name} {escape_markdown(signature)}" for name, signature in sorted(signatures)]
        yield f"Computed by {'; '.join(texts)}."


def samples(rounds: Sequence[Round], runs: Runs) -> Iterator[str]:
    """Yield the last answers of the rounds to the prompts that they share, prompt by prompt."""
    answers_by_prompt: dict[str, dict[str, str]] = {}
    for round_ in rounds:
        sampled = runs[round_.number].samples
        last = sampled[-1].step if sampled else 0
        for sample in sampled:
            if sample.step in (0, last):
                answers = answers_by_prompt.setdefault(sample.prompt, {"expected": sample.expected})
                who = "base model" if sample.step == 0 else f"round {round_.number}"
                answers.setdefault(who, sample.text)
    for prompt, answers in list(answers_by_prompt.items())[:SHOWN_PROMPTS]:
        rows = [[who, escape_markdown(text) or "(nothing)"] for who, text in answers.items()]
        yield f"{fenced(prompt.strip(), 'text')}\n\n{markdown_table(['', 'answer'], rows)}"


def judgements(workspace: Workspace, rounds: Sequence[Round]) -> str:
    """Write the ranking of these rounds and their base models by blind judgements; "" if there are none.

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
    items = [f"- {escape_markdown(f'{sentence[:1].upper()}{sentence[1:]}.')}" for sentence in ranking.sentences]
    return f"{table}\n\nWorth by a Bradley-Terry model: {WORTH_EXPLAINED}\n\n" + "\n".join(items)
