"""A person types, and the app goes: what was typed is offered when it is opened again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.files.drafts import Drafts, drafts_path
from engine.files.paths import Workspace
from tests.support.disks import in_small_disk
from tests.support.faults.tried import Tried
from tests.support.pilot import OpenApp, on_screen, shown, until
from tests.support.pilot import open_app as open_app
from tests.support.rounds import make_round
from tests.support.terminal import ENTER, ESCAPE, Terminal, ctrl

Times = Callable[[int, int], int]

LORATUI = str(Path(sys.executable).with_name("loratui"))
SECOND = 1.0  # of typing that a kill may cost
NOTE = "note of 0001-00c0ffee"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def kill(terminal: Terminal) -> None:
    terminal.read(SECOND)
    terminal.process.kill(signal.SIGKILL)


def terminate(terminal: Terminal) -> None:
    terminal.process.kill(signal.SIGTERM)


def suspend_and_kill(terminal: Terminal) -> None:
    terminal.read(SECOND)
    terminal.process.kill(signal.SIGSTOP)
    terminal.process.kill(signal.SIGKILL)


ENDS: dict[str, Callable[[Terminal], None]] = {
    "kill -9, a second after the last key": kill,
    "SIGTERM": terminate,
    "hangup": Terminal.hang_up,
    "suspended, then kill -9": suspend_and_kill,
    "Esc, then q": lambda terminal: terminal.type(ESCAPE),
}


@pytest.mark.parametrize("how", ENDS)
def test_note_outlives_the_app(reference_workspace: Workspace, how: str, tried: Tried) -> None:
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        terminal.wait_for("Round 4 came out worse")
        terminal.type("i")
        terminal.wait_for("note of round 5")
        terminal.type(" and this is why")
        terminal.wait_for("this is why")
        ENDS[how](terminal)
        if how.startswith("Esc"):
            terminal.wait_until(lambda screen: "note of round 5" not in screen, "the end of the line")
            terminal.type("q")
        if how != "hangup":
            terminal.wait_for_end()
        else:
            terminal.process.wait()
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        terminal.wait_for("Round 4 came out worse")
        terminal.type("i")
        terminal.wait_for("your draft of")
        terminal.type("!")
        lost = "this is why!" not in terminal.wait_until(lambda screen: "!" in screen, "the key")
    tried("F27", f"a note half typed: {how}", 1, lost)
    assert not lost


@pytest.mark.long
def test_form_outlives_the_app(reference_workspace: Workspace, tried: Tried) -> None:
    with Terminal([LORATUI], reference_workspace.root, columns=120, rows=40) as terminal:
        terminal.wait_for("Round 4 came out worse")
        terminal.type("n")
        terminal.wait_for("Start the new round from")
        terminal.type(ENTER)
        terminal.wait_for("New round")
        terminal.type(ctrl("n") + "the note on it")
        terminal.wait_for("the note on it")
        terminal.process.kill(signal.SIGHUP)
        terminal.wait_for_end()
    with Terminal([LORATUI], reference_workspace.root, columns=120, rows=40) as terminal:
        terminal.wait_for("Round 4 came out worse")
        terminal.type("n")
        terminal.wait_for("continue the form of", "the note on it")
        terminal.type(ENTER)
        terminal.wait_for("New round", "the note on it")
    tried("F27", "a form half filled: SIGHUP", 1)


@pytest.mark.long
def test_kill_at_any_moment_of_typing_leaves_a_draft_of_the_last_second(
    reference_workspace: Workspace, tried: Tried, times: Times
) -> None:
    chance, count, lost = random.Random(3), times(2, 30), 0
    field = "name of 0005-imported"
    for _ in range(count):
        shutil.rmtree(drafts_path(), ignore_errors=True)
        typed: list[float] = []
        with Terminal([LORATUI], reference_workspace.root) as terminal:
            terminal.wait_for("Round 4 came out worse")
            terminal.type("R")
            terminal.wait_for("name of round 5")
            until_killed = time.monotonic() + chance.uniform(1.5, 3.0)
            while time.monotonic() < until_killed:
                terminal.type("x")
                typed.append(time.monotonic())
                terminal.read(0.05)
            terminal.process.kill(signal.SIGKILL)
            killed = time.monotonic()
            terminal.wait_for_end()
        old = sum(moment < killed - SECOND for moment in typed)
        texts = [draft.texts["0"] for draft in Drafts(reference_workspace.root).offered(field)]
        lost += not texts or texts[0].count("x") < old
    tried("F27", "kill -9 while keys come; all but the last second must be there", count, lost)
    assert lost == 0


FULL_DISK = """
import os, sys
from pathlib import Path
from engine.files.drafts import Drafts
disk = Path(sys.argv[1])
os.environ["XDG_STATE_HOME"] = str(disk)
try:
    (disk / "rest").write_bytes(bytes(1_000_000))
except OSError:
    pass
drafts = Drafts(Path("/workspace"))
drafts.report = print
drafting = drafts.edit("note")
for text in ("a", "b"):
    drafting.keep({"text": text})
    drafts.flush()
print(drafts.unwritten, [draft.texts for draft in drafts.offered("note")])
(disk / "rest").unlink()
print(drafts.flush(), drafts.unwritten)
"""


def read_only(state: Path) -> None:
    state.mkdir()
    state.chmod(0o500)


def a_file(state: Path) -> None:
    state.touch()


def a_link_to_nothing(state: Path) -> None:
    state.symlink_to("/nowhere/at/all")


def a_link_to_where_nobody_writes(state: Path) -> None:
    state.symlink_to("/proc")


@pytest.mark.parametrize("spoil", [read_only, a_file, a_link_to_nothing, a_link_to_where_nobody_writes])
async def test_directory_that_takes_no_draft_is_named_once_and_leaving_asks(
    open_app: OpenApp, idle_cockpit: Cockpit, state: Path, spoil: Callable[[Path], None], tried: Tried
) -> None:
    if spoil is read_only and os.geteuid() == 0:
        pytest.skip("root writes where nobody may")
    idle_cockpit.store.add(lambda number: make_round(number, note="stored"))
    shutil.rmtree(state, ignore_errors=True)  # which a writer of an earlier test may have made
    spoil(state)
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("i", *" more")
        idle_cockpit.drafts.flush()
        await until(pilot, lambda: "cannot be kept as a draft" in shown(pilot, "Banner"), "the sentence")
        await pilot.press("ctrl+g", *" and more")
        idle_cockpit.drafts.flush()
        await pilot.press("escape", "i")
        await pilot.pause()
        assert "cannot be kept" not in shown(pilot, "Banner")
        await pilot.press("tab", "q")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
    tried("F27", "a state directory that takes no drafts; one sentence, and leaving asks", 1)


def hostile_drafts(name: str, root: Path) -> dict[str, bytes]:
    """Contents of a draft's file that are not a draft of this field."""
    true = f'{{"workspace":"{root}","field":"{NOTE}","texts":{{"0":"x"}},"time":%s,"name":"{name}"}}'
    return {
        "empty": b"",
        "cut off": (true % "1.0").encode()[:-9],
        "other kinds": b'{"workspace":1,"field":[],"texts":"x","time":{}}',
        "deep": b"[" * 100_000,
        "no number": (true % "NaN").encode(),
        "far future": (true % "1e300").encode(),
        "not UTF-8": b"\xff\xfe" * 100,
        "too large": b" " * 2_000_000,
        "another workspace": (true % "1.0").replace(str(root), "/elsewhere").encode(),
    }


def test_files_that_are_no_drafts_are_left_out_and_named(tmp_path: Path, tried: Tried) -> None:
    root = tmp_path / "workspace"
    first = Drafts(root)
    first.edit(NOTE).keep({"0": "good"})
    first.flush()
    (good,) = drafts_path().iterdir()
    bad = good.with_name(good.name[:-8] + "000.json")
    wrong = []
    contents = hostile_drafts(bad.name, root)
    for what, content in contents.items():
        bad.write_bytes(content)
        sentences: list[str] = []
        drafts = Drafts(root)
        drafts.report = sentences.append
        offered = [draft.texts for draft in [*drafts.offered(NOTE), *drafts.offered(NOTE)]]
        named = what == "another workspace" or (len(sentences) == 1 and str(bad) in sentences[0])
        if offered != [{"0": "good"}] * 2 or not named:
            wrong.append((what, offered, sentences))
    bad.unlink()
    others: list[Callable[[], None]] = [lambda: os.mkfifo(bad), bad.mkdir, lambda: bad.symlink_to(good)]
    for make in others:
        make()
        if [draft.texts for draft in Drafts(root).offered(NOTE)] != [{"0": "good"}]:
            wrong.append((str(make), [], []))
        bad.rmdir() if bad.is_dir() and not bad.is_symlink() else bad.unlink()
    tried("F27", "damaged, hostile and foreign files in the place of drafts", len(contents) + 3, len(wrong))
    assert wrong == []


def test_paste_with_escape_characters_does_nothing_but_be_pasted(reference_workspace: Workspace, tried: Tried) -> None:
    """Coloured lines that a terminal does not filter; what followed an escape character was taken for keys."""
    with Terminal([LORATUI], reference_workspace.root) as terminal:
        terminal.wait_for("5 rounds")
        terminal.type("\x1b[200~\x1b[31mfailed\x1b[0m: " + 40 * "d" + "\x1b[201~")
        terminal.wait_for("nothing was pasted: no field to type into is open")
        terminal.type("q")
        assert terminal.wait_for_end() == 0
    lost = 5 - len(Cockpit(reference_workspace).store.rounds())
    tried("F27", "a paste with escape characters in it", 1, lost)
    assert lost == 0


async def test_hostile_draft_is_shown_letter_by_letter(open_app: OpenApp, idle_cockpit: Cockpit, tried: Tried) -> None:
    round_ = idle_cockpit.store.add(lambda number: make_round(number, note="stored"))
    drafts = idle_cockpit.drafts
    drafts.edit(f"note of {round_.id}").keep({"0": "\x1b[31mred\u202e[bold]x"})
    drafts.flush()
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("i")
        await until(pilot, lambda: "your draft" in shown(pilot, ".line-hint"), "the draft")
        strips = "".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
        assert "␛[31mred\ufffd[bold]x" in strips and "\x1b" not in strips
    tried("F27", "a draft with escape sequences and markup in it", 1)


def test_full_disk_is_named_and_the_draft_written_once_there_is_room(
    small_disk: Path, tmp_path: Path, tried: Tried
) -> None:
    code = tmp_path / "code.py"
    code.write_text(FULL_DISK)
    done = in_small_disk(small_disk, 64, 'exec "$1" "$2" "$3"', sys.executable, str(code), str(small_disk))
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done
    assert "no space left on device" in lines[0]
    assert lines[1:] == ["True [{'text': 'b'}]", "True False"]
    tried("F27", "a full disk beneath the drafts", 1)
