"""Look ahead in the queue of a workspace: which rounds train at once on this machine, and how long each takes there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

from engine.alerts.run_monitor import RunMonitor, RunProgress
from engine.files.paths import Workspace
from engine.planning.devices import Device, this_machine
from engine.planning.durations.duration import Duration, alike_rounds, duration_of, is_alike
from engine.planning.durations.queue_times import QueueTimes, queue_times
from engine.planning.durations.remaining import remaining
from engine.runner.gpu_slots import GpuSlots
from engine.runner.workspace_runner import WorkspaceRunner
from engine.runs.run_tail import RunTail
from engine.spec.round import ACTIVE, WAITING, Round, Status, in_queue_order
from engine.spec.schema import Spec
from engine.system.telemetry import sample_gpus


class QueueOutlook(Struct, frozen=True):
    """The facts that the times of a queue follow from; they hold as long as the same rounds run and wait.

    Attributes:
        is_at_work: whether a runner trains the queue. Without one nothing starts.
        gpus: UUIDs of the cards on which rounds train at once; empty where one round has the whole machine.
        durations: how long the rounds that run or wait take as a whole, by number, as far as that is known.
    """

    is_at_work: bool
    gpus: frozenset[str]
    durations: Mapping[int, Duration]

    def times(self, rounds: Sequence[Round], progress: Mapping[int, RunProgress], now: float) -> QueueTimes:
        """Return when each of `rounds` starts and ends; `progress` is that of the running ones, by number."""
        running = [round_ for round_ in rounds if round_.status in ACTIVE]
        queued = in_queue_order(round_ for round_ in rounds if round_.status is Status.QUEUED)
        spans = {
            each.number: remaining(each, self.durations.get(each.number), progress.get(each.number), now)
            for each in (*running, *queued)
        }
        return queue_times(
            self._slots(running),
            {round_.number: spans[round_.number] for round_ in running},
            [(round_.number, spans[round_.number]) for round_ in queued],
            now,
        )

    def _slots(self, running: Sequence[Round]) -> list[list[int]]:
        """Return for each slot the running rounds that keep it, as `GpuSlots.free` has it."""
        if not self.is_at_work:
            return []
        if not self.gpus:
            return [[round_.number for round_ in running]]
        return [[round_.number for round_ in running if round_.gpu in (gpu, None)] for gpu in sorted(self.gpus)]


def look_ahead(runner: WorkspaceRunner, rounds: Sequence[Round]) -> QueueOutlook:
    """Return the outlook for the queue of `rounds`; it asks NVML, which takes up to ten seconds.

    Raises:
        FileError: the lock of the runner cannot be looked at.
    """
    cards = GpuSlots(sample_gpus).gpus()
    used = {round_.gpu for round_ in rounds if round_.status in ACTIVE}
    open_to_rounds = frozenset(card.uuid for card in cards if card.uuid in used or not card.processes)
    unfinished = [round_ for round_ in rounds if round_.status in ACTIVE | WAITING]
    return QueueOutlook(
        is_at_work=runner.is_at_work(),
        gpus=open_to_rounds if len(cards) > 1 else frozenset(),
        durations=_durations(unfinished, this_machine(cards), rounds),
    )


def _durations(unfinished: Sequence[Round], device: Device, rounds: Sequence[Round]) -> dict[int, Duration]:
    """Return how long each of the `unfinished` rounds takes, by number; alike ones are looked for once."""
    kinds: list[tuple[Spec, list[Round]]] = []
    durations = {}
    for round_ in unfinished:
        alike = next((alike for spec, alike in kinds if is_alike(spec, round_.spec)), None)
        if alike is None:
            alike = alike_rounds(round_.spec, device, rounds)
            kinds.append((round_.spec, alike))
        if (duration := duration_of(round_.spec, round_.plan, device, alike)) is not None:
            durations[round_.number] = duration
    return durations


def progress_of(workspace: Workspace, rounds: Sequence[Round]) -> dict[int, RunProgress]:
    """Read how far the running ones of `rounds` have come, by number, as far as their events can be read."""
    progress = {}
    for round_ in rounds:
        if round_.status in ACTIVE:
            run = workspace.run_dir(round_.id)
            monitor = RunMonitor(round_, run, since=0.0)
            with suppress(OSError):
                monitor.take(RunTail(run.events).poll())
                progress[round_.number] = monitor.progress()
    return progress
