"""Tests of the terminal app open it with `open_app`."""

from tests.support.idle import waiting_for_idle as waiting_for_idle
from tests.support.pilot import open_app as open_app
