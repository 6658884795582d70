from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.alerts import notify
from engine.alerts.notify import Notify, read_notify, run_command
from engine.alerts.run_monitor import Alarm, Kind
from engine.errors import LoratuiError
from tests.support.processes import is_running
from tests.support.waiting import await_true

WRITE = "import json, os, sys; json.dump([sys.argv[2:], dict(os.environ)], open(sys.argv[1], 'w'))"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_defaults_are_bell_and_notification_for_everything(tmp_path: Path) -> None:
    assert read_notify(tmp_path / "nothing.toml") == Notify(bell=True, osc9=True, command="", on=tuple(Kind))
    assert read_notify(write(tmp_path / "config.toml", "theme = 'x'\n")) == Notify()


def test_table_is_read(tmp_path: Path) -> None:
    text = "[notify]\nbell = false\nosc9 = false\ncommand = \"notify-send 'a b'\"\non = ['finished', 'nan']\n"
    expected = Notify(bell=False, osc9=False, command="notify-send 'a b'", on=(Kind.FINISHED, Kind.NAN))
    assert read_notify(write(tmp_path / "config.toml", text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[notify]\nbel = true",
        "[notify]\nbell = 3",
        "[notify",
        "[notify]\non = ['never']",
        '[notify]\ncommand = "a \'b"',
    ],
)
def test_table_that_does_not_hold_together_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "config.toml", f"[notify]\n{text}")
    with pytest.raises(LoratuiError, match="is not valid") as refused:
        read_notify(path)
    assert str(path) in refused.value.message and "\n" not in refused.value.message


@pytest.mark.parametrize("message", ["round 1: finished", "$(touch hacked); `id` \"'\n\x1b]0;x\x07 -rf"])
def test_command_gets_the_message_and_no_shell(tmp_path: Path, message: str) -> None:
    out = tmp_path / "out"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(WRITE)} {shlex.quote(str(out))} first 'second word'"
    thread = run_command(command, Alarm(Kind.FINISHED, 12, message))
    assert thread is not None
    thread.join()
    arguments, environment = json.loads(out.read_text())
    sent = arguments[-1]
    assert arguments == ["first", "second word", sent] and sent.isprintable() and sent[:5] == message[:5]
    names = ("LORATUI_ROUND", "LORATUI_EVENT", "LORATUI_MESSAGE")
    assert [environment[name] for name in names] == ["12", "finished", sent]
    assert not list(tmp_path.glob("*hacked*"))


@pytest.mark.parametrize("command", ["", "   ", "/nowhere/program", "/", "\x00"])
def test_command_that_cannot_be_run_harms_nobody(command: str) -> None:
    assert run_command(command, Alarm(Kind.FAILED, 1, "round 1: failed")) is None


def test_failure_of_the_command_is_in_the_runners_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Without its arguments, which may hold a token."""
    assert run_command("/nowhere/program -H s3cret", Alarm(Kind.FAILED, 1, "x")) is None
    thread = run_command(f"{shlex.quote(sys.executable)} -c 'raise SystemExit(22)' s3cret", Alarm(Kind.FAILED, 1, "x"))
    assert thread is not None
    thread.join()
    assert capsys.readouterr().out.splitlines() == [
        "the command of [notify] could not be started: /nowhere/program: no such file or directory",
        f"the command of [notify] ended with exit code 22: {sys.executable}",
    ]


def test_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "COMMAND_SECONDS", 1.0)
    out = tmp_path / "pid"
    script = f"import os, time; os.fork() or open({str(out)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    begun = time.monotonic()
    thread = run_command(f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}", Alarm(Kind.NAN, 1, "x"))
    assert thread is not None
    assert time.monotonic() - begun < 1.0
    thread.join()
    pid = int(out.read_text())
    await_true(lambda: not psutil.pid_exists(pid) or not is_running(psutil.Process(pid)), "the end of the child")
