"""Lines that are exchanged with the process that traces passes, `engine.training.workers.memory_trace`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from engine.spec.schema import Spec


class TraceRequest(Struct, frozen=True):
    """The round whose passes are traced, sent first.

    Attributes:
        spec: of the round.
        directory: that has the config of its base model; no weight is read.
        dtype: precision of the base model.
        is_gpu: whether only those operations of ours are used that are used on a card.
        longest: tokens of the longest row.
    """

    spec: Spec
    directory: str
    dtype: Literal["float32", "bfloat16", "float16"]
    is_gpu: bool
    longest: int


class Traceable(Struct, frozen=True, tag="traceable"):
    """The passes can be traced.

    Attributes:
        packed: whether rows are packed, rather than padded.
    """

    packed: bool


class PassRequest(Struct, frozen=True):
    """A pass to trace, in rows of up to the longest row's tokens."""

    tokens: int
    recompute: bool


class PassBytes(Struct, frozen=True, tag="bytes"):
    """The most bytes of tensors that a pass holds at once, beside the model, its gradients and its optimizer."""

    peak: int
