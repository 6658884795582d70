"""Two sides before a judge who does not know which is which: the same prompts, answered by both.

The sides are two rounds, or a round and its base model. The order of the prompts, and who stands on the left, come from
a random seed that is kept with the judgements: the same again whenever the judge goes on, and not to be guessed.
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


class Reply(Struct, frozen=True):
    """The answer that was expected, and the one that was given."""

    expected: str
    text: str


class Said(Struct, frozen=True):
    """What a side said to prompts, and after which step that was."""

    step: int
    replies: Mapping[str, Reply]


class Pair(Struct, frozen=True):
    """A prompt, the answer that was expected, and those of both sides, as they are shown; `key` hashes the prompt."""

    key: str
    prompt: str
    expected: str
    first: str
    second: str


class Contest(Struct, frozen=True):
    """Two sides, and the prompts that they answered differently.

    Attributes:
        alike: how many they answered with the same text, which are not asked and count for nothing.
        sampled: whether these are the few short samples of training, for want of scored answers.
    """

    first: Side
    second: Side
    pairs: tuple[Pair, ...]
    alike: int
    sampled: bool


def open_contest(workspace: Workspace, one: Round, other: Round | None) -> Contest:
    """The contest of two rounds, or of a round and its base model where `other` is None.

    The scored answers of both are taken, if they are to some of the same prompts, else the samples of both.

    Raises:
        RoundError: there is nothing to judge; says how there would be.
    """
    rounds = (one, other or one)
    told = [_said_by(workspace, one, base=False), _said_by(workspace, rounds[1], base=other is None)]
    for round_, said in zip(rounds, told, strict=True):
        if not any(item.replies for item in said):
            raise RoundError(_told_silent(round_))
    sides = [Side(item.spec.model.path, item.id) for item in rounds]
    if other is None:
        sides[1] = Side(one.spec.model.path)
    for (first, second), sampled in zip(zip(*told, strict=True), (False, True), strict=True):
        if common := [prompt for prompt in first.replies if prompt in second.replies]:
            contest = _contest(sides, (first, second), common, sampled)
            if not contest.pairs:
                raise RoundError(
                    f"{_named(one, other)} gave the same answers to all {contest.alike} prompts, so there is nothing "
                    f"to judge: more prompts may tell them apart; {ADVICE}"
                )
            return contest
    raise RoundError(
        f"{_named(one, other)} answered none of the same prompts, so there is nothing to judge: choose rounds of the "
        f"same data, split and prompt template; {ADVICE}"
    )


def _contest(sides: Sequence[Side], told: Sequence[Said], prompts: Sequence[str], sampled: bool) -> Contest:
    standing = [
        Side(side.model, side.run, said.step if side.run else 0) for side, said in zip(sides, told, strict=True)
    ]
    order = (0, 1) if standing[0] <= standing[1] else (1, 0)
    first, second = (told[place].replies for place in order)
    pairs = [
        Pair(_hash(prompt), *map(_shown, (prompt, first[prompt].expected, first[prompt].text, second[prompt].text)))
        for prompt in prompts
    ]
    asked = tuple(pair for pair in pairs if pair.first != pair.second)
    return Contest(standing[order[0]], standing[order[1]], asked, len(pairs) - len(asked), sampled)


def _hash(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:32]


def _shown(text: str) -> str:
    """Both sides' texts in the same way: harmless, without the spaces that end lines."""
    return clean("\n".join(line.rstrip() for line in text.strip().splitlines()))


def _said_by(workspace: Workspace, round_: Round, *, base: bool) -> tuple[Said, Said]:
    """The scored answers and the samples of a round's last adapter, or of its base model."""
    run = workspace.run_dir(round_.id)
    snapshot = RunSnapshot(read_events(run.events, Started, Answered, Sampled, Saved))
    scored = [item.step for item in snapshot.answered if (item.step == 0) == base]
    sampled = [item.step for item in snapshot.samples if (item.step == 0) == base]
    kept = [item.step for item in snapshot.saved if item.final and item.step in sampled]
    scored_step, sampled_step = (scored or [0])[-1], (kept or sampled or [0])[-1]
    answers = read_answers(run, scored_step) if scored else []
    samples = [item for item in snapshot.samples if sampled and item.step == sampled_step]
    return Said(scored_step, _replies(answers)), Said(sampled_step, _replies(samples))


def _replies(told: Iterable[Answer | Sampled]) -> dict[str, Reply]:
    return {item.prompt: Reply(item.expected, item.text) for item in told}


def _told_silent(round_: Round) -> str:
    if round_.status is Status.IMPORTED:
        return f"round {round_.number} was imported without its answers, so there is nothing to judge: {ADVICE}"
    return f"round {round_.number} has no answers to held-out prompts yet, so there is nothing to judge: {ADVICE}"


def _named(one: Round, other: Round | None) -> str:
    return f"round {one.number} and its base model" if other is None else f"rounds {one.number} and {other.number}"


class Session:
    """A judge's way through a contest: each prompt once, from where it was left.

    What it makes of a choice counts once it is `keep`t: nothing moves on before that is written.
    """

    def __init__(self, contest: Contest, judgements: Judgements) -> None:
        sides = (contest.first, contest.second)
        before = [item for item in judgements.given if (item.first, item.second) == sides]
        self.contest = contest
        self.seed = before[-1].seed if before else new_seed()
        keys = {pair.key for pair in contest.pairs}
        self._given = {item.prompt: item for item in before if item.prompt in keys}
        self._ordered = sorted(contest.pairs, key=lambda pair: _drawn(self.seed, "order", pair.key))
        self._waiting = [pair for pair in self._ordered if pair.key not in self._given]

    @property
    def current(self) -> Pair | None:
        """What is asked now; None when all were asked."""
        return self._waiting[0] if self._waiting else None

    @property
    def total(self) -> int:
        return len(self._ordered)

    @property
    def done(self) -> int:
        """How many have a verdict or were skipped."""
        return self.total - len(self._waiting)

    @property
    def skipped(self) -> int:
        return sum(item.verdict == "skip" for item in self._given.values())

    def first_on_left(self, pair: Pair) -> bool:
        """One random bit for each prompt."""
        return _drawn(self.seed, "left", pair.key)[0] % 2 == 0

    def answers(self, pair: Pair) -> tuple[str, str]:
        """What stands on the left, and on the right."""
        return (pair.first, pair.second) if self.first_on_left(pair) else (pair.second, pair.first)

    def judge(self, choice: Choice) -> Judgement:
        """The judgement of what is asked now, to be written."""
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
        """What takes back the last judgement, to be written; None if there is none."""
        last = next(reversed(self._given.values()), None)
        return None if last is None else Retraction(id=last.id, time=time.time())

    def keep(self, line: Judgement | Retraction) -> None:
        """The line was written: go on to the next prompt, or back to the one whose judgement was taken back."""
        if isinstance(line, Judgement):
            self._given.pop(line.prompt, None)
            self._given[line.prompt] = line
            self._waiting = [pair for pair in self._waiting if pair.key != line.prompt]
            return
        gone = next(key for key, item in self._given.items() if item.id == line.id)
        del self._given[gone]
        back = next(pair for pair in self._ordered if pair.key == gone)
        self._waiting = [back, *(pair for pair in self._waiting if pair is not back)]

    def ask_skipped(self) -> None:
        """Ask once more for what was skipped."""
        skipped = {key for key, item in self._given.items() if item.verdict == "skip"}
        self._waiting += [pair for pair in self._ordered if pair.key in skipped and pair not in self._waiting]

    @property
    def rate(self) -> WinRate:
        """How the first side did."""
        verdicts = [item.verdict for item in self._given.values()]
        return WinRate(verdicts.count("first"), verdicts.count("tie"), verdicts.count("second"))


def new_seed() -> str:
    """What nobody can guess."""
    return secrets.token_hex(16)


def _drawn(seed: str, purpose: str, key: str) -> bytes:
    return hashlib.sha256(f"{seed} {purpose} {key}".encode()).digest()
