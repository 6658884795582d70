"""Rounds that differ in nothing but the seed: how far chance alone moves a result."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable

import msgspec
from msgspec import Struct

from engine.compare.comparability import held_out_groups
from engine.spec.round import Round
from engine.spec.schema import Spec
from engine.text.humanize import format_perplexity


class SeedGroup(Struct, frozen=True):
    """Rounds of one spec with different seeds, at least two that were measured.

    Attributes:
        rounds: by number.
        mean, deviation: of the perplexities of the seeds, the latter that of a sample (divided by n − 1). A seed that
            was trained several times counts once, with the mean of its rounds.
    """

    rounds: tuple[Round, ...]
    mean: float
    deviation: float

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len({round_.spec.train.seed for round_ in self.rounds})

    @property
    def text(self) -> str:
        """`3.10 ± 0.12`: the deviation with two digits that mean something, and the mean as far as that goes."""
        if not self.deviation:
            return f"{format_perplexity(self.mean)} ± 0"
        decimals = max(0, 1 - math.floor(math.log10(self.deviation)))
        return f"{self.mean:,.{decimals}f} ± {self.deviation:,.{decimals}f}"


def seed_groups(rounds: Iterable[Round]) -> list[SeedGroup]:
    """The groups that there are, in the order of their first rounds.

    `train.seed` alone is left open: another `data.seed` holds other rows out.
    """
    measured = [round_ for round_ in rounds if round_.result.perplexity is not None]
    tokens = held_out_groups(measured)
    together: dict[Hashable, list[Round]] = {}
    for round_ in measured:
        train = msgspec.structs.replace(round_.spec.train, seed=0)
        spec = msgspec.structs.replace(round_.spec, train=train)
        together.setdefault((spec, tokens[round_.number]), []).append(round_)
    found = []
    for listed in together.values():
        by_seed: dict[int, list[float]] = {}
        for item in listed:
            assert item.result.perplexity is not None
            by_seed.setdefault(item.spec.train.seed, []).append(item.result.perplexity)
        if len(by_seed) > 1:
            values = list(map(statistics.mean, by_seed.values()))
            found.append(SeedGroup(tuple(listed), statistics.mean(values), statistics.stdev(values)))
    return found


def seeds_alone(rounds: Iterable[Round]) -> SeedGroup | None:
    """The group that the rounds are, if those of them that were measured differ in nothing but the seed."""
    measured = [round_ for round_ in rounds if round_.result.perplexity is not None]
    if len(measured) < 2 or not all(_same_but_seed(measured[0].spec, round_.spec) for round_ in measured):
        return None
    found = seed_groups(measured)
    return found[0] if found and len(found[0].rounds) == len(measured) else None


def _same_but_seed(first: Spec, second: Spec) -> bool:
    train = msgspec.structs.replace(second.train, seed=first.train.seed)
    return first == msgspec.structs.replace(second, train=train)
