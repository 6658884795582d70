"""Define the events that the engine writes while it trains, one JSON object per line of `events.jsonl`.

A run's state is a replay of its events. A number that is not finite is written as null, since JSON has no such number,
and recorded in `nonfinite`; logs of earlier versions have only the null.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from engine.spec.round import Result, with_nonfinite
from engine.system.process import ProcessIdentity


class Event(Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """Base of all events. `time` is in seconds since the epoch."""

    time: float


class Started(Event, frozen=True, kw_only=True):
    """An engine started the round; `resumed_from` is the step of the checkpoint that it continues from."""

    process: ProcessIdentity
    resumed_from: int | None = None


class Phase(Event, frozen=True, kw_only=True):
    """Work of the engine outside the steps, and its progress: `done` of `total`, 0 if it is not counted."""

    name: Literal[
        "loading", "tokenising", "evaluating base", "training", "evaluating", "sampling", "answering", "saving"
    ]
    done: int = 0
    total: int = 0


class Prepared(Event, frozen=True, kw_only=True):
    """Model and data are ready.

    Attributes:
        device: cuda, mps or cpu.
        dtype: precision of the base model.
        parameters, trainable_parameters: number of parameters of base model and adapter, and of the adapter alone.
        train_samples, eval_samples: usable rows.
        total_steps, steps_per_epoch: optimizer steps.
        micro_batch_tokens: the most tokens that go through the model at once, unless a single row is longer.
        gradient_checkpointing: True if activations are recomputed.
        estimated_memory_bytes: the expected peak, as `Result.peak_memory_bytes`.
        data_format: the detected format of the rows, one of `data.format`; "" in logs of earlier versions.
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
    """Everything besides the spec that the numbers of a run depend on; None where it is unknown.

    Attributes:
        model_revision: the commit of a model from the hub.
        weights: SHA-256 over the names and SHA-256s of the base model's safetensors files.
        data: SHA-256 of the data file; None for a dataset of the hub, whose rows the next two identify.
        data_revision, held_out_revision: the commits of datasets from the hub.
        mixed: each source in `data.mix`, with the SHA-256 of its file or its commit on the hub.
        held_out_data: SHA-256 of the file of a separate held-out set.
        initial_adapter: SHA-256 of the weights of the adapter that training started from; None if it was a fresh one.
        train_rows, held_out_rows: SHA-256 over the tokens of the rows in their order, and which are supervised; "" if
            no rows are held out.
        libraries: versions by name, Python's too.
        device: the product name of the device.
        driver: versions of the NVIDIA driver and of CUDA.
        git: the commit that the workspace has checked out, and if files were changed since.
        command: the command line that trains the same spec.
    """

    model_revision: str | None = None
    weights: str | None = None
    data: str | None = None
    held_out_data: str | None = None
    initial_adapter: str | None = None
    data_revision: str | None = None
    held_out_revision: str | None = None
    mixed: tuple[str, ...] = ()
    train_rows: str = ""
    held_out_rows: str = ""
    libraries: dict[str, str] = {}
    device: str = ""
    driver: str | None = None
    git: str | None = None
    command: str = ""


class Step(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One optimizer step.

    Attributes:
        loss: mean negative log-likelihood per supervised token of the step's rows, in nats.
        grad_norm: 2-norm of the adapter's gradient before clipping.
        tokens: tokens of the step, without padding.
        seconds: wall time of the step.
        train_seconds, trained_tokens: sums since the first step, over all runs of the round.
        memory_bytes: as `Result.peak_memory_bytes`.
        nonfinite: as in `Result`, for `loss` and `grad_norm`.
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
    """Perplexity over the held-out rows; step 0 is the base model before training, or the initial adapter on it.

    `eval_loss_interval` and `nonfinite` (for `eval_loss` and `perplexity`) are as in `Result`.
    """

    step: int
    eval_loss: float | None
    perplexity: float | None
    supervised_tokens: int
    eval_loss_interval: tuple[float, float] | None = None
    nonfinite: dict[str, str] = {}
    initial_adapter: bool = False

    @property
    def model(self) -> str:
        """Return what was measured, in a word or two."""
        if self.step:
            return f"step {self.step}"
        return "initial adapter" if self.initial_adapter else "base model"


class Sampled(Event, frozen=True, kw_only=True):
    """The model's greedy answer to the prompt of a held-out row; step 0 is the base model before training.

    Attributes:
        prompt, expected: the row's own prompt and answer.
        text: the first `train.sample_tokens` tokens of the model's answer.
    """

    step: int
    prompt: str
    expected: str
    text: str


class Answered(Event, frozen=True, kw_only=True):
    """Answers to held-out prompts were scored; step 0 is the base model before training.

    Attributes:
        examples: number of prompts.
        scores: by metric, each on its library's own scale: `bleu`, `chrf`, `rouge1`, `rouge2`, `rougeL`.
        signatures: sacrebleu's signatures, which say how it counted, by metric.
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
    """A warning to the person that does not end the round."""

    message: str


class Finished(Event, frozen=True, kw_only=True):
    """The round is complete; `message` says what the spec does not show, such as an early end."""

    result: Result
    message: str = ""


class Stopped(Event, frozen=True, kw_only=True):
    """The person stopped the round; `step` is the last complete one."""

    step: int
    message: str


class Interrupted(Event, frozen=True, kw_only=True):
    """Something other than the person ended the run, which can be resumed."""

    step: int
    message: str


class Failed(Event, frozen=True, kw_only=True):
    """The round cannot go on; `message` is one sentence, and the traceback is in the log."""

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
    """Encode an event as one line of JSON with its newline."""
    if isinstance(event, (Step, Evaluated)):
        event = with_nonfinite(event)
    return msgspec.json.encode(event) + b"\n"


def line_start(kind: type[AnyEvent]) -> bytes:
    """Return the bytes with which every line of an event of this kind begins."""
    return f'{{"event":"{kind.__struct_config__.tag}"'.encode()


def decode_event(line: bytes) -> AnyEvent | None:
    """Decode one line; None if this version does not understand it, such as a newer version's event."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
