"""The load of the machine: each GPU, the processor, main memory and the disk, with this round's part of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from functools import partial

from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from engine.system.telemetry import GpuSample, MachineSample
from engine.text.humanize import format_bytes
from tui.messages import RoundShare
from tui.screens.run.sparkline import History, sparkline
from tui.terminal.console import clean_line

UNTOLD = "n/a"
FEW_GPUS = 3  # a small terminal too has a line for each of them


class Words(Enum):
    """The number of words for each figure."""

    ALL, FEW, FEWEST = range(3)


NAME_CHARACTERS = {Words.ALL: 60, Words.FEW: 22, Words.FEWEST: 10}
# Cells of each history, and the number of words for the rest: the first that fits is used.
DETAIL = (
    (30, Words.ALL), (20, Words.ALL), (20, Words.FEW), (12, Words.FEW), (0, Words.FEW), (0, Words.FEWEST),
)  # fmt: skip


class MachinePanel(Static, can_focus=True):
    """One line per GPU, or why there is none, and one for the rest; on the full screen, everything in words."""

    DEFAULT_CSS = """
    MachinePanel {
        height: auto; padding: 0 1; border-top: solid $primary; text-wrap: nowrap; text-overflow: ellipsis;
    }
    MachinePanel:focus { border-top: heavy $accent; }
    MachinePanel.-maximized { height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("measuring…", id=id, markup=False)
        self._busy: dict[str, History] = {}
        self._memory: dict[str, History] = {}
        self._sample: MachineSample | None = None
        self._share = RoundShare()
        self._painted: list[str] = []

    def show(self, sample: MachineSample, share: RoundShare, at: float) -> None:
        """Show the machine as measured at the time `at`, in seconds."""
        self._sample, self._share = sample, share
        for gpu in sample.gpus:
            key = gpu.uuid or str(gpu.index)
            busy = gpu.utilisation / 100 if gpu.utilisation is not None else None
            self._busy.setdefault(key, History()).add(at, busy)
            self._memory.setdefault(key, History()).add(at, _memory_share(gpu))
        self.draw()

    def on_resize(self, event: Resize) -> None:
        self.draw()

    def draw(self) -> None:
        """Show the last sample, in as many words as fit."""
        if (sample := self._sample) is None:
            return
        width = self.content_size.width or self.size.width or 78
        if self.screen.maximized is not self:
            lines = self._gpu_lines(sample, width, max(FEW_GPUS, self.screen.size.height // 8))
        elif len(lines := self._gpu_blocks(sample, width)) >= self.size.height:
            lines = self._gpu_lines(sample, width, len(sample.gpus))
        lines += _fitting(width, [partial(_rest, sample, self._share, words) for words in Words])
        plain = [line.plain for line in lines]
        if plain != self._painted:
            changed, self._painted = len(plain) != len(self._painted), plain
            self.update(Content("\n").join(lines), layout=changed)

    def _gpu_lines(self, sample: MachineSample, width: int, most: int) -> list[Content]:
        """Return a line for each GPU, this round's first; of those after the first `most`, only the number."""
        if not sample.gpus:
            return [Content.styled(clean_line(sample.gpu_absence), "$text-warning")]
        gpus = sorted(sample.gpus, key=lambda gpu: gpu.uuid != self._share.gpu)
        shown = gpus if len(gpus) <= most + 1 else gpus[:most]
        lines = [line for gpu in shown for line in self._gpu_line(gpu, width, len(gpus) == 1)]
        if more := len(gpus) - len(shown):
            lines.append(Content.styled(f"{more} more GPUs: f shows all of them", "$text-muted"))
        return lines

    def _gpu_line(self, gpu: GpuSample, width: int, alone: bool) -> list[Content]:
        """Return one line with as much as fits; the only GPU gets a second line if its history does not."""
        makings = [partial(self._figures, gpu, cells, words) for cells, words in DETAIL if cells or not alone]
        (line,) = _fitting(width, makings)
        if not alone or line.cell_length <= width:
            return [line]
        slowed = _throttling(gpu, Words.FEW)
        cells = min(30, (width - slowed.cell_length - 18) // 2)
        busy, memory = self._sparks(gpu, cells)
        history = Content.assemble(
            "  ", slowed, ("  busy" if slowed.plain else "busy", "$text-muted"), (busy, "$text-primary"),
            ("  memory", "$text-muted"), (memory, "$text-primary"),
        )  # fmt: skip
        return [self._figures(gpu, 0, Words.FEW, throttling=False), history]

    def _figures(self, gpu: GpuSample, cells: int, words: Words, throttling: bool = True) -> Content:
        busy, memory = self._sparks(gpu, cells)
        name = clean_line(gpu.name).removeprefix("NVIDIA ")
        parts = [
            Content.assemble((f"GPU {gpu.index} ", "bold"), name[: NAME_CHARACTERS[words]]),
            Content.assemble(_percent(gpu.utilisation), " busy" * (words is Words.ALL), (busy, "$text-primary")),
            Content.assemble(
                _used(gpu.memory_used, gpu.memory_total, held_memory(gpu, self._share), words),
                (memory, "$text-primary"),
            ),
            Content(_celsius(gpu)),
            Content(_watts(gpu, words)),
            _throttling(gpu, words) if throttling else Content(),
        ]
        return Content("  ").join([part for part in parts if part.plain])

    def _sparks(self, gpu: GpuSample, cells: int) -> tuple[str, str]:
        """Return the histories of utilisation and memory, each after a space; "" for 0 cells."""
        if not cells:
            return "", ""
        key = gpu.uuid or str(gpu.index)
        busy, memory = (histories.get(key, History()).shares(cells) for histories in (self._busy, self._memory))
        return f" {sparkline(busy, cells)}", f" {sparkline(memory, cells)}"

    def _gpu_blocks(self, sample: MachineSample, width: int) -> list[Content]:
        """Return the lines of all GPUs, one for each figure."""
        if not sample.gpus:
            return self._gpu_lines(sample, width, 0)
        lines: list[Content] = []
        for gpu in sample.gpus:
            busy, memory = self._sparks(gpu, max(10, min(60, width - 62)))
            used = _used(gpu.memory_used, gpu.memory_total, held_memory(gpu, self._share), Words.ALL)
            rows = [
                ("busy", Content.assemble(f"{_percent(gpu.utilisation):<44}", (busy, "$text-primary"))),
                ("memory", Content.assemble(f"{used:<44}", (memory, "$text-primary"))),
                ("temperature", Content(_celsius(gpu))),
                ("power", Content(_watts(gpu, Words.ALL))),
                ("clocks", _throttling(gpu, Words.ALL)),
                ("driver", Content(clean_line(gpu.driver) or UNTOLD)),
            ]  # fmt: skip
            lines.append(Content.assemble((f"GPU {gpu.index} ", "bold"), clean_line(gpu.name)))
            lines += [Content.assemble((f"  {name:<13}", "$text-muted"), text) for name, text in rows]
        return lines


def held_memory(gpu: GpuSample, share: RoundShare) -> dict[str, str]:
    """Return the memory of a GPU that the round and the chat use, in words; one that uses none is left out."""
    memory_by_user = {"round": own_memory(gpu, share), "talk": _memory_of(gpu, share.talk_pids)}
    return {user: memory for user, memory in memory_by_user.items() if memory}


def _memory_of(gpu: GpuSample, pids: Collection[int]) -> str:
    """Return the memory of a GPU that processes use, in words.

    It is "" if none of them uses the GPU, and `n/a` if the driver does not say how much.
    """
    sizes = [process.memory_bytes for process in gpu.processes if process.pid in pids]
    measured = [size for size in sizes if size is not None]
    return "" if not sizes else format_bytes(sum(measured)) if len(measured) == len(sizes) else UNTOLD


def own_memory(gpu: GpuSample, share: RoundShare) -> str:
    """Return the memory of a GPU that the round's processes use, in words.

    It is "" if the round does not use the GPU, and `n/a` if it does and the driver does not say how much. In some
    containers the driver shows the pids of another namespace, so none of ours is among them.
    """
    if share.tree is None:
        return ""
    if memory := _memory_of(gpu, share.tree.pids):
        return memory
    return UNTOLD if share.on_gpu and share.gpu in (None, gpu.uuid) else ""


def _memory_share(gpu: GpuSample) -> float | None:
    return gpu.memory_used / gpu.memory_total if gpu.memory_used is not None and gpu.memory_total else None


def _percent(value: int | None) -> str:
    return f"{value:3d} %" if value is not None else f"busy {UNTOLD}"


def _used(used: int | None, total: int | None, memory_by_user: Mapping[str, str], words: Words) -> str:
    """Return the used and the total memory, and the parts of the round and the chat, from `memory_by_user`."""
    if used is None or not total:
        return f"memory {UNTOLD}"
    some, all_of_it = format_bytes(used), format_bytes(total)
    if words is Words.ALL:
        shares = [f", {'this round' if user == 'round' else user} {memory}" for user, memory in memory_by_user.items()]
        return f"{some} of {all_of_it}{''.join(shares)}"
    unit = f" {all_of_it.split()[1]}"
    shares = [f", {user} {memory.removesuffix(unit)}" for user, memory in memory_by_user.items()]
    return f"{some.removesuffix(unit)}/{all_of_it}{''.join(shares)}"


def _celsius(gpu: GpuSample) -> str:
    return f"{gpu.temperature} °C" if gpu.temperature is not None else f"temperature {UNTOLD}"


def _watts(gpu: GpuSample, words: Words) -> str:
    if gpu.power_watts is None:
        return f"power {UNTOLD}"
    limit = f"/{gpu.power_limit_watts:.0f}" if gpu.power_limit_watts is not None and words is not Words.FEWEST else ""
    return f"{gpu.power_watts:.0f}{limit} W"


def _throttling(gpu: GpuSample, words: Words) -> Content:
    """Return the reasons for which the GPU runs slower."""
    if gpu.throttling is None:
        return Content(f"{'throttling' if words is Words.ALL else 'clocks'} {UNTOLD}")
    if not gpu.throttling:
        return Content("not throttled" if words is Words.ALL else "")
    prefix = {Words.ALL: "throttled: ", Words.FEW: "slowed: ", Words.FEWEST: "! "}[words]
    return Content.styled(prefix + " and ".join(gpu.throttling), "bold $text-warning")


def _rest(sample: MachineSample, share: RoundShare, words: Words) -> Content:
    """Return the line for processor, main memory and disk."""
    own = {"round": format_bytes(share.tree.resident_bytes)} if share.tree else {}
    return Content("   " if words is Words.ALL else "  ").join(
        [
            Content.assemble(("CPU ", "bold"), f"{sample.cpu_percent:3.0f} %"),
            Content.assemble(("RAM ", "bold"), _used(sample.memory_used, sample.memory_total, own, words)),
            Content.assemble(("disk ", "bold"), *_disk(share, words)),
        ]
    )


def _disk(share: RoundShare, words: Words) -> list[str | tuple[str, str]]:
    free, need = share.disk_free, share.disk_need
    if free is None:
        return [UNTOLD]
    free_text = f"{format_bytes(free)} free"
    if need is None:
        return [free_text]
    about = "" if need.measured else "~" if words is Words.FEWEST else "about "
    size = about + format_bytes(need.total_bytes)
    what = f"{need.checkpoints:,} checkpoint{'s' * (need.checkpoints != 1)}" if need.checkpoints else "the adapter"
    if words is Words.ALL:
        text = f", {what} to come {size} ({'as the newest' if need.measured else 'by the trained parameters'})"
    else:
        text = f", {what} to come {size}" if words is Words.FEW else f", needs {size}"
    return [free_text, (text, "bold $text-warning") if need.total_bytes > free else text]


def _fitting(width: int, makings: Sequence[Callable[[], Content]]) -> list[Content]:
    """Return the first line that fits, or the last one if none fits."""
    for make in makings:
        line = make()
        if line.cell_length <= width:
            break
    return [line]
