from __future__ import annotations

import pytest

from engine.text.humanize import format_bytes, format_count, format_duration, format_perplexity


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0s"),
        (0.4, "0s"),
        (45, "45s"),
        (59.4, "59s"),
        (59.6, "1m0s"),
        (421, "7m1s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
        (360_000, "100h00m"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 MiB"),
        (87_000, "85 KiB"),
        (1, "1 KiB"),
        (512 * 1024**2, "512 MiB"),
        (1024**3, "1.0 GiB"),
        (15_677_000_000, "14.6 GiB"),
    ],
)
def test_bytes(count: int | None, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0"),
        (950, "950"),
        (999, "999"),
        (1000, "1.0k"),
        (12_345, "12.3k"),
        (999_949, "999.9k"),
        (999_950, "1.00M"),
        (1_100_000_000, "1.10B"),
    ],
)
def test_count(count: int | None, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (1.0, "1.00"), (3.1649, "3.16"), (412.84, "412.8"), (31_969.7, "31,970"), (1e9, "1,000,000,000")],
)
def test_perplexity(value: float | None, text: str) -> None:
    assert format_perplexity(value) == text
