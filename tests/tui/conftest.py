"""Tests of the terminal app open it with `open_app`; previews and charts are forked."""

import pytest

from tests.support.idle import waiting_for_idle as waiting_for_idle
from tests.support.pilot import open_app as open_app


@pytest.fixture(autouse=True)
def forked(forked_workers: None) -> None:
    """Spare each test that opens a preview or draws a chart the imports of their processes."""
