"""The table that `make test-faults` ends with: each fault, how often it was tried, and what was lost.

`make test` runs one case of each test here, as `make test-faults` follows it.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import can_mount
from tests.support.faults.catalogue import FAULTS, NOT_TRIED
from tests.support.faults.tried import Tried
from tests.support.idle import waiting_for_idle as waiting_for_idle

Row = tuple[str, str, int, int]


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Call it before asserting that nothing was lost, so that a loss stands in the table too."""

    def note(fault: str, what: str, times: int, lost: int = 0) -> None:
        assert fault in FAULTS, f"{fault} is not in tests/support/faults/catalogue.py"
        request.node.user_properties.append(("fault", (fault, what, times, lost)))

    return note


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A directory to make a small disk at, with `in_small_disk`."""
    directory = tmp_path / "small"
    directory.mkdir()
    if not can_mount(directory):
        pytest.skip("needs unshare, and the right to mount a tmpfs of one's own")
    return directory


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.sample(1))


def _rows(reporter: Any) -> list[Row]:
    """What passed and failed tests noted, alike cases summed, in the catalogue's order."""
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for outcome in ("passed", "failed"):
        for report in reporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == "fault" and report.when == "call":
                    fault, what, times, lost = value
                    sums[fault, what][0] += times
                    sums[fault, what][1] += lost
    order = list(FAULTS)
    return sorted(
        ((fault, what, times, lost) for (fault, what), (times, lost) in sums.items()),
        key=lambda row: (order.index(row[0]), row[1]),
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("long"):
        return
    rows = _rows(terminalreporter)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'':4} {'tried':>7}  {'lost':>7}  how")
    for fault, what, times, lost in rows:
        terminalreporter.write_line(f"{fault:4} {times:7,}  {lost or 'nothing':>7}  {what}")
    for fault in sorted(FAULTS.keys() - {row[0] for row in rows}, key=list(FAULTS).index):
        terminalreporter.write_line(f"{fault:4} {'-':>7}  {'-':>7}  not tried in this run: {FAULTS[fault]}")
    for what, reason in NOT_TRIED.items():
        terminalreporter.write_line(f"not tried here: {what}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A whole run that leaves a fault out has not done what it is for."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    whole = config.getoption("long") and not config.getoption("keyword") and "::" not in "".join(config.args)
    if whole and reporter is not None and FAULTS.keys() - {row[0] for row in _rows(reporter)}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
