"""Rows as they will be trained on, asked from a process that has the tokenizer, so that nothing heavy is imported here.

The process is `engine.training.preview`: a line of JSON with the spec goes in, then one with a row's number for each
`Preview` that comes out.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile

import msgspec
from msgspec import Struct

from engine.dataset.rows import Found
from engine.errors import LoratuiError
from engine.spec import Spec


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

    found: Found
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


class Refusal(Struct, frozen=True, tag="refusal"):
    """Why nothing can be shown, in one sentence."""

    message: str


class Previewer:
    """Shows rows of `spec`, one after the other. Close it, from any thread: what is being asked then ends too."""

    def __init__(self, spec: Spec) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.training.preview"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            )  # fmt: skip
        except OSError as error:
            raise LoratuiError(f"the preview could not be started: {error}") from error
        self._spec: Spec | None = spec

    def show(self, row: int) -> Preview:
        """The row of that number; one beyond the last is the last.

        Raises:
            LoratuiError: data or tokenizer cannot be used.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        first = () if self._spec is None else (self._spec,)
        self._spec = None
        try:
            for line in (*first, row):
                self._process.stdin.write(msgspec.json.encode(line) + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has ended, and its last words are still to be read
            pass
        try:
            answer = msgspec.json.decode(self._process.stdout.readline(), type=Preview | Refusal)
        except (msgspec.DecodeError, ValueError) as error:
            raise LoratuiError(f"the preview ended without an answer: {self._last_words()}") from error
        if isinstance(answer, Refusal):
            raise LoratuiError(answer.message)
        return answer

    def _last_words(self) -> str:
        try:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").split("\n")
        except ValueError:
            return "it was closed"
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with contextlib.suppress(OSError), self._process:  # closes its pipes too; what was not sent is not missed
            self._errors.close()

    def __enter__(self) -> Previewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
