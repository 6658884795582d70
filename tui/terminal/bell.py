"""The bell and the notification for a person who looks at another window."""

from __future__ import annotations

import os
from collections.abc import Mapping

from engine.alerts.notify import Notify
from engine.text.sanitize import clean_line

BELL = "\x07"
MAX_CHARACTERS = 200


def alert_sequence(notify: Notify, message: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the bell, or a notification by OSC 9 (`ESC ] 9 ; text BEL`; iTerm2, kitty, WezTerm show it), or both.

    In tmux the notification is passed to the outer terminal, which needs tmux's option `allow-passthrough`. The Linux
    console gets none, as it would print it.
    """
    written = BELL if notify.bell else ""
    if notify.osc9 and environment.get("TERM") != "linux":
        text = clean_line(message)[:MAX_CHARACTERS]
        notification = f"\x1b]9;{text}\x07"
        if environment.get("TMUX"):
            notification = "\x1bPtmux;" + notification.replace("\x1b", "\x1b\x1b") + "\x1b\\"
        written += notification
    return written
