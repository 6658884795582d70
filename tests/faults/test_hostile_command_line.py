"""Hostile text in all that the command line prints: on a terminal, into a pipe, as JSON, and as an error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import regex
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.files.paths import Workspace
from engine.preference.judgement_log import Side, append_judgement
from engine.runs.event_log import EventWriter
from engine.runs.events import Sampled
from engine.spec.fields import flatten, format_value
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.doctor import Finding
from tests.support.fake_engine import Script
from tests.support.faults.tried import Tried
from tests.support.hostile import HARMFUL, HIDING, MARKUP, STEERING, TEXTS
from tests.support.hostile_rounds import hostile_round, preview_of
from tests.support.judged import preferred
from tests.support.processes import end_processes_of, start_fake_runner
from tests.support.rounds import make_round
from tui.cli import commands, main
from tui.cli.arguments import COMMANDS

Times = Callable[[int, int], int]
Run = Callable[[str, str], list[list[str]]]

# What Rich tells a terminal in tables and in a progress bar; a terminal's own line ends.
DRAWING = regex.compile(r"\x1b\[[0-9;]{0,20}m|\x1b\[\?25[lh]|\r?\n|\r?\x1b\[2K|\x1b\[1A|\t")

# The command lines of each command with hostile text, `{text}` for it in an argument.
CASES: dict[str, list[list[str]]] = {
    "ls": [["ls"], ["ls", "--json"], ["ls", "--filter", "{text}"], ["ls", "--sort", "{text}"], ["ls", "--{text}"],
           ["ls", "--group", "name"], ["ls", "--group", "{text}"]],
    "show": [["show", "7"], ["show", "7", "--json"], ["show", "{text}"]],
    "diff": [["diff", "6", "7"], ["diff", "6", "{text}"]],
    "lineage": [["lineage"], ["lineage", "7"], ["lineage", "7", "--json"], ["lineage", "{text}"]],
    "new": [
        ["new", "--hold", "--name", "{text}", "--note", "{text}", "NANO"],
        ["new", "--hold", "--json", "--note", "{text}", "NANO"],
        ["new", "--set", "model.path={text}"], ["new", "--set", "{text}"], ["new", "--set", "lora.r={text}"],
        ["new", "--preset", "{text}"], ["new", "--from", "{text}"], ["new", "--from", "7"],
    ],
    "plan": [
        ["plan", "--from", "7"], ["plan", "--from", "7", "--json"], ["plan", "--silence", "{text}"],
        ["plan", "--history"], ["plan", "--history", "--json"], ["plan", "--history", "--gpu", "{text}"],
        ["plan", "--preset", "nano", "--set", "lora.target_modules={text}.q_proj"],
        ["plan", "--trace", "--set", "model.path={text}"],
    ],
    "preview": [["preview", "--from", "7"], ["preview", "--from", "7", "--json"], ["preview", "--row", "{text}"]],
    "run": [["run", "--name", "{text}", "NANO"], ["run", "--from", "7"], ["run", "--set", "data.path={text}"]],
    "eval": [
        ["eval", "{text}", "--data", "x"], ["eval", "7", "--data", "{text}"], ["eval", "7", "--samples", "{text}"],
    ],
    "reproduce": [["reproduce", "{text}"], ["reproduce", "7"]],
    "queue": [["queue"], ["queue", "--json"], ["queue", "{text}"]],
    "move": [["move", "{text}", "1"], ["move", "7", "{text}"], ["move", "7", "1"]],
    "stop": [["stop", "{text}"], ["stop", "7"]],
    "resume": [["resume", "{text}"], ["resume", "6"]],
    "hold": [["hold", "{text}"], ["hold", "7"]],
    "release": [["release", "{text}"], ["release", "7"]],
    "edit": [["edit", "7", "--name", "{text}", "--note", "{text}"], ["edit", "7", "--tag", "{text}"],
             ["edit", "{text}", "--pin"]],
    "rm": [["rm", "{text}"], ["rm", "99"]],
    "trash": [["rm", "6"], ["trash"], ["trash", "--json"], ["trash", "restore", "{text}"], ["trash", "restore", "99"]],
    "sweep": [
        ["sweep"], ["sweep", "ls", "--json"], ["sweep", "show", "{text}"], ["sweep", "stop", "1"],
        ["sweep", "new", "--from", "7", "--set", "lora.r={text},8"], ["sweep", "rm", "{text}"],
        ["sweep", "new", "--from", "7", "--set", "lora.lora_alpha={text}*r", "--set", "lora.r=4,8"],
        ["sweep", "new", "--from", "7", "--set", "lora.r=4..{text}", "--budget", "{text}"],
        ["sweep", "resume", "1", "--budget", "{text}"], ["sweep", "export", "{text}"],
    ],
    "export": [
        ["export"], ["export", "--format", "csv"], ["export", "--format", "json"], ["export", "--format", "{text}"],
        ["export", "-o", "missing/{text}"], ["export", "--curves", "-o", "missing/{text}", "6", "7"],
        ["export", "--curves"], ["export", "--curves", "--picture", "{text}"],
    ],
    "share": [["share", "{text}"], ["share"], ["share", "--off"]],
    "keys": [["keys"], ["keys", "{text}"]],
    "report": [["report", "{text}", "-o", "x"], ["report", "-o", "missing/{text}"], ["report", "-o", "report.md"]],
    "ranking": [["ranking"], ["ranking", "--json"], ["ranking", "{text}"]],
    "rebuild": [["rebuild"], ["rebuild", "{text}"]],
    "completion": [["completion", "{text}"]],
    "help": [["help", "{text}"], ["help", "ls", "{text}"]],
    "doctor": [["doctor"], ["doctor", "--json"], ["doctor", "--workspace", "{text}"]],
}  # fmt: skip
OTHERS = [["{text}"], ["--workspace", "{text}"], ["--{text}"], [".", "{text}"], ["--workspace", ".", "{text}"]]


def test_each_command_prints_hostile_text() -> None:
    """A command that is new gets a case above."""
    assert set(COMMANDS) == set(CASES)


def as_argument(text: str) -> str:
    """`text` as Python gives it to a program: NUL ends an argument, and bytes that are no UTF-8 are surrogates."""
    return os.fsdecode(text.replace("\0", "").encode("utf-8", "surrogatepass"))


@pytest.fixture(autouse=True)
def files_are_made_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """Both outputs on a pseudo-terminal; what is given ends it, and returns what reached it."""
    master, slave = os.openpty()
    read = bytearray()

    def drain() -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(master, 65536):
                read.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    outputs = [os.fdopen(os.dup(slave), "w", encoding="utf-8") for _ in range(2)]
    os.close(slave)

    def end() -> str:
        for output in outputs:
            output.close()
        reader.join()
        os.close(master)
        return read.decode("utf-8", "surrogateescape")

    with contextlib.redirect_stdout(outputs[0]), contextlib.redirect_stderr(outputs[1]):
        yield end


def printed(arguments: list[str], workspace: Workspace, where: str) -> str:
    """What a command writes to a terminal, or to two pipes; a runner that it starts is ended."""
    started: list[Workspace] = []

    def start(workspace: Workspace) -> None:
        started.append(workspace)
        start_fake_runner(workspace)

    try:
        return _printed(arguments, workspace, where, start)
    finally:
        if started:
            end_processes_of(workspace.root)


def _printed(arguments: list[str], workspace: Workspace, where: str, start: Callable[[Workspace], None]) -> str:
    words = (
        arguments
        if "--workspace" in arguments or arguments[0] not in CASES
        else [*arguments, "--workspace", str(workspace.root)]
    )
    if where == "terminal":
        with terminal() as end:
            main.main(words, start)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        return end()
    outputs = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(outputs[0]), contextlib.redirect_stderr(outputs[1]):
        main.main(words, start)
    if "--json" in words and outputs[0].getvalue():
        json.loads(outputs[0].getvalue())
    return outputs[0].getvalue() + outputs[1].getvalue()


class FakePreviewer:
    """Previews that are all hostile."""

    text = ""

    def __init__(self, spec: Spec) -> None:
        pass

    def show(self, row: int) -> object:
        return preview_of(self.text, problem=False)

    def __enter__(self) -> FakePreviewer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def fill(workspace: Workspace, text: str) -> None:
    """A store and a run directory that are all hostile."""
    storable = text.encode("utf-8", "replace").decode()
    workspace.store_path.unlink(missing_ok=True)
    rounds = (make_round(6, Status.IMPORTED), hostile_round(storable, 7, Status.IMPORTED))
    RoundStore(workspace).create(rounds)
    run = workspace.run_dir(rounds[1].id)
    run.path.mkdir(parents=True, exist_ok=True)
    run.events.unlink(missing_ok=True)
    writer = EventWriter(run.events)
    for step in (0, 1):
        writer.append(Sampled(time=1.0, step=step, prompt=f"p{storable}", expected=f"e{storable}", text=f"t{storable}"))
    writer.close()
    workspace.judgements.unlink(missing_ok=True)
    judged = Side(storable, rounds[1].id)
    append_judgement(workspace.judgements, preferred("a", "first", sides=(Side(storable), judged)))
    append_judgement(workspace.judgements, preferred("a", "second", sides=(Side(f"other {storable}"), judged)))


@pytest.mark.usefixtures("forked_workers")  # which draw the curves
@pytest.mark.parametrize("where", ["terminal", "pipe"])
@pytest.mark.parametrize("command", [*CASES, "no command"])
def test_hostile_text_is_printed_and_does_nothing(
    workspace: Workspace,
    nano_spec: Spec,
    command: str,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    tried: Tried,
    times: Times,
) -> None:
    monkeypatch.setattr(commands, "Previewer", FakePreviewer)
    nano = [word for key, value in flatten(nano_spec).items() for word in ("--set", f"{key}={format_value(value)}")]
    found: list[object] = []
    counts = {"S1": 0, "S2": 0, "S3": 0}

    def look(text: str, fault: str) -> None:
        FakePreviewer.text = text.encode("utf-8", "replace").decode()
        finding = Finding(f"name {FakePreviewer.text}", FakePreviewer.text, FakePreviewer.text)
        monkeypatch.setattr(commands, "examine", lambda _: [finding])
        monkeypatch.setenv(*next(iter(Script(steps=1, warnings=(FakePreviewer.text,)).environment().items())))
        for arguments in CASES.get(command, OTHERS):
            fill(workspace, text)
            words = [word.replace("{text}", as_argument(text)) for word in arguments if word != "NANO"]
            output = printed(words + (nano if "NANO" in arguments else []), workspace, where)
            counts[fault] += 1
            found.extend((words, leak.group(), output) for leak in HARMFUL.finditer(DRAWING.sub("", output)))
            found.extend(
                (words, output) for word in ("31337m", "on red]") if word in output and f"\x1b[{word}" in output
            )
            found.extend((words, "defect", output) for word in ("Traceback", "loratui: unexpected") if word in output)

    for fault, texts in (("S1", STEERING), ("S2", MARKUP), ("S3", HIDING)):
        for text in texts[:: times(len(texts), 3)]:
            look(text, fault)

    @settings(max_examples=times(1, 6), phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(TEXTS | st.text(min_size=1))
    def made_up(text: str) -> None:
        look(text, "S1")

    made_up()
    for fault, count in counts.items():
        tried(fault, f"hostile texts in command lines and what they print, {where}", count, len(found))
    assert found == []


def test_hostile_directory_and_bytes_are_printed_harmless(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], tried: Tried
) -> None:
    names = [b"\x1b[31337m", b"\x9b31337m\xff", "\u202egnp".encode()]
    for name in names:
        directory = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        os.mkdir(directory)
        for words in (
            ["ls"],
            ["rebuild"],
            ["show", "1"],
            ["new", "--set", "x=1"],
            ["ls", "--json"],
            ["export", "-o", directory],
        ):
            main.main([*words, "--workspace", directory], lambda _: None)
    output = b"".join(capfdbinary.readouterr())
    lost = HARMFUL.findall(DRAWING.sub("", output.decode("utf-8", "surrogateescape")))
    tried("S1", "workspaces whose own name is hostile", len(names), len(lost))
    assert lost == []
    assert b"loratui: unexpected" not in output
