"""Ask a process that has the tokenizer how rows will be trained on, so that nothing heavy is imported here.

The process is `engine.training.workers.preview`: it reads a line of JSON with the spec, then a line with a row's number
for each `Preview` that it writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct, field

from engine.dataset.rows import DetectedFormat
from engine.spec.schema import Spec
from engine.system.worker_process import Refusal, WorkerProcess

BINS = 24


class Segment(Struct, frozen=True):
    """Consecutive tokens as text; `cut` if they lie beyond `data.max_length` and so are not trained on at all."""

    text: str
    supervised: bool
    cut: bool


class Preview(Struct, frozen=True, kw_only=True, tag="preview"):
    """One row of the data, and figures about all rows.

    Attributes:
        format: the format of the rows.
        rows, left_out: number of rows, and of those among them that cannot be trained on.
        warnings: a sentence each on what is left out or not learned.
        row: number of the row shown, from 1.
        problem: why the row is left out, None if it is trained on.
        segments: the row's text, letter for letter that of its tokens; empty for a row without tokens.
        tokens, supervised_tokens: length of the row before it is cut.
        max_length: the most tokens a row may have.
        measured: number of rows whose length was measured: the first ones that can be trained on.
        longest: tokens of the longest measured row.
        shortest: tokens of the shortest measured row.
        histogram: number of measured rows in each of at most `BINS` ranges of equal size, from the shortest to the
            longest.
        longer: number of measured rows that are longer than `max_length` and will be cut, text into windows.
    """

    format: DetectedFormat = field(name="found")  # as `loratui preview --json` prints it
    rows: int
    left_out: int
    warnings: tuple[str, ...]
    row: int
    problem: str | None
    segments: tuple[Segment, ...]
    tokens: int
    supervised_tokens: int
    max_length: int
    measured: int
    longest: int
    longer: int
    shortest: int = 0
    histogram: tuple[int, ...] = ()

    @property
    def windows(self) -> int:
        """Number of windows that the row is cut into; 1 for a row that is cut off, or is not longer."""
        return windows_of(self.tokens, self.max_length) if self.format.name == "text" else 1

    @property
    def bin_tokens(self) -> int:
        """Number of lengths in each range of the histogram."""
        return bin_size(self.shortest, self.longest)


def windows_of(tokens: int, max_length: int) -> int:
    """Return the fewest windows of at most `max_length` tokens for a text; see `windows`."""
    return max(1, -(-(tokens - 1) // (max_length - 1)))


def bin_size(shortest: int, longest: int) -> int:
    """Return the number of lengths in each of at most `BINS` ranges of equal size."""
    return -(-(longest - shortest + 1) // BINS)


def histogram_of(lengths: Sequence[int]) -> tuple[int, ...]:
    """Count lengths, at least one, in ranges of equal size from the shortest to the longest."""
    shortest, longest = min(lengths), max(lengths)
    size = bin_size(shortest, longest)
    counts = Counter((length - shortest) // size for length in lengths)
    return tuple(counts[index] for index in range((longest - shortest) // size + 1))


_answers: msgspec.json.Decoder[Preview | Refusal] = msgspec.json.Decoder(Preview | Refusal)


class Previewer(WorkerProcess):
    """Ask for the rows of a spec, one after the other."""

    def __init__(self, spec: Spec) -> None:
        super().__init__("engine.training.workers.preview", "the preview")
        self.send(spec)

    def show(self, row: int) -> Preview:
        """Return the row of that number, the last row if the number is beyond it.

        Raises:
            LoratuiError: data or tokenizer cannot be used.
        """
        self.send(row)
        answer = self.receive(_answers)
        assert isinstance(answer, Preview)
        return answer

    def __enter__(self) -> Previewer:
        return self
