"""Say what the trash costs, where that is worth telling."""

from __future__ import annotations

from engine.api import Cockpit
from engine.errors import LoratuiError
from engine.text.humanize import format_bytes

MUCH_BYTES = 1024**3


def trash_size(cockpit: Cockpit) -> str:
    """Say how much of the disk the trash occupies and how to free it, "" for less than a GiB or if nobody knows."""
    try:
        total = cockpit.trash_bytes()
    except LoratuiError:
        return ""
    return f"the trash occupies {format_bytes(total)}: `loratui trash empty` frees it" if total >= MUCH_BYTES else ""
