"""Rounds scored on other data than their own: by a process that has the model, kept beside the run.

The process is `engine.training.workers.score`: a line of JSON with an `Order` goes in, lines with its progress and at
last an `ExtraEvaluation` or a `Refusal` come out.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import msgspec
from msgspec import Struct

from engine.compare.columns import format_interval, format_loss, interval_of
from engine.errors import RoundError
from engine.files.atomic import read_plain, write_atomically
from engine.files.paths import RunDir
from engine.runs.scores import Scores
from engine.spec.schema import DataSpec
from engine.system.worker_process import Refusal, WorkerProcess
from engine.text.humanize import format_perplexity

MAX_EVALUATION_BYTES = 256 * 1024 * 1024


class ScoreRequest(Struct, frozen=True):
    """What to score: the adapter of `run_dir` on the base model, over all rows of `data`."""

    run_dir: str
    data: DataSpec


class ScoreProgress(Struct, frozen=True, tag="advance"):
    """How far it is: what is being done, and `done` of `total` rows of it, 0 when not counted."""

    phase: str
    done: int = 0
    total: int = 0


class EvaluationSummary(Struct, frozen=True, kw_only=True, tag="evaluation"):
    """What an adapter and its base model came to on the rows of a file.

    Attributes:
        time: in seconds since the epoch.
        data: where the rows came from, and how they were written.
        sha256: of the file; "" for a dataset from the hub.
        rows, left_out: scored, and passed over.
        supervised_tokens: of the rows scored.
        eval_loss, perplexity, eval_loss_interval: as in `engine.spec.round.Result`; None where it was no finite number.
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
    """The same with what each row scored."""

    scores: Scores
    base_scores: Scores


Reply = ScoreProgress | Refusal | ExtraEvaluation
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def write_evaluation(run: RunDir, evaluation: ExtraEvaluation) -> None:
    """Keep it; one of the same rows written the same way takes the place of the earlier."""
    run.evaluations.mkdir(exist_ok=True)
    write_atomically(run.evaluations / f"{_name(evaluation)}.json", msgspec.json.encode(evaluation))


def _name(evaluation: ExtraEvaluation) -> str:
    told = msgspec.json.encode((evaluation.data, evaluation.sha256, evaluation.scores.examples))
    return hashlib.sha256(told).hexdigest()[:16]


def read_evaluations(run: RunDir) -> list[EvaluationSummary]:
    """All that hold together, the oldest first; what the rows scored is left where it is."""
    found = []
    for path in run.evaluations.glob("*.json") if run.evaluations.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            data = read_plain(path, max_bytes=MAX_EVALUATION_BYTES)
            found.append(msgspec.json.decode(data, type=EvaluationSummary))
    return sorted(found, key=lambda item: item.time)


EVALUATION_TITLES = ("data", "rows", "eval loss", "perplexity", "95 % interval", "base perplexity")


def evaluation_cells(found: EvaluationSummary) -> tuple[str, ...]:
    """An evaluation as people read it, a text for each of `EVALUATION_TITLES`."""
    interval = format_interval(interval_of(found.eval_loss_interval))
    perplexity, base = format_perplexity(found.perplexity), format_perplexity(found.base_perplexity)
    return found.data.path, f"{found.rows:,}", format_loss(found.eval_loss), perplexity, interval, base


def evaluation_fields(found: EvaluationSummary) -> dict[str, object]:
    """An evaluation as the JSON outputs give it: all but what each row scored."""
    return {name: getattr(found, name) for name in EvaluationSummary.__struct_fields__}


def evaluate_on(run: RunDir, data: DataSpec, told: Callable[[ScoreProgress], None]) -> ExtraEvaluation:
    """Score the adapter of a run on `data`, and keep what came of it.

    `told` hears how far it is, and may raise to end it.

    Raises:
        RoundError: the run has no adapter.
        LoratuiError: data, model or adapter cannot be used, in one sentence.
    """
    run.check()
    if not (run.adapter / "adapter_config.json").is_file():
        raise RoundError(f"{run.path} has no adapter to score: choose a round that was trained to its end here")
    with WorkerProcess("engine.training.workers.score", "the evaluation") as process:
        process.send(ScoreRequest(str(run.path), data))
        while isinstance(reply := process.receive(_replies), ScoreProgress):
            told(reply)
    assert isinstance(reply, ExtraEvaluation)
    write_evaluation(run, reply)
    return reply
