"""Predict what a round needs and takes, to be stored with it when it is queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.files.paths import Workspace
from engine.planning.corrections import family_and_bits
from engine.planning.devices import device_here
from engine.planning.forecast import Forecast, forecast
from engine.planning.length_request import LengthRequest
from engine.spec.round import Prediction, Round
from engine.spec.schema import Spec

ANSWER_SECONDS = 2.0  # that a round which is being queued waits for NVML


def prediction_of(spec: Spec, outcome: Forecast) -> Prediction:
    """Return what the forecast of `spec` predicts, for the device that it was made for.

    Raises:
        ModelError: the config of the base model cannot be read.
    """
    device, memory, correction, duration = outcome.device, outcome.memory, outcome.correction, outcome.duration
    peak = memory.peak if memory is not None else None
    family, bits = family_and_bits(spec, device)
    return Prediction(
        device=device.name,
        is_gpu=device.is_gpu,
        cards=tuple(sorted(device.uuids)),
        family=family,
        bits=bits,
        peak_memory_bytes=peak,
        counted_memory_bytes=correction.counted if correction is not None else peak,
        least_memory_bytes=memory.least if memory is not None else None,
        seconds=duration.seconds if duration is not None else None,
        interval=duration.interval if duration is not None else None,
        tokens=outcome.tokens,
        disk_bytes=outcome.disk_bytes,
    )


def predict(spec: Spec, make_forecast: Callable[[], Forecast]) -> Prediction | None:
    """Return what the forecast of `spec` that is made predicts; None if that fails.

    It may read data: do not call it from the UI thread.
    """
    try:
        return prediction_of(spec, make_forecast())
    except Exception:  # whatever it is must not keep a round from being queued
        return None


def predict_here(spec: Spec, workspace: Workspace, rounds: Sequence[Round]) -> Prediction | None:
    """Predict the round of `spec` on this machine; None if that fails. Asking NVML takes up to `ANSWER_SECONDS`.

    Its rows are not measured, but their lengths are used if they are remembered.
    """
    engines = [round_.process for round_ in rounds if round_.process is not None]

    def here() -> Forecast:
        lengths = LengthRequest().known(spec)
        return forecast(spec, device_here(engines, ANSWER_SECONDS), workspace, rounds, lengths=lengths)

    return predict(spec, here)
