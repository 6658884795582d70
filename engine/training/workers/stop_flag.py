"""SIGINT as a flag that ends an answer."""

from __future__ import annotations

import signal


class StopFlag:
    """What ends an answer once it is `wanted`, which SIGINT makes it."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take SIGINT from here on."""
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "requested", True))
