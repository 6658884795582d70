"""Examples cut to a length: texts into windows, other rows at the end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from engine.dataset.preview import windows_of
from engine.errors import SpecError
from engine.training.data.tokenize import Example, verbs


@dataclass(frozen=True)
class CutExamples:
    """Examples cut to a length.

    Attributes:
        rows: number of examples before the cut.
        cut: number of rows that were longer.
        dropped: number of rows that lost all supervised tokens by the cut.
        empty: number of rows without a supervised token before the cut.
        in_windows: whether the longer rows became several examples.
    """

    examples: list[Example]
    rows: int
    cut: int
    dropped: int
    empty: int
    in_windows: bool = False

    @property
    def used_rows(self) -> int:
        """Number of rows that have an example."""
        return self.rows - self.dropped - self.empty

    def warnings(self, max_length: int) -> list[str]:
        """Return a sentence for each of the three numbers that is not zero; windows lose nothing."""
        warnings = []
        if self.cut and not self.in_windows:
            are, were = verbs(self.cut)
            warnings.append(
                f"{self.cut} of {self.rows} rows {are} longer than data.max_length {max_length} tokens and {were} cut"
            )
        if self.dropped:
            _, were = verbs(self.dropped)
            warnings.append(
                f"{self.dropped} of {self.rows} rows {were} left out: cut at data.max_length {max_length} tokens, "
                f"they have no supervised token"
            )
        if self.empty:
            _, were = verbs(self.empty)
            warnings.append(f"{self.empty} of {self.rows} rows {were} left out: they have no supervised token")
        return warnings


def windows(example: Example, max_length: int) -> list[Example]:
    """Cut an example into as few windows of at most `max_length` tokens as possible, of about the same length.

    Each begins with the last token of the one before, unsupervised, so that each token but the first is predicted once.
    """
    predicted = len(example) - 1
    count = windows_of(len(example), max_length)
    bounds = [predicted * number // count for number in range(count + 1)]
    pieces = []
    for start, end in itertools.pairwise(bounds):
        supervised = example.supervised[start : end + 1].clone()
        supervised[:1] = False
        pieces.append(Example(example.tokens[start : end + 1], supervised))
    return pieces


def cut(examples: Sequence[Example], max_length: int, *, in_windows: bool = False) -> CutExamples:
    """Cut examples to `max_length` tokens, or into windows of so many, and leave out those without a supervised token.

    Raises:
        SpecError: fewer than two remain.
    """
    learned = [example for example in examples if example.supervised_tokens > 0]
    long = sum(len(example) > max_length for example in learned)
    if in_windows:
        shortened = [window for example in learned for window in windows(example, max_length)]
    else:
        shortened = [Example(example.tokens[:max_length], example.supervised[:max_length]) for example in learned]
    usable = [example for example in shortened if example.supervised_tokens > 0]
    if len(usable) < 2 and in_windows:
        raise SpecError(
            f"data.max_length is {max_length} tokens: the text fills no 2 windows of so many: add more text, or set it "
            f"lower",
            "data.max_length",
        )
    if len(usable) < 2:
        raise SpecError(
            f"data.max_length is {max_length} tokens: cut there, {len(usable)} of {len(examples)} rows have a "
            f"supervised token, and at least 2 are needed",
            "data.max_length",
        )
    dropped = 0 if in_windows else len(learned) - len(usable)
    return CutExamples(usable, len(examples), long, dropped, len(examples) - len(learned), in_windows)
