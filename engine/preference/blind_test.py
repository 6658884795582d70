"""A blind test: a judge compares two sides' answers to the same prompts without knowing which side gave which.

The sides are two rounds, or a round and its base model. The order of the prompts, and the side on the left, come from a
random seed that is saved with the judgements, so that they stay the same when the judge goes on, and cannot be guessed.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from engine.errors import RoundError
from engine.files.paths import Workspace
from engine.preference.judgement_log import Judgement, Judgements, Preference, Retraction, Side
from engine.preference.win_rate import WinRate
from engine.runs.answers import Answer, read_answers
from engine.runs.event_log import read_events
from engine.runs.events import Answered, Sampled, Saved, Started
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Round, Status
from engine.text.sanitize import clean

Choice = Literal["left", "right", "tie", "skip"]
ADVICE = "train with --set generation.examples=50, for example"


class PromptAnswer(Struct, frozen=True):
    """The expected answer to a prompt, and the side's."""

    expected: str
    text: str


class SideAnswers(Struct, frozen=True):
    """A side's answers after a training step, by prompt."""

    step: int
    answers_by_prompt: Mapping[str, PromptAnswer]


class Pair(Struct, frozen=True):
    """A prompt, its expected answer and those of both sides, as they are shown; `key` is the hash of the prompt."""

    key: str
    prompt: str
    expected: str
    first: str
    second: str


class Contest(Struct, frozen=True):
    """Two sides, and the prompts that they answered differently.

    Attributes:
        alike: number of prompts that they answered with the same text; these are not judged.
        sampled: whether these are the few short samples of training, as there are no scored answers.
    """

    first: Side
    second: Side
    pairs: tuple[Pair, ...]
    alike: int
    sampled: bool


def open_contest(workspace: Workspace, one: Round, other: Round | None) -> Contest:
    """Return the contest of two rounds, or of a round and its base model if `other` is None.

    It uses the scored answers of both if these have prompts in common, else the samples of both.

    Raises:
        RoundError: there is nothing to judge; says how to get answers.
    """
    rounds = (one, other or one)
    answers = [_answers_of(workspace, one, base=False), _answers_of(workspace, rounds[1], base=other is None)]
    for round_, own_answers in zip(rounds, answers, strict=True):
        if not any(side_answers.answers_by_prompt for side_answers in own_answers):
            raise RoundError(_no_answers(round_))
    sides = [Side(round_.spec.model.path, round_.id) for round_ in rounds]
    if other is None:
        sides[1] = Side(one.spec.model.path)
    for (first, second), sampled in zip(zip(*answers, strict=True), (False, True), strict=True):
        if common := [prompt for prompt in first.answers_by_prompt if prompt in second.answers_by_prompt]:
            contest = _contest(sides, (first, second), common, sampled)
            if not contest.pairs:
                raise RoundError(
                    f"{_named(one, other)} gave the same answers to all {contest.alike} prompts, so there is nothing "
                    f"to judge: more prompts may show a difference; {ADVICE}"
                )
            return contest
    raise RoundError(
        f"{_named(one, other)} have no prompts in common, so there is nothing to judge: choose rounds of the "
        f"same data, split and prompt template; {ADVICE}"
    )


def _contest(sides: Sequence[Side], answers: Sequence[SideAnswers], prompts: Sequence[str], sampled: bool) -> Contest:
    with_steps = [
        Side(side.model, side.run, own_answers.step if side.run else 0)
        for side, own_answers in zip(sides, answers, strict=True)
    ]
    order = (0, 1) if with_steps[0] <= with_steps[1] else (1, 0)
    first, second = (answers[index].answers_by_prompt for index in order)
    pairs = [
        Pair(_hash(prompt), *map(_shown, (prompt, first[prompt].expected, first[prompt].text, second[prompt].text)))
        for prompt in prompts
    ]
    different = tuple(pair for pair in pairs if pair.first != pair.second)
    first_side, second_side = (with_steps[index] for index in order)
    return Contest(first_side, second_side, different, len(pairs) - len(different), sampled)


def _hash(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:32]


def _shown(text: str) -> str:
    """Clean a text for the screen, both sides' in the same way, and strip the spaces at the ends of lines."""
    return clean("\n".join(line.rstrip() for line in text.strip().splitlines()))


def _answers_of(workspace: Workspace, round_: Round, *, base: bool) -> tuple[SideAnswers, SideAnswers]:
    """Read the scored answers and the samples of a round's last adapter, or of its base model."""
    run = workspace.run_dir(round_.id)
    snapshot = RunSnapshot(read_events(run.events, Started, Answered, Sampled, Saved))
    scored = [event.step for event in snapshot.answered if (event.step == 0) == base]
    sampled = [event.step for event in snapshot.samples if (event.step == 0) == base]
    final = [event.step for event in snapshot.saved if event.final and event.step in sampled]
    scored_step, sampled_step = (scored or [0])[-1], (final or sampled or [0])[-1]
    answers = read_answers(run, scored_step) if scored else []
    samples = [event for event in snapshot.samples if sampled and event.step == sampled_step]
    return SideAnswers(scored_step, _answers_by_prompt(answers)), SideAnswers(sampled_step, _answers_by_prompt(samples))


def _answers_by_prompt(answers: Iterable[Answer | Sampled]) -> dict[str, PromptAnswer]:
    return {answer.prompt: PromptAnswer(answer.expected, answer.text) for answer in answers}


def _no_answers(round_: Round) -> str:
    if round_.status is Status.IMPORTED:
        return f"round {round_.number} was imported without its answers, so there is nothing to judge: {ADVICE}"
    return f"round {round_.number} has no answers to held-out prompts yet, so there is nothing to judge: {ADVICE}"


def _named(one: Round, other: Round | None) -> str:
    return f"round {one.number} and its base model" if other is None else f"rounds {one.number} and {other.number}"


class Session:
    """A judge's way through a contest: each prompt once, continued after an interruption.

    `judge` and `take_back` return a line to write; after it was written, `keep` moves on.
    """

    def __init__(self, contest: Contest, judgements: Judgements) -> None:
        sides = (contest.first, contest.second)
        before = [judgement for judgement in judgements.valid if (judgement.first, judgement.second) == sides]
        self.contest = contest
        self.seed = before[-1].seed if before else new_seed()
        keys = {pair.key for pair in contest.pairs}
        self._judged = {judgement.prompt: judgement for judgement in before if judgement.prompt in keys}
        self._ordered = sorted(contest.pairs, key=lambda pair: _keyed_hash(self.seed, "order", pair.key))
        self._waiting = [pair for pair in self._ordered if pair.key not in self._judged]

    @property
    def current(self) -> Pair | None:
        """The pair to judge now; None when all were judged."""
        return self._waiting[0] if self._waiting else None

    @property
    def total(self) -> int:
        return len(self._ordered)

    @property
    def done(self) -> int:
        """Number of pairs that have a verdict or were skipped."""
        return self.total - len(self._waiting)

    @property
    def skipped(self) -> int:
        return sum(judgement.verdict == "skip" for judgement in self._judged.values())

    def first_on_left(self, pair: Pair) -> bool:
        """Return a random bit that is the same for a prompt each time."""
        return _keyed_hash(self.seed, "left", pair.key)[0] % 2 == 0

    def answers(self, pair: Pair) -> tuple[str, str]:
        """Return the answer on the left, and the one on the right."""
        return (pair.first, pair.second) if self.first_on_left(pair) else (pair.second, pair.first)

    def judge(self, choice: Choice) -> Judgement:
        """Return the judgement of the current pair, to be written."""
        pair = self._waiting[0]
        first_on_left = self.first_on_left(pair)
        verdict: Preference = "tie" if choice == "tie" else "skip"
        if choice in ("left", "right"):
            verdict = "first" if (choice == "left") == first_on_left else "second"
        return Judgement(
            id=secrets.token_hex(8), time=time.time(), prompt=pair.key, first=self.contest.first,
            second=self.contest.second, first_on_left=first_on_left, seed=self.seed,
            prompts=self.total, verdict=verdict,
        )  # fmt: skip

    def take_back(self) -> Retraction | None:
        """Return the retraction of the last judgement, to be written; None if there is no judgement."""
        last = next(reversed(self._judged.values()), None)
        return None if last is None else Retraction(id=last.id, time=time.time())

    def keep(self, line: Judgement | Retraction) -> None:
        """Move on after `line` was written: to the next prompt, or back to the one of a retracted judgement."""
        if isinstance(line, Judgement):
            self._judged.pop(line.prompt, None)
            self._judged[line.prompt] = line
            self._waiting = [pair for pair in self._waiting if pair.key != line.prompt]
            return
        prompt = next(key for key, judgement in self._judged.items() if judgement.id == line.id)
        del self._judged[prompt]
        retracted = next(pair for pair in self._ordered if pair.key == prompt)
        self._waiting = [retracted, *(pair for pair in self._waiting if pair is not retracted)]

    def ask_skipped(self) -> None:
        """Put the skipped pairs at the end of those to judge."""
        skipped = {key for key, judgement in self._judged.items() if judgement.verdict == "skip"}
        self._waiting += [pair for pair in self._ordered if pair.key in skipped and pair not in self._waiting]

    @property
    def rate(self) -> WinRate:
        """The win rate of the first side."""
        verdicts = [judgement.verdict for judgement in self._judged.values()]
        return WinRate(verdicts.count("first"), verdicts.count("tie"), verdicts.count("second"))


def new_seed() -> str:
    """Return a random seed that cannot be guessed."""
    return secrets.token_hex(16)


def _keyed_hash(seed: str, purpose: str, key: str) -> bytes:
    return hashlib.sha256(f"{seed} {purpose} {key}".encode()).digest()
