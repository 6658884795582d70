"""SIGINT as a flag that ends an answer."""

from __future__ import annotations

import signal


class StopFlag:
    """A flag that SIGINT sets; generation ends at its next token once it is `requested`."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Handle SIGINT from now on."""
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "requested", True))
