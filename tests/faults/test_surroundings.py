"""Every command where the surroundings are not as expected: it works, or says in one sentence what to do."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.files.paths import Workspace
from engine.store.round_store import RoundStore
from scripts.shipped_rounds import shipped_rounds
from tests.support.fake_loratui import FRONT_END_COMMAND
from tests.support.faults.tried import Tried
from tests.support.recorded_runs import write_run
from tests.support.rounds import make_round
from tests.support.terminal import ESCAPE, Terminal
from tui.cli.arguments import COMMANDS

Times = Callable[[int, int], int]

LORATUI = str(Path(sys.executable).with_name("loratui"))
NO_NAME = ["unshare", "--user", "--map-user=12345"]
BYTES = os.fsdecode(b"caf\xe9")  # é in Latin-1, which is not UTF-8

# A line for each command, on the rounds that ship with loratui; {bytes} is not UTF-8. None of them starts a process.
LINES = {
    "ls": "ls --group name --filter {bytes}", "show": "show 5", "diff": "diff 4 5", "lineage": "lineage",
    "eval": "eval 5 --data {bytes}.json", "new": "new --hold --preset nano --name é --json",
    "plan": "plan --preset nano --set lora.r=64",
    "preview": "preview --preset nano --set data.path={bytes}.json", "run": "run --set data.path={bytes}.json",
    "reproduce": "reproduce 5", "queue": "queue --json", "move": "move 5 1", "stop": "stop 5", "resume": "resume 5",
    "hold": "hold 5", "release": "release 5", "edit": "edit 5 --name × --note …", "rm": "rm 4", "trash": "trash",
    "sweep": "sweep new --from 5 --set lora.r={bytes},8",
    "export": "export 1 2 --format csv", "share": "share", "report": "report -o {bytes}.md 9", "ranking": "ranking",
    "rebuild": "rebuild", "keys": "keys", "doctor": "show {bytes}", "completion": "completion bash", "help": "help ls",
}  # fmt: skip


class Surrounding(NamedTuple):
    """What is unusual: variables, "" for one that is not set; a shell's redirection; and whether output is lost."""

    environment: Mapping[str, str] = {}
    redirection: str = ""
    before: str = ""  # what a shell does first
    prefix: tuple[str, ...] = ()
    loses: str = ""  # the sentence that tells of lost output


C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NO_HOME = {name: "" for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME")}
SURROUNDINGS = {
    "plain": Surrounding(),
    "C": Surrounding(C),
    "ASCII": Surrounding({"PYTHONIOENCODING": "ascii"}),
    "Latin-1": Surrounding({"PYTHONIOENCODING": "iso-8859-1"}),
    "no environment": Surrounding(NO_HOME | {"TERM": "", "PATH": "", "LANG": ""}),
    "HOME missing": Surrounding(NO_HOME | {"HOME": "/nonexistent/home"}),
    "HOME not writable": Surrounding(NO_HOME | {"HOME": "/proc"}),
    "no user name": Surrounding(NO_HOME, prefix=tuple(NO_NAME)),
    "output closed": Surrounding(redirection=">&-", loses="the standard output is closed"),
    "output full": Surrounding(redirection=">/dev/full", loses="the standard output cannot be written"),
    "errors closed": Surrounding(redirection="2>&-"),
    "errors full": Surrounding(redirection="2>/dev/full"),
    "all closed": Surrounding(redirection="<&- >&- 2>&-", loses="-"),
    "nobody reads": Surrounding(redirection="| true"),
    "directory gone": Surrounding(before="mkdir gone && cd gone && rmdir ../gone && "),
}


@pytest.fixture
def surrounding(request: pytest.FixtureRequest) -> Surrounding:
    chosen = SURROUNDINGS[request.param]
    if chosen.prefix and (
        shutil.which(chosen.prefix[0]) is None or subprocess.run([*chosen.prefix, "true"]).returncode != 0
    ):
        pytest.skip("needs unshare, and the right to make a user namespace")
    return chosen


def run(line: str, workspace: Path, surrounding: Surrounding) -> subprocess.CompletedProcess[bytes]:
    """Run `loratui` with the words of `line` in its surroundings, the workspace named from /."""
    words = [word.replace("{bytes}", BYTES) for word in shlex.split(line)]
    command = shlex.join([*surrounding.prefix, LORATUI, *words, "--workspace", str(workspace)])
    script = f"set -o pipefail; {surrounding.before}{command} {surrounding.redirection}"
    variables = {**os.environ, **surrounding.environment}
    environment = {name: value for name, value in variables.items() if value}
    return subprocess.run(
        ["/bin/bash", "-c", script], cwd=workspace, env=environment, capture_output=True, stdin=subprocess.DEVNULL,
        timeout=120,
    )  # fmt: skip


def faults_in(done: subprocess.CompletedProcess[bytes], workspace: Path, surrounding: Surrounding) -> list[str]:
    """What a command should not have done, whatever it was."""
    errors = done.stderr.decode("utf-8", "replace")
    found = [word for word in ("Traceback", "defect", "Exception ignored") if word in errors]
    if done.returncode not in (0, 2):
        found.append(f"exit code {done.returncode}")
    if done.returncode == 2 and "2>" not in surrounding.redirection:
        sentences = errors.splitlines()[-1:]  # above it may stand a notice, such as that no round matches
        found += [] if sentences and sentences[0].startswith("loratui: ") else ["no sentence"]
    return found + [f"made {file}" for file in workspace.iterdir() if file.name.startswith("~")]


@pytest.mark.parametrize("surrounding", SURROUNDINGS, indirect=True)
def test_every_command_works_or_says_what_to_do(
    surrounding: Surrounding, tmp_path: Path, tried: Tried, times: Times, request: pytest.FixtureRequest
) -> None:
    assert set(LINES) == set(COMMANDS)
    name = str(request.node.callspec.params["surrounding"])
    place = list(SURROUNDINGS).index(name)
    lines = [line for index, line in enumerate(LINES.values()) if index % times(9, 1) == place % times(9, 1)]
    found = []
    for number, line in enumerate(lines):
        workspace = tmp_path / f"{number} {BYTES if name == 'ASCII' else ''}"
        workspace.mkdir()
        (workspace / "experiments.json").write_bytes(shipped_rounds())
        done = run(line, workspace, surrounding)
        found += [(line, fault, done) for fault in faults_in(done, workspace, surrounding)]
        if surrounding.loses not in ("", "-") and done.returncode == 0:
            found.append((line, "lost its output in silence", done))
    tried("F30", f"commands, {name}", len(lines), len({line for line, _, _ in found}))
    assert found == []


@pytest.mark.parametrize("surrounding", ["no user name", "no environment"], indirect=True)
def test_round_is_trained(
    surrounding: Surrounding, empty_directory: Path, tried: Tried, times: Times, request: pytest.FixtureRequest
) -> None:
    """By the fake engine behind the real runner, and with --long by the real one."""
    program = [LORATUI] if times(0, 1) else FRONT_END_COMMAND
    words = ["run", "--preset", "nano", "--set", "train.num_train_epochs=0.05", "--workspace", str(empty_directory)]
    environment = {**os.environ, **surrounding.environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*surrounding.prefix, *program, *words], cwd=empty_directory, capture_output=True, text=True, timeout=300,
        env={name: value for name, value in environment.items() if value},
    )  # fmt: skip
    tried("F30", f"a round, {request.node.callspec.params['surrounding']}", 1, done.returncode != 0)
    assert done.returncode == 0, done.stderr
    assert [path for path in empty_directory.rglob("*") if path.name.startswith("~")] == []


def test_lost_output_is_told_and_changes_nothing_first(reference_workspace: Workspace) -> None:
    stored = reference_workspace.store_path.read_bytes()
    done = run("edit 5 --name other", reference_workspace.root, SURROUNDINGS["output closed"])
    assert (done.returncode, reference_workspace.store_path.read_bytes()) == (2, stored)
    assert done.stderr.decode() == (
        "loratui: the standard output is closed: redirect it to /dev/null if nobody reads it\n"
    )


def test_file_never_gets_the_number_of_a_closed_stream(reference_workspace: Workspace) -> None:
    """What a library writes to descriptor 2 would land in it."""
    program = (
        "import os, sys; from tui.cli import main, commands\n"
        "commands.keys = lambda *_: sys.exit(7 if os.open(sys.executable, os.O_RDONLY) <= 2 else 0)\n"
        "main.main(['keys'])"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.join([sys.executable, '-P', '-c', program])} <&- 2>&-"],
        cwd=reference_workspace.root,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["~nobody-here"], "'~nobody-here' is neither a directory nor a command"),
        (["ls", "--workspace", "~nobody-here"], "--workspace is '~nobody-here', which is not a directory"),
        (["ls", "--workspace", "loop"], "--workspace is 'loop', which is not a directory"),
        (["ls", "--workspace", "x" * 5000], "which is not a directory"),
        (["export", "-o", "~nobody-here/x"], "--output is '~nobody-here/x', which cannot be written"),
        (["preview", "--preset", "nano", "--set", "data.path=~nobody-here/x"], "no such file or directory"),
    ],
)
def test_path_that_leads_nowhere_is_named(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tui.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "experiments.json").write_bytes(shipped_rounds())
    assert main(words, lambda _: None) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "there is not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "there is not enough memory"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no more processes"),
        (RuntimeError("can't start new thread"), "no more processes"),
    ],
    ids=range(5),
)
def test_shortage_is_no_defect(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    from tui.cli.main import main

    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("tui.cli.main._outcome", fail)
    assert main(["ls"]) == 2
    printed = capsys.readouterr().err
    tried("F30", "memory, files, processes used up", 1)
    assert sentence in printed and "defect" not in printed


@pytest.mark.parametrize("name", ["plain", "ASCII", "no environment", "no user name", "directory gone"])
def test_app_works(name: str, reference_workspace: Workspace, tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    surrounding = SURROUNDINGS[name]
    if surrounding.prefix and subprocess.run([*surrounding.prefix, "true"]).returncode != 0:
        pytest.skip("needs the right to make a user namespace")
    for variable, value in surrounding.environment.items():
        monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable, raising=False)
    command = shlex.join([*surrounding.prefix, LORATUI, str(reference_workspace.root)])
    with Terminal(["/bin/sh", "-c", f"{surrounding.before}exec {command}"], reference_workspace.root) as terminal:
        terminal.wait_for("5 rounds", *(("4x8", "enter Open") if name == "ASCII" else ("4×8", "⏎ Open")))
        terminal.type("n")
        terminal.wait_for("Start the new round from", "clone of round 5")
        if name == "ASCII":
            assert terminal.text.isascii() and "+-----" in terminal.text
        terminal.type(ESCAPE)
        terminal.wait_until(lambda screen: "Start the new round" not in screen, "the table")
        terminal.type("q")
        assert terminal.wait_for_end() == 0
    tried("F30", f"the app, {name}", 1)


def test_byte_that_is_no_key_does_not_end_the_app(reference_workspace: Workspace, tried: Tried) -> None:
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        terminal.wait_for("5 rounds")
        terminal.type("/")
        terminal.wait_for("enter keep")
        terminal.process.send(b"gp\xe9u")  # é of a terminal in Latin-1
        terminal.wait_for("gp", "u")
        terminal.wait_until(lambda screen: "\ufffdu" in screen, "the byte as a symbol")
        assert "defect" not in terminal.text
    tried("F30", "a byte that is no key", 1)


def test_letter_of_latin_1_is_typed_and_shown_in_latin_1(
    reference_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "iso-8859-1")
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        terminal.wait_for("5 rounds")
        terminal.type("/")
        terminal.wait_for("enter keep")
        terminal.written = b""
        terminal.process.send(b"gp\xe9u")
        terminal.wait_until(lambda _: b"\xe9" in terminal.written, "é in Latin-1")


def test_app_whose_drawing_is_led_elsewhere_says_so(reference_workspace: Workspace) -> None:
    with Terminal(["/bin/sh", "-c", f"exec {LORATUI} 2>/dev/null"], reference_workspace.root) as terminal:
        terminal.wait_for("draws on the standard error")
        assert terminal.wait_for_end() == 2


@pytest.mark.long
def test_pictures_are_drawn_where_the_path_is_not_utf8(tmp_path: Path, tried: Tried) -> None:
    workspace = Workspace(tmp_path / BYTES)
    rounds = (make_round(1), make_round(2))
    for round_ in rounds:
        write_run(workspace, round_, 1, 5)
    RoundStore(workspace).create(rounds)
    lines = ("report -o {bytes}.md", "report 1 -o r.md --picture png", "export 1 2 --curves -o x.md")
    done = [run(line, workspace.root, SURROUNDINGS["plain"]) for line in lines]
    lost = [each for each in done if each.returncode != 0]
    tried("F30", "pictures in a workspace whose path is not UTF-8", len(lines), len(lost))
    assert lost == [] and len([*workspace.root.glob("*.svg"), *workspace.root.glob("*.png")]) == 3
