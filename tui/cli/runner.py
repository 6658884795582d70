"""The runner as the command line sees it: missed by rounds that wait, and started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from engine.api import Cockpit
from engine.errors import LoratuiError, RunnerStopped
from engine.system.doctor import Finding
from tui.terminal.console import say


def wake_runner(cockpit: Cockpit) -> None:
    """Start a runner if one is needed, and say if one was needed before, which may have died, or is stopped."""
    idle = cockpit.runner.why_idle()
    try:
        cockpit.runner.wake()
    except RunnerStopped as error:
        say(f"loratui: {error}", error=True)
    if idle:
        say(f"loratui: {idle}; another one is started", error=True)


def say_if_idle(cockpit: Cockpit) -> None:
    """Say if rounds wait and no runner is at work, or if it is stopped."""
    with suppress(LoratuiError):
        if idle := cockpit.runner.why_idle():
            say(f"loratui: {idle}; `loratui queue` starts another one", error=True)
        elif stopped := cockpit.runner.why_stopped():
            say(f"loratui: {stopped}", error=True)


def runner_finding(cockpit: Cockpit) -> Iterator[Finding]:
    """Yield what `loratui doctor` says about a runner that is missing or stopped; nothing where there is no store."""
    with suppress(LoratuiError):
        if idle := cockpit.runner.why_idle():
            yield Finding("runner", idle, "`loratui queue` starts another one")
        elif stopped := cockpit.runner.why_stopped():
            yield Finding("runner", stopped, "let it go on with that command")
