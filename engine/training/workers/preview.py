"""Rows as they will be trained on: `python -P -m engine.training.workers.preview`, for `engine.dataset.preview`.

It reads lines of JSON, first a spec and then numbers of rows, and replies to each number with a line.
"""

from __future__ import annotations

import sys
from itertools import groupby
from typing import Any

import msgspec

from engine.dataset.preview import Preview, Segment, histogram_of
from engine.dataset.rows import Row, RowProblem, Unusable
from engine.dataset.templates import advice
from engine.spec.schema import Spec
from engine.training.runtime.imports import importing
from engine.training.workers.start import start_worker

MEASURED_ROWS = 1000  # about a second


def main() -> None:
    replies = start_worker()
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=Spec)
    previews: RowPreviews | None = None
    for line in sys.stdin.buffer:
        with replies.errors_as_refusals():
            previews = previews or RowPreviews(spec)
            replies.send(previews.show(msgspec.json.decode(line, type=int)))


class RowPreviews:
    """The loaded rows and tokenizer of a spec; raises LoratuiError as the engine does for the same spec."""

    def __init__(self, spec: Spec) -> None:
        with importing(spec.model, spec.data, weights=False):
            from engine.training.data.chat_templates import choose_chat_template
            from engine.training.data.load import load_rows
            from engine.training.data.render import Renderer
            from engine.training.data.tokenize import tokenise
            from engine.training.model.loading import load_tokenizer

        self._spec = spec
        self._rows = load_rows(spec.data)
        self._tokenizer = load_tokenizer(spec.model)
        chosen = choose_chat_template(self._tokenizer, spec.data)
        measured = tokenise(self._rows.usable[:MEASURED_ROWS], self._tokenizer, spec.data)
        self._lengths = [len(example) for example in measured.examples]
        self._renderer = Renderer(self._rows.usable, self._tokenizer, spec.data)
        sentences = (self._rows.warning(), advice(self._rows.usable[0], spec.data.prompt_template), *chosen)
        self._warnings = tuple(text for text in (*sentences, *measured.warnings) if text)

    def show(self, number: int) -> Preview:
        """Return the preview of the row of that number, or of the nearest one."""
        number = min(max(number, 1), len(self._rows))
        row = self._rows.at(number)
        limit = self._spec.data.max_length
        segments: tuple[Segment, ...] = ()
        problem = None
        try:
            segments, tokens, supervised = self._segments(row)
            if not any(segment.supervised and not segment.cut for segment in segments):
                problem = f"cut at data.max_length {limit} tokens, it has no supervised token"
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
            shortest=min(self._lengths),
            histogram=histogram_of(self._lengths),
            longer=sum(length > limit for length in self._lengths),
        )

    def _segments(self, row: Row | RowProblem) -> tuple[tuple[Segment, ...], int, int]:
        """Return the text of a row in segments, the number of its tokens, and the number of supervised ones."""
        from engine.training.data.tokenize import make_examples

        if isinstance(row, RowProblem):
            raise Unusable(row.reason)
        (example,) = make_examples([self._renderer.render(row)], self._tokenizer)
        tokens, supervised = example.tokens.tolist(), example.supervised.tolist()
        is_text = self._rows.format.name == "text"  # which is cut into windows, and loses nothing
        limit = len(tokens) if is_text else self._spec.data.max_length
        segments = segments_of(self._tokenizer, tokens, supervised, limit)
        return segments, len(tokens), example.supervised_tokens


def segments_of(tokenizer: Any, tokens: list[int], supervised: list[bool], max_length: int) -> tuple[Segment, ...]:
    """Divide the text of `tokens` where they begin or stop being supervised, and at `max_length`.

    A decoder may write a token differently after other tokens, so each segment is what it adds to the text before it. A
    letter whose bytes lie in two segments goes to the second.
    """
    from engine.training.data.chat_template import common_prefix

    whole = tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
    segments, segment_start = [], 0
    runs = groupby(range(len(tokens)), key=lambda position: (supervised[position], position >= max_length))
    for (is_supervised, is_cut), positions in runs:
        end = list(positions)[-1] + 1
        text_so_far = (
            whole if end == len(tokens) else tokenizer.decode(tokens[:end], clean_up_tokenization_spaces=False)
        )
        segment_end = max(segment_start, common_prefix(text_so_far, whole))
        segments.append(Segment(whole[segment_start:segment_end], is_supervised, is_cut))
        segment_start = segment_end
    return tuple(segments)


if __name__ == "__main__":
    main()
