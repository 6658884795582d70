"""Groups of rounds that differ in nothing but the seed: the spread of their perplexities is due to chance."""

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
        mean, deviation: of the perplexities of the seeds; the deviation is that of a sample (divided by n − 1). A seed
            that was trained several times counts once, with the mean of its rounds.
    """

    rounds: tuple[Round, ...]
    mean: float
    deviation: float

    @property
    def seeds(self) -> int:
        """Number of different seeds."""
        return len({round_.spec.train.seed for round_ in self.rounds})

    @property
    def text(self) -> str:
        """`3.10 ± 0.12`: the deviation with two significant digits, and the mean with as many decimals."""
        if not self.deviation:
            return f"{format_perplexity(self.mean)} ± 0"
        decimals = max(0, 1 - math.floor(math.log10(self.deviation)))
        return f"{self.mean:,.{decimals}f} ± {self.deviation:,.{decimals}f}"


def seed_groups(rounds: Iterable[Round]) -> list[SeedGroup]:
    """Find the groups, in the order of their first rounds.

    Only `train.seed` may differ: another `data.seed` holds other rows out.
    """
    measured = [round_ for round_ in rounds if round_.result.perplexity is not None]
    tokens = held_out_groups(measured)
    together: dict[Hashable, list[Round]] = {}
    for round_ in measured:
        train = msgspec.structs.replace(round_.spec.train, seed=0)
        spec = msgspec.structs.replace(round_.spec, train=train)
        together.setdefault((spec, tokens[round_.number]), []).append(round_)
    groups = []
    for members in together.values():
        by_seed: dict[int, list[float]] = {}
        for round_ in members:
            assert round_.result.perplexity is not None
            by_seed.setdefault(round_.spec.train.seed, []).append(round_.result.perplexity)
        if len(by_seed) > 1:
            values = list(map(statistics.mean, by_seed.values()))
            groups.append(SeedGroup(tuple(members), statistics.mean(values), statistics.stdev(values)))
    return groups


def seeds_alone(rounds: Iterable[Round]) -> SeedGroup | None:
    """Return the rounds as one group if those that were measured differ in nothing but the seed, else None."""
    measured = [round_ for round_ in rounds if round_.result.perplexity is not None]
    if len(measured) < 2 or not all(_same_but_seed(measured[0].spec, round_.spec) for round_ in measured):
        return None
    groups = seed_groups(measured)
    return groups[0] if groups and len(groups[0].rounds) == len(measured) else None


def _same_but_seed(first: Spec, second: Spec) -> bool:
    train = msgspec.structs.replace(second.train, seed=first.train.seed)
    return first == msgspec.structs.replace(second, train=train)
