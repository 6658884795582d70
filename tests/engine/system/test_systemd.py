from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.system.systemd import lingering, move_to_own_scope

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program of systemd's name on the path: a shell script."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name: str, script: str) -> None:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("answer", "state"), [("echo yes", "on"), ("echo no", "off"), ("echo no such user >&2; exit 1", "no systemd")]
)
def test_lingering_is_what_loginctl_says(install: Install, answer: str, state: str) -> None:
    install("loginctl", answer)
    assert lingering() == state


def test_machine_without_systemd_is_recognized(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lingering() == "no systemd"
    assert not move_to_own_scope("loratui-runner")


def test_process_is_moved_into_a_scope_of_its_own_where_lingering_is_on(install: Install, tmp_path: Path) -> None:
    install("loginctl", "echo yes")
    install("busctl", f'for word; do echo "$word"; done > {tmp_path}/request')
    assert move_to_own_scope("loratui-runner")
    request = (tmp_path / "request").read_text().split()
    assert request[:2] == ["--user", "call"]
    assert request[5:] == [
        *("StartTransientUnit", "ssa(sv)a(sa(sv))", f"loratui-runner-{os.getpid()}.scope", "fail"),
        *("1", "PIDs", "au", "1", str(os.getpid()), "0"),
    ]


def test_process_stays_in_its_session_where_lingering_is_off(install: Install, tmp_path: Path) -> None:
    install("loginctl", "echo no")
    install("busctl", f"touch {tmp_path}/request")
    assert not move_to_own_scope("loratui-runner")
    assert not (tmp_path / "request").exists()


def test_service_manager_that_refuses_leaves_the_process_where_it_is(install: Install) -> None:
    install("loginctl", "echo yes")
    install("busctl", "echo Access denied >&2; exit 1")
    assert not move_to_own_scope("loratui-runner")
