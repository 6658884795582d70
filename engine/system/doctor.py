"""Examine what this machine has and lacks for training, without importing torch into this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import msgspec
import psutil
from msgspec import Struct

from engine.files.paths import Workspace
from engine.system.allowance import memory, processors
from engine.system.systemd import lingering
from engine.system.telemetry import sample_gpus
from engine.system.user import user_name
from engine.text.humanize import format_bytes

PACKAGES = ("loratui", "transformers", "peft", "datasets", "textual", "tinydb", "psutil", "nvidia-ml-py")
LOW_DISK_BYTES = 5 * 1024**3
DEVICE_TIMEOUT_SECONDS = 120.0


class Finding(Struct, frozen=True):
    """One thing that was examined; `advice` says what to do about it, None if all is well."""

    name: str
    value: str
    advice: str | None = None


def examine(workspace: Workspace) -> list[Finding]:
    """Examine everything that decides whether and how a round trains here."""
    return [
        Finding("Python", f"{sys.version.split()[0]} at {sys.executable}"),
        *_torch(),
        _nvml(),
        _processors(),
        _memory(),
        _terminal(),
        _disk(workspace),
        _lingering(),
        *_versions(),
    ]


def _torch() -> list[Finding]:
    """Ask a process of its own for torch's version and device, as the engine will see them."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "engine.training.runtime.device"],
            capture_output=True, timeout=DEVICE_TIMEOUT_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        device = msgspec.json.decode(answer.stdout, type=dict[str, str])
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return [Finding("torch", "does not start", "install it again: make install")]
    slow = "training runs on the CPU: fast enough for the preset nano, slow for larger models"
    return [
        Finding("torch", device["torch"]),
        Finding(
            "device",
            f"{device['device']}: {device['name']}, dtype auto is {device['dtype']}",
            slow if device["device"] == "cpu" else None,
        ),
    ]


def _nvml() -> Finding:
    gpus, absence = sample_gpus()
    if not gpus:
        return Finding("NVML", absence, "GPU load cannot be shown; training itself does not need NVML")
    names = ", ".join(f"{gpu.name} with {format_bytes(gpu.memory_total) or '?'}" for gpu in gpus)
    driver = next((f"; driver {gpu.driver}" for gpu in gpus if gpu.driver), "")
    slowed = [f"GPU {gpu.index} is slowed down by {' and '.join(gpu.throttling)}" for gpu in gpus if gpu.throttling]
    advice = f"{', '.join(slowed)}: `nvidia-smi -q -d PERFORMANCE` tells more" if slowed else None
    return Finding("NVML", names + driver, advice)


def _processors() -> Finding:
    present, allowed = os.cpu_count() or 1, processors()
    return Finding("processors", f"{allowed:g}" + (f" of the {present} of this machine" if allowed < present else ""))


def _memory() -> Finding:
    present, room = psutil.virtual_memory().total, memory()
    of_all = f" of the {format_bytes(present)} of this machine" if room.total < present else ""
    return Finding("memory", f"{format_bytes(room.total)}{of_all}, {format_bytes(room.available)} free")


def _terminal() -> Finding:
    size = shutil.get_terminal_size()
    value = f"{os.environ.get('TERM', 'TERM unset')}, {size.columns}x{size.lines}, {sys.stdout.encoding}"
    if "utf" not in (sys.stdout.encoding or "").lower():
        return Finding("terminal", value, "set a UTF-8 locale, such as LANG=C.UTF-8")
    if size.columns < 80 or size.lines < 24:
        return Finding("terminal", value, "80x24 or larger shows everything")
    return Finding("terminal", value)


def _disk(workspace: Workspace) -> Finding:
    free = shutil.disk_usage(workspace.root).free
    advice = "checkpoints may not fit: free some space" if free < LOW_DISK_BYTES else None
    return Finding("disk", f"{format_bytes(free)} free at {workspace.root}", advice)


def _lingering() -> Finding:
    """Find out whether training outlives the last logout."""
    user, state = user_name(), lingering()
    if state == "no systemd":
        return Finding("lingering", "no systemd login manager here: no process ends when you log out")
    if state == "on":
        return Finding("lingering", f"on for {user}: training outlives the last logout")
    return Finding("lingering", f"off for {user}", "the last logout may end training: loginctl enable-linger")


def _versions() -> list[Finding]:
    findings = []
    for package in PACKAGES:
        try:
            findings.append(Finding(package, version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, "missing", "install it again: make install"))
    return findings
