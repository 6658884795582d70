"""Waiting on the command line for a round to end: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engine.api import Cockpit
from engine.compare.columns import measured_text
from engine.errors import ProcessError
from engine.runs.event_log import EventTail
from engine.runs.events import AnyEvent, Evaluated, Step, Warned
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Round, Status
from tui.terminal.console import PlainConsole, clean_line, say
from tui.views.activity import activity

POLL_SECONDS = 0.2
MOST_DEATHS = 3  # of runners, within 15 s, after which waiting is useless
WAITING = frozenset({Status.QUEUED, Status.RUNNING, Status.STOPPING})


def wait_for_end(cockpit: Cockpit, round_: Round) -> Round:
    """Wait for the round and return it as it ended.

    Raises:
        ProcessError: no runner stays alive that would train it.
        KeyboardInterrupt: Ctrl+C was pressed; the round goes on, and a message says how to stop it.
    """
    console = PlainConsole(error=True)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    )  # fmt: skip
    say(f"round {round_.number} is queued: {cockpit.workspace.run_dir(round_.id).path}", error=True)
    try:
        with progress if console.is_terminal else nullcontext():
            return _follow(cockpit, round_, progress, console)
    except KeyboardInterrupt:
        say(f"\nround {round_.number} continues in the background: `loratui stop {round_.number}` stops it", error=True)
        raise


def _follow(cockpit: Cockpit, round_: Round, progress: Progress, console: Console) -> Round:
    tail, run = EventTail(cockpit.workspace.run_dir(round_.id).events), RunSnapshot()
    task = progress.add_task("queued", total=round_.plan.total_steps)
    signature, restarts = None, cockpit.runner.restarts()
    while True:
        if cockpit.store.signature() != signature:  # before the events, so that those of an ended round are complete
            signature = cockpit.store.signature()
            round_ = cockpit.store.get(round_.number)
        for event in tail.poll():
            run.apply(event)
            if (line := _line(event, round_)) is not None:
                progress.console.print(line)
        total = run.prepared.total_steps if run.prepared else round_.plan.total_steps
        loss = f"  loss {run.last_step.loss:.3f}" if run.last_step and run.last_step.loss is not None else ""
        progress.update(
            task,
            total=total,
            completed=run.last_step.step if run.last_step else 0,
            description=clean_line(activity(round_, run) + loss),
        )
        if round_.status not in WAITING:
            return round_
        restarts.look()
        if restarts.deaths >= MOST_DEATHS:
            raise ProcessError(f"round {round_.number} is {round_.status} and nothing trains it: {restarts.trouble}")
        time.sleep(POLL_SECONDS)


def _line(event: AnyEvent, round_: Round) -> str | None:
    """Return the line of plain output for an event, None for no line."""
    match event:
        case Step() if event.step % round_.spec.train.logging_steps == 0:
            loss = measured_text(event, "loss") or "not a number"
            return f"step {event.step}  epoch {event.epoch:.2f}  loss {loss}  lr {event.learning_rate:.2e}"
        case Evaluated():
            return f"{event.model}: held-out perplexity {measured_text(event, 'perplexity') or 'not a number'}"
        case Warned():
            return clean_line(f"warning: {event.message}")
    return None
