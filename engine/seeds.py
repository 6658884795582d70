"""Rounds that differ in nothing but the seed: how far chance alone moves a result."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable

import msgspec
from msgspec import Struct

from engine.held_out import held_out_groups
from engine.rounds import Round


class SeedGroup(Struct, frozen=True):
    """Rounds of one spec with different seeds, at least two that were measured.

    Attributes:
        rounds: by number.
        mean, deviation: of their perplexities, the latter that of a sample (divided by n − 1).
    """

    rounds: tuple[Round, ...]
    mean: float
    deviation: float


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
        if len({item.spec.train.seed for item in listed}) > 1:
            values = [item.result.perplexity for item in listed if item.result.perplexity is not None]
            found.append(SeedGroup(tuple(listed), statistics.mean(values), statistics.stdev(values)))
    return found
