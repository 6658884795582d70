"""Store the score of each held-out row beside a run."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from engine.files.atomic import read_plain, write_atomically
from engine.files.ownership import make_directory
from engine.files.paths import RunDir

MAX_SCORES_BYTES = 256 * 1024 * 1024


class Scores(Struct, frozen=True):
    """The scores of one evaluation, row by row.

    Attributes:
        examples: a hash of each row's tokens and of which of them are supervised: equal for rows that can be compared,
            whatever file, template or tokenizer they came from.
        tokens: supervised tokens of each row.
        nlls: sum of their negative log-likelihoods, in nats; None where it was not finite.
    """

    examples: tuple[str, ...]
    tokens: tuple[int, ...]
    nlls: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if not len(self.examples) == len(self.tokens) == len(self.nlls):
            raise ValueError("its lists differ in length")
        if min(self.tokens, default=1) < 1:
            raise ValueError("it has a row without a supervised token")


def write_scores(run: RunDir, step: int, scores: Scores) -> None:
    """Write the scores of the evaluation after `step`; raises OSError if the disk refuses."""
    make_directory(run.scores)
    write_atomically(run.scores / f"step-{step}.json", msgspec.json.encode(scores))


def read_scores(run: RunDir, step: int) -> Scores | None:
    """Return the scores of the evaluation after `step`; None if there are none or the file is damaged."""
    try:
        data = read_plain(run.scores / f"step-{step}.json", max_bytes=MAX_SCORES_BYTES)
        return msgspec.json.decode(data, type=Scores)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
