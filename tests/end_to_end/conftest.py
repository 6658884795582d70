"""End-to-end tests may open the app with `open_app`."""

from tests.support.pilot import open_app as open_app
