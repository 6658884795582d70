from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from engine.system.process import ProcessIdentity, identify, is_alive, own_identity, send_signal

Child = subprocess.Popen[bytes]


@pytest.fixture
def child() -> Iterator[Child]:
    """A process that waits until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def identity_of(child: Child) -> ProcessIdentity:
    identity = identify(child.pid)
    assert identity is not None
    return identity


def test_own_process_is_alive() -> None:
    own = own_identity()
    assert own.pid == os.getpid()
    assert is_alive(own)
    assert own == own_identity()


def test_identity_is_what_proc_says(child: Child) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    identity = identity_of(child)
    assert identity.boot_id == boot
    started = psutil.boot_time() + identity.start_ticks / os.sysconf("SC_CLK_TCK")
    assert abs(started - psutil.Process(child.pid).create_time()) < 2


def test_identity_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(own_identity()), type=ProcessIdentity) == own_identity()


def test_ended_process_is_dead(child: Child) -> None:
    identity = identity_of(child)
    assert is_alive(identity)
    child.kill()
    child.wait()
    assert not is_alive(identity)
    assert identify(child.pid) is None
    assert not send_signal(identity, signal.SIGTERM)


def test_zombie_is_dead(child: Child) -> None:
    identity = identity_of(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not reaped
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert not is_alive(identity)
    assert not send_signal(identity, signal.SIGTERM)


def test_signal_reaches_the_process(child: Child) -> None:
    assert send_signal(identity_of(child), signal.SIGTERM)
    assert child.wait(timeout=10) == -signal.SIGTERM


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another boot"}], ids=["reused-pid", "reboot"])
def test_stranger_with_the_same_pid_is_never_signalled(child: Child, change: dict[str, object]) -> None:
    stranger = msgspec.structs.replace(identity_of(child), **change)
    assert not is_alive(stranger)
    assert not send_signal(stranger, signal.SIGKILL)
    assert child.poll() is None


def test_name_with_brackets_and_spaces_is_no_obstacle(tmp_path: Path) -> None:
    program = tmp_path / "a) R (b) 1 2"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "60"])
    try:
        assert is_alive(identity_of(process))
    finally:
        process.kill()
        process.wait()


def test_pid_that_never_was_is_nobody() -> None:
    assert identify(2**22 + 1) is None
    assert not is_alive(ProcessIdentity("boot", 2**22 + 1, 1))
