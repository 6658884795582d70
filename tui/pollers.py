"""Watching what other processes write, in threads that only read and post messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from textual.message import Message
from textual.worker import get_current_worker

from engine.alerts.run_monitor import Alarm, RunMonitor, RunProgress
from engine.api import Cockpit
from engine.errors import FileError, LoratuiError, reason_of
from engine.runner.launcher import RunnerRestarts
from engine.runs.run_tail import RunTail
from engine.runs.snapshot import RunSnapshot
from engine.runs.text_log import LogTail
from engine.spec.round import ACTIVE, WAITING, Round
from tui.messages import MachineSampled, RoundShare, RoundsRead, RunAdvanced, RunsWatched, StoreUnreadable, SweepsRead

Post = Callable[[Message], object]

STORE_SECONDS = 0.5
RUN_SECONDS = 1.0  # a person reads no faster, and each look is written to the terminal
WATCH_SECONDS = 1.0
MACHINE_SECONDS = 2.0


def pause(seconds: float) -> bool:
    """Wait for `seconds`; return False at once when the worker is cancelled."""
    return not get_current_worker().cancelled_event.wait(seconds)


def while_wanted(post: Post) -> Post:
    """Return `post` for a worker; once it is cancelled it posts nothing, not even what it has just read."""
    worker = get_current_worker()

    def post_if_wanted(message: Message) -> None:
        if not worker.is_cancelled:
            post(message)

    return post_if_wanted


def follow_store(cockpit: Cockpit, post: Post) -> None:
    """Post the rounds now and whenever the store changes, and keep a runner alive while there is work for one.

    Why no runner is at work is a notice.
    """
    post = while_wanted(post)
    posted_state: object = object()
    asleep: tuple[str, ...] = ()  # why no runner can be started
    restarts = cockpit.runner.restarts()
    purged = False
    while True:
        try:
            state = cockpit.store.signature(), asleep
            if state != posted_state:
                post(RoundsRead(cockpit.store.rounds(), (*cockpit.store.notices(), *asleep)))
                posted_state = state
            if not purged:
                purged = True
                cockpit.purge_trash()
            asleep = _why_asleep(restarts)
        except LoratuiError as error:
            if str(error) != posted_state:
                post(StoreUnreadable(error))
                posted_state = str(error)
        if not pause(STORE_SECONDS):
            return


def follow_sweeps(cockpit: Cockpit, post: Post) -> None:
    """Post all sweeps now and whenever one of them or a round changes."""
    post = while_wanted(post)
    posted_state: object = object()
    while True:
        try:
            if (state := cockpit.sweeps.signature()) != posted_state:
                post(SweepsRead(cockpit.sweeps.all()))
                posted_state = state
        except LoratuiError as error:
            if str(error) != posted_state:
                post(StoreUnreadable(error))
                posted_state = str(error)
        if not pause(STORE_SECONDS):
            return


def _why_asleep(restarts: RunnerRestarts) -> tuple[str, ...]:
    """Start a runner if it is time to; return a sentence on why none is at work, if one should be."""
    with suppress(LoratuiError):  # which is its trouble
        restarts.look()
    return (restarts.trouble,) if restarts.trouble else ()


def follow_run(cockpit: Cockpit, current: Callable[[], Round], snapshot: RunSnapshot, post: Post) -> None:
    """Post a run's events and log from the first on; the whole curve comes with the first message.

    `current` returns the round as the store has it. It is called before the events are read, so a round that has ended
    is always shown with its last steps. Each message carries `snapshot`.
    """
    post = while_wanted(post)
    run = cockpit.workspace.run_dir(current().id)
    events, log = RunTail(run.events), LogTail(run.log)
    reported_round: Round | None = None
    refused = ""
    while True:
        round_ = current()
        try:
            news, text = events.poll(), log.poll()
        except OSError as error:  # the screen keeps what it shows, and the next look reads again
            news, text = [], ""
            if refused != (refused := f"{run.path} cannot be read: {reason_of(error)}"):
                post(StoreUnreadable(FileError(refused)))
        if news or text or round_ != reported_round:
            post(RunAdvanced(round_, news, text, snapshot))
            reported_round = round_
        if not pause(RUN_SECONDS):
            return


def follow_runs(cockpit: Cockpit, current: Callable[[], Sequence[Round]], post: Post) -> None:
    """Post the events of several runs from the first on, as `follow_run` does, without their logs.

    Each run is posted at least once. A run that has ended is read once, and again if its round is resumed.
    """
    post = while_wanted(post)
    tails: dict[str, RunTail] = {}
    reported_rounds: dict[str, Round] = {}
    refused: set[str] = set()
    while True:
        for round_ in current():
            over = round_.status not in ACTIVE | WAITING
            if over and reported_rounds.get(round_.id) == round_:
                continue
            run = cockpit.workspace.run_dir(round_.id)
            try:
                news = tails.setdefault(round_.id, RunTail(run.events)).poll()
            except OSError as error:
                message = f"{run.path} cannot be read: {reason_of(error)}"
                if message not in refused:
                    refused.add(message)
                    post(StoreUnreadable(FileError(message)))
                continue
            if news or round_.id not in reported_rounds:
                post(RunAdvanced(round_, news))
            reported_rounds[round_.id] = round_
        if not pause(RUN_SECONDS):
            return


def watch_runs(cockpit: Cockpit, active: Callable[[], Sequence[Round]], post: Post) -> None:
    """Post the progress of the rounds that `active` returns whenever it changes, and their alarms.

    Events from before the call raise no alarm.
    """
    post = while_wanted(post)
    begun = time.time()
    watched: dict[str, tuple[RunTail, RunMonitor]] = {}
    reported: dict[int, RunProgress] = {}
    while True:
        rounds = active()
        watched = {each.id: watched.get(each.id) or _watch(cockpit, each, begun) for each in rounds}
        alarms: list[Alarm] = []
        for tail, monitor in watched.values():
            with suppress(OSError):  # the screen of the run reports it
                alarms += monitor.take(tail.poll())
        progress = {each.number: watched[each.id][1].progress() for each in rounds}
        if alarms or progress != reported:
            post(RunsWatched(progress, alarms))
            reported = progress
        if not pause(WATCH_SECONDS):
            return


def _watch(cockpit: Cockpit, round_: Round, since: float) -> tuple[RunTail, RunMonitor]:
    run = cockpit.workspace.run_dir(round_.id)
    return RunTail(run.events), RunMonitor(round_, run, since)


def follow_machine(cockpit: Cockpit, current: Callable[[], tuple[Round, RunSnapshot]], post: Post) -> None:
    """Post the machine's load every `MACHINE_SECONDS`, with the share of the round that `current` returns."""
    # The first painted table does not wait for these.
    from engine.chat.client import talks_among
    from engine.runs.disk_forecast import disk_need, free_bytes
    from engine.system.process_memory import ProcessTree
    from engine.system.telemetry import Telemetry

    post = while_wanted(post)
    telemetry, tree = Telemetry(), ProcessTree()
    root = cockpit.workspace.root
    try:
        while True:
            round_, run = current()
            active = round_.status in ACTIVE
            last = run.last_step
            directory = cockpit.workspace.run_dir(round_.id)
            need = disk_need(round_, run.prepared, last.step if last is not None else 0, directory) if active else None
            sample = telemetry.sample()
            share = RoundShare(
                tree=tree.sample(round_.process) if active else None,
                gpu=round_.gpu,
                on_gpu=run.prepared is not None and run.prepared.device == "cuda",
                disk_free=free_bytes(root),
                disk_need=need,
                talk_pids=talks_among(process.pid for gpu in sample.gpus for process in gpu.processes),
            )
            post(MachineSampled(sample, share, time.monotonic()))
            if not pause(MACHINE_SECONDS):
                return
    finally:
        telemetry.close()
