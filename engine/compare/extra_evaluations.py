"""Evaluations of rounds on other data than their own, made by a process that loads the model, and saved with the run.

The process is `engine.training.workers.score`: it reads a `ScoreRequest` as a line of JSON, writes lines of
`ScoreProgress`, and at last an `ExtraEvaluation` or a `Refusal`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable

import msgspec
from msgspec import Struct

from engine.compare.columns import format_interval, format_loss, interval_of
from engine.errors import FileError, RoundError, reason_of
from engine.files.atomic import read_plain, write_atomically
from engine.files.ownership import make_directory
from engine.files.paths import RunDir
from engine.runs.scores import Scores
from engine.spec.data import DataSpec
from engine.system.worker_process import Refusal, WorkerProcess
from engine.text.humanize import format_perplexity

MAX_EVALUATION_BYTES = 256 * 1024 * 1024


class ScoreRequest(Struct, frozen=True):
    """A request to score the adapter in the run directory that is the current one, and its base model, over `data`."""

    data: DataSpec


class ScoreProgress(Struct, frozen=True, tag="advance"):
    """Progress of an evaluation: its phase, and `done` of `total` rows; both 0 in a phase that counts no rows."""

    phase: str
    done: int = 0
    total: int = 0


class EvaluationSummary(Struct, frozen=True, kw_only=True, tag="evaluation"):
    """Results of an adapter and its base model on the rows of a file.

    Attributes:
        time: in seconds since the epoch.
        data: the source and format of the rows.
        sha256: of the file; "" for a dataset from the hub.
        rows, left_out: number of rows that were scored, and that were skipped.
        supervised_tokens: of the rows scored.
        eval_loss, perplexity, eval_loss_interval: as in `engine.spec.round.Result`; None where it was not finite.
        base_eval_loss, base_perplexity: those of the base model.
    """

    time: float
    data: DataSpec
    sha256: str
    rows: int
    left_out: int
    supervised_tokens: int
    eval_loss: float | None
    perplexity: float | None
    eval_loss_interval: tuple[float, float] | None
    base_eval_loss: float | None
    base_perplexity: float | None


class ExtraEvaluation(EvaluationSummary, frozen=True, kw_only=True, tag="evaluation"):
    """An evaluation with the scores of each row."""

    scores: Scores
    base_scores: Scores


Reply = ScoreProgress | Refusal | ExtraEvaluation
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def write_evaluation(run: RunDir, evaluation: ExtraEvaluation) -> None:
    """Save an evaluation; it replaces an earlier one of the same rows in the same format."""
    make_directory(run.evaluations)
    write_atomically(run.evaluations / f"{_name(evaluation)}.json", msgspec.json.encode(evaluation))


def _name(evaluation: ExtraEvaluation) -> str:
    encoded = msgspec.json.encode((evaluation.data, evaluation.sha256, evaluation.scores.examples))
    return hashlib.sha256(encoded).hexdigest()[:16]


def read_evaluations(run: RunDir) -> list[EvaluationSummary]:
    """Read all valid evaluations without the scores of their rows, the oldest first."""
    evaluations = []
    for path in run.evaluations.glob("*.json") if run.evaluations.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            data = read_plain(path, max_bytes=MAX_EVALUATION_BYTES)
            evaluations.append(msgspec.json.decode(data, type=EvaluationSummary))
    return sorted(evaluations, key=lambda evaluation: evaluation.time)


EVALUATION_TITLES = ("data", "rows", "eval loss", "perplexity", "95 % interval", "base perplexity")


def evaluation_cells(evaluation: EvaluationSummary) -> tuple[str, ...]:
    """Write an evaluation for people: a text for each of `EVALUATION_TITLES`."""
    interval = format_interval(interval_of(evaluation.eval_loss_interval))
    perplexity, base = format_perplexity(evaluation.perplexity), format_perplexity(evaluation.base_perplexity)
    return evaluation.data.path, f"{evaluation.rows:,}", format_loss(evaluation.eval_loss), perplexity, interval, base


def evaluation_fields(evaluation: EvaluationSummary) -> dict[str, object]:
    """Return an evaluation for JSON outputs: everything except the scores of each row."""
    return {name: getattr(evaluation, name) for name in EvaluationSummary.__struct_fields__}


def _check_writable(run: RunDir) -> None:
    """Raise FileError if an evaluation could not be saved, before it takes hours."""
    directory = run.evaluations if run.evaluations.is_dir() else run.path
    if not os.access(directory, os.W_OK | os.X_OK):
        raise FileError(f"{directory} cannot be written to, so an evaluation would be lost: ask its owner")


def evaluate_on(run: RunDir, data: DataSpec, on_progress: Callable[[ScoreProgress], None]) -> ExtraEvaluation:
    """Score the adapter of a run on `data`, and save the result.

    `on_progress` gets each `ScoreProgress`, and may raise to end the evaluation.

    Raises:
        RoundError: the run has no adapter.
        LoratuiError: data, model or adapter cannot be used, in one sentence.
    """
    run.check()
    if not (run.adapter / "adapter_config.json").is_file():
        raise RoundError(f"{run.path} has no adapter to score: choose a round that was trained to its end here")
    _check_writable(run)
    # In the run directory, so that it follows one that is moved, and whose path is no text.
    with WorkerProcess("engine.training.workers.score", "the evaluation", directory=run.path) as process:
        process.send(ScoreRequest(data))
        while isinstance(reply := process.receive(_replies), ScoreProgress):
            on_progress(reply)
    assert isinstance(reply, ExtraEvaluation)
    try:
        write_evaluation(run, reply)
    except OSError as error:
        raise FileError(
            f"perplexity {format_perplexity(reply.perplexity)} over {reply.rows} rows, base model "
            f"{format_perplexity(reply.base_perplexity)}; this could not be saved in {run.evaluations}: "
            f"{reason_of(error)}"
        ) from error
    return reply
