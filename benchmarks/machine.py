"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from engine.text.humanize import format_bytes

PACKAGES = ("torch", "transformers", "peft", "trl")
CPUINFO = Path("/proc/cpuinfo")


def describe_machine(device_name: str, threads: int) -> list[str]:
    """Processor, memory, device and versions, in lines."""
    return [
        f"CPU: {_processor()}, {os.cpu_count()} cores, {threads} threads used; "
        f"memory: {format_bytes(psutil.virtual_memory().total)}; load before: {os.getloadavg()[0]:.1f}",
        f"device: {device_name}",
        f"Python {platform.python_version()}, {', '.join(map(_version, PACKAGES))}",
    ]


def _processor() -> str:
    """Its name; where a virtual machine hides that, family and model tell it."""
    if not CPUINFO.exists():
        return platform.processor()
    lines = [line.partition(":") for line in CPUINFO.read_text().splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    name = fields.get("model name", platform.machine())
    flags = fields.get("flags", "").split()
    has = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}; {' '.join(has)})"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"
