"""Format figures as people read them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date

DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # whatever the locale calls them
WEEK = 7


def format_duration(seconds: float | None) -> str:
    """Format seconds as `45s`, `7m1s` or `2h05m`; "" for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


def format_bytes(count: float | None) -> str:
    """Format bytes as `87 KiB`, `512 MiB` or `14.6 GiB`; "" for None."""
    if count is None:
        return ""
    if 0 < count < 1024**2:
        return f"{max(1.0, count / 1024):.0f} KiB"
    if count < 1024**3:
        return f"{count / 1024**2:.0f} MiB"
    return f"{count / 1024**3:.1f} GiB"


def format_count(count: float | None) -> str:
    """Format a count as `950`, `12.3k` or `1.10M`; "" for None."""
    if count is None:
        return ""
    if count < 1000:
        return f"{count:.0f}"
    if count < 999_950:
        return f"{count / 1e3:.1f}k"
    return f"{count / 1e6:.2f}M" if count < 999_995_000 else f"{count / 1e9:.2f}B"


def format_energy(kwh: float | None) -> str:
    """Format kilowatt-hours as `4.2 Wh`, `0.12 kWh` or `31.5 kWh`; "" for None."""
    if kwh is None:
        return ""
    return f"{1000 * kwh:.1f} Wh" if abs(kwh) < 0.01 else f"{kwh:.2f} kWh" if abs(kwh) < 10 else f"{kwh:,.1f} kWh"


def format_perplexity(value: float | None) -> str:
    """Format a perplexity with the decimals that mean something: `3.16`, `412.8`, `31,970`; "" for None."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 100 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def name_rounds(numbers: Sequence[int]) -> str:
    """Name rounds by their numbers: `round 3`, or `rounds 2, 3 and 5`."""
    *first, last = map(str, numbers)
    return f"rounds {', '.join(first)} and {last}" if first else f"round {last}"


def format_moments(moments: Sequence[float], now: float) -> list[str]:
    """Format moments to come, in seconds since the epoch, by the clock of this machine.

    One is `14:05` on the day of `now`, and later `tomorrow 03:10`, `Thu 03:10` within a week, or `2026-12-24 03:10`.
    Each names its day only if the one before is on another; "" for one that no calendar has.
    """
    texts, day_before = [], 0
    for moment in moments:
        try:
            then, today = (time.localtime(seconds) for seconds in (moment, now))
            day = date(*then[:3]).toordinal() - date(*today[:3]).toordinal()
        except (OverflowError, OSError, ValueError):
            texts.append("")
            continue
        word = f"{_day_word(day, date(*then[:3]))} " if day != day_before else ""
        texts.append(f"{word}{then.tm_hour:02}:{then.tm_min:02}")
        day_before = day
    return texts


def _day_word(days: int, day: date) -> str:
    if days in (0, 1):
        return ("today", "tomorrow")[days]
    return DAY_NAMES[day.weekday()] if 1 < days < WEEK else day.isoformat()
