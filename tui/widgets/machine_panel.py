"""The load of the machine: each GPU's memory and utilisation, the processor, and main memory."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from engine.telemetry import GpuSample, MachineSample
from engine.units import format_bytes
from tui.plain import clean_line

BAR_CELLS = 10


class MachinePanel(Static):
    """One line per GPU, or why there is none, and one for CPU and RAM."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("measuring…", id=id, markup=False)

    def show(self, sample: MachineSample) -> None:
        """The machine as sampled."""
        lines = [_gpu_line(gpu) for gpu in sample.gpus] or [Text(clean_line(sample.gpu_absence), "yellow")]
        memory = sample.memory_used / sample.memory_total
        lines.append(
            Text.assemble(
                ("CPU ", "bold"), _bar(sample.cpu_percent / 100), f" {sample.cpu_percent:3.0f} %   ",
                ("RAM ", "bold"), _bar(memory), f" {format_bytes(sample.memory_used)} of "
                f"{format_bytes(sample.memory_total)}",
            )
        )  # fmt: skip
        self.update(Text("\n").join(lines), layout=len(lines) != self.content_size.height)


def _gpu_line(gpu: GpuSample) -> Text:
    line = Text.assemble((f"GPU {gpu.index} ", "bold"), f"{clean_line(gpu.name)}  ")
    if gpu.memory_used is not None and gpu.memory_total:
        line.append_text(_bar(gpu.memory_used / gpu.memory_total))
        line.append(f" {format_bytes(gpu.memory_used)} of {format_bytes(gpu.memory_total)}")
    else:
        line.append("memory n/a")
    line.append("   " + (f"{gpu.utilisation:3d} % busy" if gpu.utilisation is not None else "utilisation n/a"))
    if gpu.temperature is not None:
        line.append(f"  {gpu.temperature} °C")
    if gpu.power_watts is not None:
        line.append(f"  {gpu.power_watts:.0f} W")
    return line


def _bar(share: float) -> Text:
    """A bar of `BAR_CELLS` cells, filled to `share`."""
    filled = round(BAR_CELLS * min(1.0, max(0.0, share)))
    return Text.assemble(("█" * filled, "cyan"), ("░" * (BAR_CELLS - filled), "dim"))
