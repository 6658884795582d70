"""What the engine says while it trains, one JSON object per line of `events.jsonl`.

A run's state is a replay of its events. A number that is not finite is written as null, as JSON has none, and named in
`nonfinite`; logs of earlier versions have the null alone.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from engine.spec.round import Result, with_nonfinite
from engine.system.process import ProcessIdentity


class Event(Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """Something that happened. `time` is in seconds since the epoch."""

    time: float


class Started(Event, frozen=True, kw_only=True):
    """An engine took the round up; `resumed_from` is the step of the checkpoint it continues from."""

    process: ProcessIdentity
    resumed_from: int | None = None


class Phase(Event, frozen=True, kw_only=True):
    """What the engine is busy with outside the steps, and how far it is: `done` of `total`, 0 when not counted."""

    name: Literal[
        "loading", "tokenising", "evaluating base", "training", "evaluating", "sampling", "answering", "saving"
    ]
    done: int = 0
    total: int = 0


class Prepared(Event, frozen=True, kw_only=True):
    """Model and data are ready.

    Attributes:
        device: cuda, mps or cpu.
        dtype: precision the base model is held in.
        parameters, trainable_parameters: of base model with adapter, and of those the adapter's.
        train_samples, eval_samples: rows after dropping the unusable.
        total_steps, steps_per_epoch: optimizer steps.
        micro_batch_tokens: the most that go through the model at once, a single longer row aside.
        gradient_checkpointing: whether activations are recomputed.
        estimated_memory_bytes: the peak to expect, as `Result.peak_memory_bytes`.
        data_format: the form the rows were found in, one of `data.format`; "" where an earlier version did not say.
    """

    device: str
    dtype: str
    parameters: int
    trainable_parameters: int
    train_samples: int
    eval_samples: int
    total_steps: int
    steps_per_epoch: int
    micro_batch_tokens: int | None = None
    gradient_checkpointing: bool = False
    estimated_memory_bytes: int | None = None
    data_format: str = ""


class Provenance(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Where the numbers of a run come from beside its spec; None where it is not known.

    Attributes:
        model_revision: the commit of a model from the hub.
        weights: SHA-256 over the names and SHA-256s of the base model's safetensors files.
        data: SHA-256 of the data file; None for a dataset from the hub, whose rows are told by the next two.
        train_rows, held_out_rows: SHA-256 over the tokens of the rows in their order, and which are supervised.
        libraries: versions by name, Python's too.
        device: what the device is called by those who sell it.
        driver: version of the NVIDIA driver, and of CUDA.
        git: the commit that the workspace has checked out, and whether files were changed since.
        command: the command line that trains the same spec.
    """

    model_revision: str | None = None
    weights: str | None = None
    data: str | None = None
    train_rows: str = ""
    held_out_rows: str = ""
    libraries: dict[str, str] = {}
    device: str = ""
    driver: str | None = None
    git: str | None = None
    command: str = ""


class Step(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One optimizer step.

    Attributes:
        loss: mean negative log-likelihood per supervised token of the step's rows, in nats.
        grad_norm: 2-norm of the adapter's gradient before clipping.
        tokens: tokens of the step, padding left out.
        seconds: wall time of the step.
        train_seconds, trained_tokens: sums since the first step, over all runs of the round.
        memory_bytes: as `Result.peak_memory_bytes`.
        nonfinite: as in `Result`, of `loss` and `grad_norm`.
    """

    step: int
    epoch: float
    loss: float | None
    learning_rate: float
    grad_norm: float | None
    tokens: int
    seconds: float
    train_seconds: float
    trained_tokens: int
    memory_bytes: int | None = None
    nonfinite: dict[str, str] = {}


class Evaluated(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Perplexity over the held-out rows; step 0 is the base model before training.

    `eval_loss_interval` is as in `Result`, and so is `nonfinite`, of `eval_loss` and `perplexity`.
    """

    step: int
    eval_loss: float | None
    perplexity: float | None
    supervised_tokens: int
    eval_loss_interval: tuple[float, float] | None = None
    nonfinite: dict[str, str] = {}


class Sampled(Event, frozen=True, kw_only=True):
    """What the model answers, greedily, to the prompt of a held-out row; step 0 is the base model before training.

    Attributes:
        prompt, expected: the row's own prompt and answer.
        text: the answer as far as `train.sample_tokens` go.
    """

    step: int
    prompt: str
    expected: str
    text: str


class Answered(Event, frozen=True, kw_only=True):
    """Answers to held-out prompts were scored; step 0 is the base model before training.

    Attributes:
        examples: how many prompts.
        scores: by metric, each on its library's own scale: `bleu`, `chrf`, `rouge1`, `rouge2`, `rougeL`.
        signatures: how sacrebleu counted, by metric.
    """

    step: int
    examples: int
    scores: dict[str, float]
    signatures: dict[str, str] = {}


class Saved(Event, frozen=True, kw_only=True):
    """A checkpoint or, with `final`, the adapter was written; `path` is relative to the run directory."""

    step: int
    path: Annotated[str, Meta(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*\Z")]  # which leads nowhere else
    final: bool = False


class Warned(Event, frozen=True, kw_only=True):
    """Something the person should know that does not end the round."""

    message: str


class Finished(Event, frozen=True, kw_only=True):
    """The round is complete; `message` says what is not plain from the spec, such as an early end."""

    result: Result
    message: str = ""


class Stopped(Event, frozen=True, kw_only=True):
    """The person asked for the end; `step` is the last one done."""

    step: int
    message: str


class Interrupted(Event, frozen=True, kw_only=True):
    """Something other than the person ended the run; it can be resumed."""

    step: int
    message: str


class Failed(Event, frozen=True, kw_only=True):
    """The round cannot go on; `message` is one sentence, the traceback is in the log."""

    message: str


AnyEvent: TypeAlias = (
    Started
    | Provenance
    | Phase
    | Prepared
    | Step
    | Evaluated
    | Sampled
    | Answered
    | Saved
    | Warned
    | Finished
    | Stopped
    | Interrupted
    | Failed
)
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode_event(event: AnyEvent) -> bytes:
    """One line of JSON, its newline included."""
    if isinstance(event, (Step, Evaluated)):
        event = with_nonfinite(event)
    return msgspec.json.encode(event) + b"\n"


def line_start(kind: type[AnyEvent]) -> bytes:
    """How every line of an event of this kind begins."""
    return f'{{"event":"{kind.__struct_config__.tag}"'.encode()


def decode_event(line: bytes) -> AnyEvent | None:
    """The event of one line; None for a line this version does not understand, such as a newer version's event."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
