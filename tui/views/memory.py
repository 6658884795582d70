"""The memory that a round needs, in words."""

from __future__ import annotations

from typing import NamedTuple

from engine.planning.corrections import MemoryCorrection
from engine.planning.devices import Device
from engine.planning.memory import MemoryNeed
from engine.system.training_memory import CPU_SHARE, GPU_SHARE
from engine.text.humanize import format_bytes
from tui.terminal.console import clean_line


class Part(NamedTuple):
    """A part of the memory, and its size in bytes."""

    name: str
    size: int


def parts_of(memory: MemoryNeed) -> list[Part]:
    """Return the parts that are not empty; rows come last, if they are known."""
    trained = memory.adapter + memory.gradients + memory.optimizer
    rows = 0 if memory.peak is None else memory.peak - memory.fixed
    parts = (
        Part("process", memory.process), Part("base", memory.base), Part("adapter and optimizer", trained),
        Part("rows", rows),
    )  # fmt: skip
    return [part for part in parts if part.size]


def parts_in_words(memory: MemoryNeed, correction: MemoryCorrection | None = None) -> str:
    """Return the parts and their sizes in a line, and the correction of their sum."""
    parts = [f"{part.name} {format_bytes(part.size)}" for part in parts_of(memory)]
    return " · ".join(parts + ([correction_in_words(correction)] if correction is not None else []))


def trace_in_words(device: Device) -> str:
    """Return by which operations the rows of a round on `device` were traced."""
    if not device.is_gpu:
        return "rows are traced through the engine's own forward and backward"
    return "rows are traced with the operations of a processor, of which a card computes some in another way"


def correction_in_words(correction: MemoryCorrection) -> str:
    """Return by how much the peak is corrected, and from how many rounds that is known."""
    change = 100 * (correction.ratio - 1)
    return f"peak corrected by {change:+.0f} %, from {len(correction.rounds)} rounds here"


def verdict_in_words(memory: MemoryNeed, device: Device) -> str:
    """Return whether a round fits, what it needs, and what is free, in a line."""
    free = f"{format_bytes(memory.free)} free on {clean_line(device.name)}"
    if memory.verdict == "does not fit":
        rows = f" with one row of {memory.row_tokens:,} tokens" if memory.row is not None else " without a single row"
        share = GPU_SHARE if device.is_gpu else CPU_SHARE
        return f"does not fit: {format_bytes(memory.least)}{rows}; rows may use {share:.0%} of {free}"
    if memory.peak is None:
        return f"needs {format_bytes(memory.fixed)}, and rows, known once it starts · {free}"
    if memory.knows_lengths:
        return f"{memory.verdict}: about {format_bytes(memory.peak)} of {free}"
    return f"{memory.verdict}: {format_bytes(memory.least)} to {format_bytes(memory.peak)} of {free}"


def remedy_in_words(memory: MemoryNeed) -> str:
    """Return the settings with one of which it would fit; "" if it fits or none is known."""
    if not memory.remedy:
        return ""
    return "it would fit with " + " or with ".join(f"{key} {text}" for key, text in memory.remedy.items())
