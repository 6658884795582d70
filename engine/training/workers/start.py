"""The start of a worker process, the same for all of them."""

from __future__ import annotations

import os

from engine.files.permissions import PRIVATE_UMASK
from engine.system.allowance import limit_threads
from engine.text.redact import redact_output
from engine.training.runtime.imports import quieten
from engine.training.workers.replies import Replies


def start_worker() -> Replies:
    """Set this process up, before it imports the heavy libraries, and return where its replies go.

    Its new files are the owner's alone, and no secret reaches its output.
    """
    quieten()
    limit_threads()
    os.umask(PRIVATE_UMASK)
    redact_output()
    return Replies()
