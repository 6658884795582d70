"""Memory of passes: `python -P -m engine.training.workers.memory_trace`, for `engine.planning.tracing.traced_memory`.

It reads a `TraceRequest` as a line of JSON, builds the model from its config alone, and replies with `Traceable`; then
it replies to each `PassRequest` with `PassBytes`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.errors import LoratuiError, TrainingError
from engine.planning.tracing.messages import PassBytes, PassRequest, Traceable, TraceRequest
from engine.spec.schema import Spec
from engine.training.runtime.hub_errors import first_line
from engine.training.runtime.imports import importing
from engine.training.workers.start import start_worker

if TYPE_CHECKING:
    from engine.training.model.traced_passes import PassTracer


def main() -> None:
    replies = start_worker()
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=TraceRequest)
    with replies.errors_as_refusals():
        tracer = tracer_for(request)
        replies.send(Traceable(tracer.packed))
        for line in sys.stdin.buffer:
            wanted = msgspec.json.decode(line, type=PassRequest)
            replies.send(PassBytes(peak_bytes(tracer, wanted.tokens, recompute=wanted.recompute)))


def tracer_for(request: TraceRequest) -> PassTracer:
    """Return what traces the passes of a round.

    Raises:
        LoratuiError: as the engine for the same spec; or its model cannot be built without numbers.
    """
    spec = _spec_to_trace(request)
    with importing(spec.model, weights=False):
        from engine.training.model.loading import embedded_tokens, load_config, load_tokenizer
        from engine.training.model.traced_passes import PassTracer
        from engine.training.model.trainable_tokens import trainable_tokens
        from engine.training.runtime.device import DTYPES

    config = load_config(spec)
    tokens: list[int] = []
    if spec.lora.trainable_token_indices:
        tokens = trainable_tokens(spec.lora, load_tokenizer(request.spec.model), embedded_tokens(config))
    try:
        return PassTracer(
            spec, config, DTYPES[request.dtype], request.longest, is_gpu=request.is_gpu, tokens=tuple(tokens)
        )
    except LoratuiError:
        raise
    except Exception as error:  # the code of a model may do anything
        raise _untraceable(spec, error) from error


def peak_bytes(tracer: PassTracer, tokens: int, *, recompute: bool) -> int:
    """Return the bytes of a pass.

    Raises:
        TrainingError: it does what cannot be known without numbers.
    """
    try:
        return tracer.peak_bytes(tokens, recompute=recompute)
    except Exception as error:  # the code of a model may do anything
        raise TrainingError(f"its passes cannot be traced ({first_line(error)})") from error


def _spec_to_trace(request: TraceRequest) -> Spec:
    """Return the spec with the directory of its config, and an adapter that needs no weights of the base model."""
    replace, spec = msgspec.structs.replace, request.spec
    return replace(
        spec,
        model=replace(spec.model, path=str(Path(request.directory)), revision=None, trust_remote_code=False),
        lora=replace(spec.lora, init_lora_weights="true"),
    )


def _untraceable(spec: Spec, error: Exception) -> TrainingError:
    return TrainingError(f"model.path is {spec.model.path!r}: its passes cannot be traced ({first_line(error)})")


if __name__ == "__main__":
    main()
