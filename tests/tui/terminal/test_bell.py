from __future__ import annotations

import pytest

from engine.alerts.notify import Notify
from tui.terminal.bell import alert_sequence


@pytest.mark.parametrize(
    ("notify", "environment", "written"),
    [
        (Notify(bell=True, osc9=False), {}, "\x07"),
        (Notify(bell=False, osc9=True), {"TERM": "xterm-256color"}, "\x1b]9;round 1: done\x07"),
        (Notify(), {}, "\x07\x1b]9;round 1: done\x07"),
        (Notify(), {"TERM": "linux"}, "\x07"),
        (Notify(bell=False, osc9=False), {}, ""),
        (Notify(bell=False), {"TMUX": "/tmp/tmux"}, "\x1bPtmux;\x1b\x1b]9;round 1: done\x07\x1b\\"),
    ],
)
def test_terminal_is_sent_what_was_asked_for(notify: Notify, environment: dict[str, str], written: str) -> None:
    assert alert_sequence(notify, "round 1: done", environment) == written


def test_message_cannot_end_the_sequence() -> None:
    written = alert_sequence(Notify(bell=False), "a\x07\x1b\\\x1b]0;title\x9cb\n" + "x" * 1000, {})
    assert written.count("\x07") == 1 and written.count("\x1b") == 1 and "\x9c" not in written and len(written) < 250
