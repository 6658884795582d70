"""Forecasts of the spec in the form, for the machine as it was when the form opened."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

from engine.api import Cockpit
from engine.errors import FileError, LoratuiError, StoreError
from engine.planning.devices import Device, device_here
from engine.planning.first_duration import precision_on
from engine.planning.forecast import Forecast, forecast
from engine.planning.length_request import LengthRequest
from engine.planning.prediction import predict
from engine.spec.round import Prediction, Round
from engine.spec.schema import Spec
from engine.system.matrix_rate import Precision, try_matrices
from tui.settings.silenced_rules import silenced_rules


class Forecaster:
    """Forecast specs one after the other; the first one asks the machine for its cards, which may take a second."""

    def __init__(self, cockpit: Cockpit) -> None:
        self._cockpit = cockpit
        self._device: Device | None = None
        self._lengths = LengthRequest()
        self._is_closed = False
        self._measuring = Lock()
        self._matrix_rates: dict[Precision, float | None] = {}
        self._last: tuple[Spec, Forecast] | None = None

    def outcome(self, spec: Spec) -> Forecast | LoratuiError:
        """Return the forecast of `spec`, or why it cannot be trained. This reads files: not from the UI thread."""
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
        """Measure what the last forecast of `spec` did not know, if anything; return whether there was something.

        That is the lengths of its rows, and how fast this processor multiplies matrices, if no round tells its time. It
        takes seconds.
        """
        with self._measuring:  # one process at a time
            is_new = self._lengths.known(spec) is None
            if is_new:
                self._lengths.measure(spec)
            device, last = self._device, self._last
            if device is None or device.is_gpu or last is None or last[1].duration is not None or self._is_closed:
                return is_new
            precision = precision_on(device, spec)
            if precision in self._matrix_rates:
                return is_new
            self._matrix_rates[precision] = try_matrices(precision)
            return True

    def close(self) -> None:
        """End the process that measures, if one is at work."""
        self._is_closed = True
        self._lengths.close()
