"""The runner as the command line sees it: the queue that it trains, and whether it is missed by rounds that wait."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.compare.columns import columns
from engine.errors import LoratuiError, RunnerStopped
from engine.planning.durations.queue_times import ExpectedTimes, QueueTimes
from engine.planning.durations.remaining import Span
from engine.report.export import json_text, round_fields
from engine.spec.round import ACTIVE, WAITING, Round, in_queue_order
from engine.system.doctor import Finding
from tui.terminal.console import PlainConsole, clean_line, say, say_json
from tui.views.queue import end_in_words, start_in_words

QUEUE_TITLES = ("place", "#", "status", "name", "steps", "starts", "note")
RIGHT = ("place", "#", "steps")


def queue(cockpit: Cockpit, options: argparse.Namespace) -> int:
    rounds = cockpit.store.rounds()
    waiting = in_queue_order(round_ for round_ in rounds if round_.status in WAITING)
    unfinished = [*(round_ for round_ in rounds if round_.status in ACTIVE), *waiting]
    wake_runner(cockpit)
    now = time.time()
    times = _times(cockpit, rounds, now) if unfinished else QueueTimes()
    if options.json:
        say_json(json_text([round_fields(each) | _moments(each, times.rounds.get(each.number)) for each in unfinished]))
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in QUEUE_TITLES:
        table.add_column(title, justify="right" if title in RIGHT else "left")
    places = {round_.number: str(place) for place, round_ in enumerate(waiting, 1)}
    for round_ in unfinished:
        texts = (str(round_.number), str(round_.status), round_.name, columns()["total_steps"].text(round_))
        starts = start_in_words(round_, times, now)
        cells = (places.get(round_.number, "now"), *texts, starts, round_.message or round_.note)
        table.add_row(*(Text(clean_line(cell), no_wrap=True, overflow="ellipsis") for cell in cells))
    PlainConsole().print(table)
    if end := end_in_words(times.done, now):
        say(end)
    return 0


def move(cockpit: Cockpit, options: argparse.Namespace) -> int:
    cockpit.move(options.number, options.place)
    return queue(cockpit, argparse.Namespace(json=False))


def _times(cockpit: Cockpit, rounds: Sequence[Round], now: float) -> QueueTimes:
    from engine.runner.queue_outlook import look_ahead, progress_of  # which the other commands do not wait for

    outlook = look_ahead(cockpit.runner, rounds)
    return outlook.times(rounds, progress_of(cockpit.workspace, rounds), now)


def _moments(round_: Round, expected: ExpectedTimes | None) -> dict[str, Any]:
    """Return the times of a round for JSON, in seconds since the epoch; null where they are not known."""
    expected = expected or ExpectedTimes()
    starts = None if expected.is_latest else expected.starts
    ends = None if expected.is_latest else expected.ends
    return {
        "starts": round_.started if round_.status in ACTIVE else starts and starts.likely,
        "ends": ends and ends.likely,
        "starts_interval": _bounds(expected.starts),
        "ends_interval": _bounds(expected.ends),
    }


def _bounds(span: Span | None) -> tuple[float, float] | None:
    return None if span is None else (span.least, span.most)


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
