"""Store a model's answers to held-out prompts, and their scores, beside a run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from engine.files.atomic import read_plain, write_atomically
from engine.files.ownership import make_directory
from engine.files.paths import RunDir

MAX_ANSWERS_BYTES = 256 * 1024 * 1024


class Answer(Struct, frozen=True):
    """One answer: `example` is the row's hash as in `engine.runs.scores`, `scores` are this answer's by metric."""

    example: str
    prompt: str
    expected: str
    text: str
    scores: dict[str, float]


def write_answers(run: RunDir, step: int, answers: Sequence[Answer]) -> None:
    """Write the answers of the model after `step`, one JSON object a line; raises OSError if the disk refuses."""
    make_directory(run.answers)
    write_atomically(run.answers / f"step-{step}.jsonl", msgspec.json.Encoder().encode_lines(answers))


def read_answers(run: RunDir, step: int) -> list[Answer]:
    """Return the answers of the model after `step`; empty if there are none or the file is damaged."""
    try:
        data = read_plain(run.answers / f"step-{step}.jsonl", max_bytes=MAX_ANSWERS_BYTES)
        return msgspec.json.Decoder(Answer).decode_lines(data)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return []
