"""Forecasts of the spec in the form, for the machine as it was when the form opened."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

from engine.api import Cockpit
from engine.errors import FileError, LoratuiError, StoreError
from engine.planning.devices import Device, device_here
from engine.planning.forecast import Forecast, forecast
from engine.planning.length_request import LengthRequest
from engine.planning.prediction import predict
from engine.spec.round import Prediction, Round
from engine.spec.schema import Spec
from tui.settings.silenced_rules import silenced_rules


class Forecaster:
    """Forecast specs one after the other; the first one asks the machine for its cards, which may take a second."""

    def __init__(self, cockpit: Cockpit) -> None:
        self._cockpit = cockpit
        self._device: Device | None = None
        self._lengths = LengthRequest()
        self._measuring = Lock()
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
            outcome = forecast(spec, self._device, self._cockpit.workspace, rounds, silenced, lengths)
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
        """Have the lengths of the rows of `spec` measured, which takes seconds; return whether they were not known."""
        with self._measuring:  # one process at a time
            if self._lengths.known(spec) is not None:
                return False
            self._lengths.measure(spec)
            return True

    def close(self) -> None:
        """End the process that measures, if one is at work."""
        self._lengths.close()
