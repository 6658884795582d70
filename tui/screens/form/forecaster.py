"""Forecasts of the spec in the form, for the machine as it was when the form opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Lock

from msgspec.structs import replace

from engine.api import Cockpit
from engine.errors import FileError, LoratuiError, StoreError
from engine.planning.devices import Device, device_here
from engine.planning.durations.first_duration import precision_on
from engine.planning.forecast import Forecast, forecast
from engine.planning.length_request import LengthRequest
from engine.planning.prediction import predict
from engine.preflight.base_model import local_model_dir
from engine.preflight.hub_shapes import cache_directory, directory_with_shapes, update_shapes
from engine.spec.round import Prediction, Round
from engine.spec.schema import ModelSpec, Spec
from engine.system.matrix_rate import Precision, try_matrices
from engine.system.worker_process import WorkerSlot
from tui.settings.silenced_rules import silenced_rules


class Forecaster:
    """Forecast specs one after the other; the first one asks the machine for its cards, which may take a second."""

    def __init__(self, cockpit: Cockpit) -> None:
        self._cockpit = cockpit
        self._device: Device | None = None
        self._slot = WorkerSlot()
        self._lengths = LengthRequest(self._slot)
        self._measuring = Lock()
        self._asked_for: dict[ModelSpec, str] = {}  # models of the hub, and why it did not tell their newest shapes
        self._matrix_rates: dict[Precision, float | None] = {}
        self._last: tuple[Spec, Forecast] | None = None

    def outcomes(self, spec: Spec, may_go_on: Callable[[], bool]) -> Iterator[Forecast | LoratuiError]:
        """Yield the forecast of `spec`, or why it cannot be trained, and another one if there is more to find out.

        That takes seconds: it is found out if `may_go_on` says so. This reads files: not from the UI thread.
        """
        outcome = self._outcome(spec)
        yield outcome
        if isinstance(outcome, Forecast) and may_go_on() and self.measure(spec):
            yield self._outcome(spec)

    def _outcome(self, spec: Spec) -> Forecast | LoratuiError:
        silenced: frozenset[str] = frozenset()
        with suppress(FileError):  # who silences a rule is told why that fails
            silenced = silenced_rules()
        rounds: Sequence[Round] = ()
        with suppress(StoreError):  # which the table shows
            rounds = self._cockpit.store.rounds()
        try:
            self._device = self._device or device_here(filter(None, (round_.process for round_ in rounds)))
            lengths = self._lengths.known(spec)
            rate = self._matrix_rates.get(precision_on(self._device, spec))
            outcome = forecast(spec, self._device, self._cockpit.workspace, rounds, silenced, lengths, rate)
        except LoratuiError as error:
            return error
        stale = self._asked_for.get(_question(spec.model))
        if stale and outcome.memory is not None:
            warnings = (*outcome.checked.warnings, stale)
            outcome = replace(outcome, checked=replace(outcome.checked, warnings=warnings))
        self._last = spec, outcome
        return outcome

    def prediction(self, spec: Spec) -> Prediction | None:
        """Return what is predicted of the round of `spec`, which is about to be queued; None if that is not known.

        It does not ask the machine, as the person waits. This may read files: not from the UI thread.
        """
        last, device, cockpit = self._last, self._device, self._cockpit
        if last is not None and last[0] == spec:
            return predict(spec, lambda: last[1])
        if device is None:
            return None
        lengths = self._lengths.known(spec)
        rounds = cockpit.store.rounds
        return predict(spec, lambda: forecast(spec, device, cockpit.workspace, rounds(), lengths=lengths))

    def measure(self, spec: Spec) -> bool:
        """Find out what the last forecast of `spec` did not know, if anything; return whether there was something.

        That is the shapes of a model on the hub, the lengths of its rows, and how fast this processor multiplies
        matrices, if no round tells its time. It takes seconds.
        """
        with self._measuring:  # one process at a time
            found_out = [self._ask_hub(spec.model), self._measure_rows(spec), self._try_processor(spec)]
        return any(found_out)

    def _ask_hub(self, model: ModelSpec) -> bool:
        """Ask the hub once for the shapes of a model that is not here; return whether it has answered.

        A name without an owner is more often one that is being typed.
        """
        question = _question(model)
        if local_model_dir(model.path) is not None or "/" not in model.path or question in self._asked_for:
            return False
        self._asked_for[question] = ""
        with suppress(LoratuiError):  # the round says so when it is started
            before = directory_with_shapes(model)
            self._asked_for[question] = update_shapes(model, self._slot)
            now = directory_with_shapes(model)
            return now is not None and (before is None or now == cache_directory(model))
        return False

    def _measure_rows(self, spec: Spec) -> bool:
        if self._lengths.known(spec) is not None:
            return False
        self._lengths.measure(spec)
        return True

    def _try_processor(self, spec: Spec) -> bool:
        if (device := self._device) is None or device.is_gpu:
            return False
        precision, last = precision_on(device, spec), self._last
        if precision in self._matrix_rates or last is None or last[1].duration is not None:
            return False
        self._matrix_rates[precision] = try_matrices(precision, self._slot)
        return True

    def close(self) -> None:
        """End the process that finds something out, if one is at work; from any thread."""
        self._slot.close()


def _question(model: ModelSpec) -> ModelSpec:
    """Return a model with all that its shapes depend on alone."""
    return replace(ModelSpec(model.path), revision=model.revision)
