"""Have the passes of a round traced by a process that has torch, and count its memory by them.

The process is `engine.training.workers.memory_trace`. It does not use the network, reads no weights, and runs no code
that comes with a model.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from engine.errors import ModelError, SpecError
from engine.planning.devices import Device
from engine.planning.memory import MemoryNeed, bytes_of_a_number, memory_need
from engine.planning.row_lengths import TrainedRows
from engine.planning.tracing.messages import PassBytes, PassRequest, Traceable, TraceRequest
from engine.preflight.base_model import read_config
from engine.preflight.checks import quantised_by
from engine.preflight.hub_shapes import directory_with_shapes
from engine.runs.disk_forecast import FLOAT32_BYTES
from engine.spec.plan import Plan
from engine.spec.schema import Spec
from engine.system.worker_process import Refusal, WorkerProcess, WorkerSlot

TRACE_SECONDS = 300.0  # a model of 30 layers takes about 20 on two cores, a large one a few times as long
_ready: msgspec.json.Decoder[Traceable | Refusal] = msgspec.json.Decoder(Traceable | Refusal)
_passes: msgspec.json.Decoder[PassBytes | Refusal] = msgspec.json.Decoder(PassBytes | Refusal)


class TracedPasses:
    """The bytes of passes, each traced when it is first asked for."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._bytes_of = cache(self._trace)

    def bytes_in(self, tokens: int, longest: int, precision: int, *, recompute: bool, on_cpu: bool) -> int:
        """Return the bytes of a pass of `tokens`; the longest row, precision and device are those of the trace."""
        return self._bytes_of(tokens, recompute)

    def _trace(self, tokens: int, recompute: bool) -> int:
        self._process.send(PassRequest(tokens, recompute))
        answer = self._process.receive(_passes)
        assert isinstance(answer, PassBytes)
        return answer.peak


def traced_need(
    spec: Spec, plan: Plan, device: Device, rows: TrainedRows | None = None, slot: WorkerSlot | None = None
) -> MemoryNeed | None:
    """Return what `memory_need` returns, its rows counted by a trace of the engine's own passes.

    The verdict follows from the same rule. Remedies are still those of arithmetic.

    Raises:
        LoratuiError: the passes cannot be traced.
    """
    counted = memory_need(spec, plan, device, rows)
    request = _request(spec, device, rows)

    def start() -> WorkerProcess:
        variables = {"HF_HUB_OFFLINE": "1"}
        return WorkerProcess("engine.training.workers.memory_trace", "the trace of the passes", variables)

    with (slot or WorkerSlot()).running(start, TRACE_SECONDS) as process:
        process.send(request)
        process.receive(_ready)
        need = memory_need(spec, plan, device, rows, traced=TracedPasses(process))
    if need is None or counted is None or counted.verdict != need.verdict:
        return need
    return msgspec.structs.replace(need, remedy=counted.remedy)


def _request(spec: Spec, device: Device, rows: TrainedRows | None) -> TraceRequest:
    """Return what the trace needs to know; raises LoratuiError for what cannot be traced."""
    directory = directory_with_shapes(spec.model)
    if directory is None:
        raise ModelError(f"model.path is {spec.model.path!r}: its config is not on this machine: download it")
    _check_traceable(spec, directory)
    longest = rows.longest_example if rows is not None and rows.are_all else spec.data.max_length
    if bytes_of_a_number(spec, device) == FLOAT32_BYTES:
        return TraceRequest(spec, str(directory), "float32", device.is_gpu, longest)
    in_float16 = spec.model.dtype == "float16" or (spec.model.dtype == "auto" and not device.bfloat16)
    return TraceRequest(spec, str(directory), "float16" if in_float16 else "bfloat16", device.is_gpu, longest)


def _check_traceable(spec: Spec, directory: Path) -> None:
    config = read_config(directory)
    if key := quantised_by(spec.model):
        raise SpecError(f"{key} is true: quantised layers cannot be traced: plan without --trace", key)
    if "quantization_config" in config:
        raise ModelError(f"model.path is {spec.model.path!r}: it is stored quantised, and cannot be traced")
    if spec.model.trust_remote_code and "auto_map" in config:
        raise ModelError(f"model.path is {spec.model.path!r}: its code is its own, and is not run for a trace")
