"""The lengths of the rows of a round in tokens: how many tokens it trains on, and how many it has at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from statistics import NormalDist, fmean
from typing import Annotated

from msgspec import Meta, Struct

from engine.dataset.preview import windows_of
from engine.dataset.rows import MeasuredExamples
from engine.spec.held_out import held_out_set
from engine.spec.mix import sources_of
from engine.spec.plan import Plan, planned_epochs, split_sizes
from engine.spec.schema import Spec


class SetLengths(Struct, frozen=True):
    """Tokens of rows of one set, before they are cut.

    Attributes:
        rows: number of rows that it has to train on.
        lengths: tokens of rows that lie evenly spread over it; of all of them, if there are as many as `rows`.
        firsts: of each of these rows, the position of its first supervised token.
        in_windows: whether it is text, which is cut into windows and not at the end.
    """

    rows: Annotated[int, Meta(ge=1)]
    lengths: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)]
    firsts: tuple[int, ...]
    in_windows: bool = False

    def cut(self, max_length: int) -> list[int]:
        """Return the lengths of the examples that the measured rows become; one without a supervised token is none."""
        if not self.in_windows:
            pairs = zip(self.lengths, self.firsts, strict=True)
            return [min(length, max_length) for length, first in pairs if first < max_length]
        return [size for length in self.lengths for size in _window_sizes(length, max_length)]

    def examples(self, max_length: int) -> int:
        """Return the number of examples that all rows become, by those that the measured ones do."""
        return round(self.rows * len(self.cut(max_length)) / len(self.lengths))


class RowLengths(Struct, frozen=True, tag="lengths"):
    """Lengths of the rows at `data.path` and of each source in `data.mix`, in this order."""

    sets: tuple[SetLengths, ...]

    @property
    def are_all(self) -> bool:
        """True if every row was measured."""
        return all(len(each.lengths) == each.rows for each in self.sets)


class TrainedRows(Struct, frozen=True, dict=True):
    """The examples that a round trains on.

    Attributes:
        cut: lengths of the measured examples of each set, cut as the spec says.
        counts: number of examples of each set in an epoch.
        epochs: passes over them, None where that is not known.
        uncut: lengths of all measured rows before the cut, the shortest first.
        longer: share of them that loses its end by the cut; text in windows does not.
        lost: share of them that loses all its supervised tokens, and is not trained on.
        supervised: share of the tokens that are supervised, if all are from the first one on.
        are_all: whether every row was measured.
    """

    cut: tuple[list[int], ...]
    counts: tuple[int, ...]
    epochs: float | None
    uncut: list[int]
    longer: float
    lost: float
    supervised: float
    are_all: bool

    @cached_property
    def mean(self) -> float:
        """The mean length of an example of an epoch."""
        return fmean(map(fmean, self.cut), self.counts)

    @cached_property
    def _mean_square(self) -> float:
        return fmean((fmean(length * length for length in lengths) for lengths in self.cut), self.counts)

    @property
    def _deviation(self) -> float:
        """The standard deviation of the length."""
        return math.sqrt(max(0.0, self._mean_square - self.mean**2))

    @property
    def context(self) -> float:
        """The mean length of the row that a token is in."""
        return self._mean_square / self.mean

    @cached_property
    def _longest_first(self) -> list[int]:
        return sorted((length for lengths in self.cut for length in lengths), reverse=True)

    @property
    def longest(self) -> int:
        """The tokens of the longest measured row before the cut."""
        return self.uncut[-1]

    def length_of(self, share: float) -> int:
        """Return the least length that is that of so large a share of the rows, or more."""
        return self.uncut[max(0, math.ceil(share * len(self.uncut)) - 1)]

    @property
    def longest_example(self) -> int:
        """The tokens of the longest measured example."""
        return self._longest_first[0]

    @property
    def tokens(self) -> int | None:
        """The tokens that go through the model in training; None where the epochs are not known."""
        return None if self.epochs is None else round(self.epochs * sum(self.counts) * self.mean)

    def longest_together(self, rows: int) -> int:
        """Return the tokens of the `rows` longest examples, as many of them as there are."""
        number = min(rows, sum(self.counts))
        measured = self._longest_first[:number]
        return sum(measured) + round((number - len(measured)) * self.mean)

    def most_in(self, rows: int, draws: int) -> int:
        """Return the tokens that the largest of `draws` sums of `rows` random examples has.

        That is the mean of the largest of so many normal deviates (G. Blom, Statistical Estimates and Transformed
        Beta-Variables, 1958).
        """
        number = min(rows, sum(self.counts))
        deviates = NormalDist().inv_cdf((max(draws, 1) - 0.375) / (max(draws, 1) + 0.25)) if draws > 1 else 0.0
        most = number * self.mean + deviates * self._deviation * math.sqrt(number)
        return min(round(most), self.longest_together(rows))


def examples_of(spec: Spec, lengths: RowLengths) -> MeasuredExamples | None:
    """Return the examples that the rows become; None if the lengths are not those of this spec, or nothing remains."""
    if len(lengths.sets) != 1 + len(sources_of(spec.data)):
        return None
    if any(len(each.firsts) != len(each.lengths) for each in lengths.sets):
        return None
    numbers = tuple(each.examples(spec.data.max_length) for each in lengths.sets)
    return MeasuredExamples(numbers, lengths.are_all) if all(numbers) else None


def trained_rows(spec: Spec, plan: Plan, lengths: RowLengths) -> TrainedRows | None:
    """Return the examples of a round by the lengths of its rows.

    None if none of them is left to train on, or if the lengths are not those of this spec.
    """
    longest, sources = spec.data.max_length, sources_of(spec.data)
    if (examples := examples_of(spec, lengths)) is None:
        return None
    cut = [each.cut(longest) for each in lengths.sets]
    share = spec.data.eval_fraction if held_out_set(spec.data) is None else 0
    main, *others = (split_sizes(count, share)[0] for count in examples.numbers)
    mixed = [source.times(count) for source, count in zip(sources, others, strict=True)]
    if main <= 0:
        return None
    uncut = sorted(length for each in lengths.sets for length in each.lengths)
    lost = [first >= longest for each in lengths.sets if not each.in_windows for first in each.firsts]
    cut_off = [length > longest for each in lengths.sets if not each.in_windows for length in each.lengths]
    return TrainedRows(
        cut=tuple(cut),
        counts=(main, *mixed),
        epochs=planned_epochs(spec.train, plan),
        uncut=uncut,
        longer=sum(cut_off) / len(uncut),
        lost=sum(lost) / len(uncut),
        supervised=_supervised_share(lengths.sets, cut, longest),
        are_all=lengths.are_all,
    )


def _supervised_share(sets: Sequence[SetLengths], cut: Sequence[Sequence[int]], longest: int) -> float:
    """Return the share of the measured tokens, once cut, that come after the prompt."""
    prompts = sum(first for each in sets if not each.in_windows for first in each.firsts if first < longest)
    return 1 - prompts / sum(map(sum, cut))


def _window_sizes(length: int, max_length: int) -> Sequence[int]:
    """Return the tokens of the windows of a text; each but the first repeats the last token of the one before."""
    predicted, count = length - 1, windows_of(length, max_length)
    return [predicted * (number + 1) // count - predicted * number // count + 1 for number in range(count)]
