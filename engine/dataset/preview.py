"""Ask a process that has the tokenizer how rows will be trained on, so that nothing heavy is imported here.

The process is `engine.training.workers.preview`: it reads a line of JSON with the spec, then a line with a row's number
for each `Preview` that it writes.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from engine.dataset.rows import DetectedFormat
from engine.spec.schema import Spec
from engine.system.worker_process import Refusal, WorkerProcess


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
        longer: number of measured rows that are longer than `max_length` and will be cut.
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
