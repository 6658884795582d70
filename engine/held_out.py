"""Rounds that are measured on the same held-out tokens: the best of them, and how a perplexity moved between two."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from msgspec import Struct

from engine.rounds import Round


def held_out_tokens(round_: Round) -> Hashable:
    """Equal for rounds that are measured on the same held-out tokens, which alone makes their losses comparable.

    The base model brings the tokenizer; the data, with its format, template and length, the rows; its seed the split.
    """
    return round_.spec.model.path, round_.spec.data


def are_comparable(first: Round, second: Round) -> bool:
    """Whether a loss of the one says something about a loss of the other."""
    return held_out_tokens(first) == held_out_tokens(second)


def best_rounds(rounds: Iterable[Round], measure: str = "perplexity") -> frozenset[int]:
    """Numbers of the rounds with the lowest `measure` of those they can be compared with, the earliest of equals.

    Rounds measured on other tokens stand apart, and one that nothing compares with is not the best of anything. Nor is
    one in time or memory that came to no loss.
    """
    groups: dict[Hashable, list[tuple[float, int]]] = {}
    for round_ in rounds:
        result = round_.result
        has_loss = result.perplexity is not None or result.eval_loss is not None
        if has_loss and (value := getattr(result, measure)) is not None:
            groups.setdefault(held_out_tokens(round_), []).append((value, round_.number))
    return frozenset(min(group)[1] for group in groups.values() if len(group) > 1)


class Movement(Struct, frozen=True):
    """How a perplexity moved from `before` to `after`."""

    before: float
    after: float

    @property
    def percent(self) -> float | None:
        """The change in percent of `before`; None where that is 0."""
        return 100 * (self.after - self.before) / self.before if self.before else None

    @property
    def word(self) -> str:
        return "fell" if self.after < self.before else "rose" if self.after > self.before else "stayed"

    @property
    def percent_text(self) -> str:
        """`-34.0 %`, and nothing where there is none."""
        return "" if self.percent is None else f"{self.percent:+.1f} %"


def moved(first: Round, second: Round) -> Movement | None:
    """From the first round's perplexity to the second's; None unless both were measured on the same tokens."""
    before, after = first.result.perplexity, second.result.perplexity
    if before is None or after is None or not are_comparable(first, second):
        return None
    return Movement(before, after)


def moved_from_base(round_: Round) -> Movement | None:
    """From the base model's perplexity to the round's own, which is always over the same tokens."""
    before, after = round_.result.base_perplexity, round_.result.perplexity
    return None if before is None or after is None else Movement(before, after)
