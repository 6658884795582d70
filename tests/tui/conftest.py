"""Tests of the terminal app open it with `open_app`; previews and charts are forked."""

import pytest
from textual._compositor import Compositor

from scripts.sample_workspace import sample_device, sample_machine
from tests.support.idle import waiting_for_idle as waiting_for_idle
from tests.support.pilot import open_app as open_app


@pytest.fixture(autouse=True)
def forked(forked_workers: None) -> None:
    """Spare each test that opens a preview or draws a chart the imports of their processes."""


@pytest.fixture(autouse=True)
def invented_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have forms and the queue plan for a machine that is the same everywhere; no process measures rows."""
    monkeypatch.setattr("tui.screens.form.forecaster.device_here", lambda engines: sample_device())
    monkeypatch.setattr("tui.screens.form.forecaster.Forecaster.measure", lambda forecaster, spec: False)
    monkeypatch.setattr("engine.runner.queue_outlook.sample_gpus", lambda: ((), sample_machine()[0].gpu_absence))


@pytest.fixture(autouse=True)
def painted_whole(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paint a screen when it opens and when all of it changes, but no part of it, unless the test is marked `painted`.

    A fifth of the processor time of these tests went into what nobody looks at.
    """
    if request.node.get_closest_marker("painted") is None:
        monkeypatch.setattr(Compositor, "render_partial_update", lambda compositor: compositor._dirty_regions.clear())
