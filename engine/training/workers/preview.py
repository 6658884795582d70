"""`python -P -m engine.training.workers.preview`: rows as they will be trained on, for `engine.dataset.preview`.

It reads lines of JSON, first a spec and then numbers of rows, and answers each number with a line.
"""

from __future__ import annotations

import os
import sys
from itertools import groupby
from typing import Any

import msgspec

from engine.dataset.preview import Preview, Segment
from engine.dataset.rows import Row, RowProblem, Unusable
from engine.dataset.templates import advice
from engine.errors import LoratuiError
from engine.spec.schema import Spec
from engine.system.worker_process import Refusal
from engine.text.redact import redact, redact_output
from engine.training.runtime.imports import importing, quieten

MEASURED = 1000  # rows, of which the lengths are told; a second or so


def main() -> None:
    os.umask(0o077)
    redact_output()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=Spec)
    shown: RowPreviews | None = None
    for line in sys.stdin.buffer:
        answer: Preview | Refusal
        try:
            shown = shown or RowPreviews(spec)
            answer = shown.show(msgspec.json.decode(line, type=int))
        except LoratuiError as error:
            answer = Refusal(redact(error.message))
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


class RowPreviews:
    """The rows of a spec and its tokenizer, loaded. It raises LoratuiError as the engine does for the same spec."""

    def __init__(self, spec: Spec) -> None:
        with importing(spec.model, spec.data, weights=False):
            from engine.training.data.render import Renderer
            from engine.training.data.tokenize import load_rows, tokenise
            from engine.training.model.loading import load_tokenizer

        self._spec = spec
        self._rows = load_rows(spec.data)
        self._tokenizer = load_tokenizer(spec.model)
        measured = tokenise(self._rows.usable[:MEASURED], self._tokenizer, spec.data)
        self._lengths = [len(example) for example in measured.examples]
        self._renderer = Renderer(self._rows.usable, self._tokenizer, spec.data)
        told = (self._rows.warning(), advice(self._rows.usable[0], spec.data.prompt_template), *measured.warnings)
        self._warnings = tuple(text for text in told if text)

    def show(self, number: int) -> Preview:
        """The row of that number, or the one nearest to it."""
        number = min(max(number, 1), len(self._rows))
        row = self._rows.at(number)
        limit = self._spec.data.max_length
        segments: tuple[Segment, ...] = ()
        problem = None
        try:
            segments, tokens, supervised = self._segments(row)
            if not any(segment.supervised and not segment.cut for segment in segments):
                problem = f"cut at data.max_length {limit} tokens, no supervised token of it is left"
        except Unusable as error:
            tokens, supervised, problem = 0, 0, str(error)
        return Preview(
            format=self._rows.format,
            rows=len(self._rows),
            left_out=len(self._rows.passed_over),
            warnings=self._warnings,
            row=number,
            problem=problem,
            segments=segments,
            tokens=tokens,
            supervised_tokens=supervised,
            max_length=limit,
            measured=len(self._lengths),
            longest=max(self._lengths),
            longer=sum(length > limit for length in self._lengths),
        )

    def _segments(self, row: Row | RowProblem) -> tuple[tuple[Segment, ...], int, int]:
        """A row's text in segments, its tokens, and how many of them are supervised."""
        from engine.training.data.tokenize import make_examples

        if isinstance(row, RowProblem):
            raise Unusable(row.reason)
        (example,) = make_examples([self._renderer.render(row)], self._tokenizer)
        tokens, supervised = example.tokens.tolist(), example.supervised.tolist()
        segments = segments_of(self._tokenizer, tokens, supervised, self._spec.data.max_length)
        return segments, len(tokens), example.supervised_tokens


def segments_of(tokenizer: Any, tokens: list[int], supervised: list[bool], max_length: int) -> tuple[Segment, ...]:
    """The text of `tokens`, divided where they begin or cease to be supervised or to fit into `max_length`.

    A decoder may write a token differently by what stands before it, so each part is what it adds to the text of all
    before it; a letter whose bytes lie in two parts goes to the second.
    """
    from engine.training.data.chat_template import common_prefix

    whole = tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
    segments, begun = [], 0
    places = groupby(range(len(tokens)), key=lambda place: (supervised[place], place >= max_length))
    for (is_supervised, is_cut), run in places:
        end = list(run)[-1] + 1
        upto = whole if end == len(tokens) else tokenizer.decode(tokens[:end], clean_up_tokenization_spaces=False)
        ended = max(begun, common_prefix(upto, whole))
        segments.append(Segment(whole[begun:ended], is_supervised, is_cut))
        begun = ended
    return tuple(segments)


if __name__ == "__main__":
    quieten()
    main()
