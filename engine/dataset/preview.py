"""Rows as they will be trained on, asked from a process that has the tokenizer, so that nothing heavy is imported here.

The process is `engine.training.workers.preview`: a line of JSON with the spec goes in, then one with a row's number
for each `Preview` that comes out.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from engine.dataset.rows import DetectedFormat
from engine.spec.schema import Spec
from engine.system.worker_process import Refusal, WorkerProcess


class Segment(Struct, frozen=True):
    """A run of tokens as text. `cut` for what lies beyond `data.max_length` and so is not trained on at all."""

    text: str
    supervised: bool
    cut: bool


class Preview(Struct, frozen=True, kw_only=True, tag="preview"):
    """One row of the data, and what is known of all of them.

    Attributes:
        found: the form of the rows.
        rows, left_out: rows in all, and of these those that cannot be trained on.
        warnings: a sentence each on what is left out or not learned.
        row: number of the row shown, from 1.
        problem: why it is left out, None if it is trained on.
        segments: its text, which is that of its tokens letter for letter; empty for one that has none.
        tokens, supervised_tokens: how many it has, uncut.
        max_length: tokens that a row may have.
        measured: rows whose length was looked at, the first of those that can be trained on.
        longest: tokens of the longest of these.
        longer: how many of these are longer than `max_length` and will be cut.
    """

    format: DetectedFormat
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


_answers: msgspec.json.Decoder[Preview | Refusal] = msgspec.json.Decoder(Preview | Refusal)


class Previewer(WorkerProcess):
    """Shows rows of `spec`, one after the other."""

    def __init__(self, spec: Spec) -> None:
        super().__init__("engine.training.workers.preview", "the preview")
        self.send(spec)

    def show(self, row: int) -> Preview:
        """The row of that number; one beyond the last is the last.

        Raises:
            LoratuiError: data or tokenizer cannot be used.
        """
        self.send(row)
        answer = self.receive(_answers)
        assert isinstance(answer, Preview)
        return answer

    def __enter__(self) -> Previewer:
        return self
