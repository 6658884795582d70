"""Tests of the terminal app open it with `open_app`."""

from tests.support.pilot import open_app as open_app
