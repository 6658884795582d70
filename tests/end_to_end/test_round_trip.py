"""The whole way on a real pseudo-terminal, with the real runner and the real engine on the embedded model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.round_store import RoundStore
from engine.system.process import is_alive
from tests.support.terminal import DOWN, ENTER, ESCAPE, Terminal, ctrl
from tests.support.waiting import await_status

LORATUI = str(Path(sys.executable).with_name("loratui"))


def loratui(workspace: Workspace, *arguments: str) -> str:
    """What a command prints."""
    command = [LORATUI, *arguments, "--workspace", str(workspace.root)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def chart(screen: str) -> list[str]:
    """The part of a run's screen that the curve is drawn on."""
    lines = screen.splitlines()
    below = next((number for number, line in enumerate(lines) if "this machine" in line), 0)
    return [line.rpartition("│")[0] for line in lines[2:below]]


def test_round_is_edited_trained_left_found_again_and_exported(reference_workspace: Workspace) -> None:
    """The terminal it is found again on is larger, as somebody's other machine has."""
    steps = 34  # half an epoch, where the preset has three
    store = RoundStore(reference_workspace)
    with Terminal([LORATUI], reference_workspace.root, 80, 24) as terminal:
        terminal.wait_for("8×4", "11m23s", "1.1614", "★3.16", "Round 4 came out worse")
        terminal.type("n")
        terminal.wait_for("Start the new round from", "nano", "tinyllama-alpaca", "clone of round 5")
        terminal.type(DOWN + ENTER)
        terminal.wait_for("from preset nano", "rows to train on")
        terminal.type(DOWN * 3 + "0.5")  # from learning_rate down to num_train_epochs, whose text is selected
        terminal.wait_for("train.num_train_epochs")
        terminal.wait_for(f"{steps} steps, 68 per epoch")
        terminal.type(ctrl("s"))
        terminal.wait_for("Round 6", "evaluating base", "no NVIDIA GPU", "CPU", "RAM")
        terminal.wait_for("training", "step ", f"/{steps}", "tokens/s", "grad norm", "held out")
        terminal.type("q")
        assert terminal.wait_for_end() == 0
        assert terminal.written.endswith(b"\x1b[?1049l") or b"\x1b[?1049l" in terminal.written[-400:]
    running = store.get(6)
    assert running.status is Status.RUNNING and running.process is not None and is_alive(running.process)
    with Terminal([LORATUI], reference_workspace.root, 160, 48) as terminal:
        terminal.wait_for("running")
        terminal.type(ENTER)
        terminal.wait_for("Round 6", "base", "train")
        terminal.wait_for("finished", f"step {steps}/{steps} (100 %)", seconds=240)
        terminal.wait_for("finished: ")
        terminal.wait_until(lambda screen: "finished: " not in screen, "the end of the news, which takes a line")
        terminal.read_all()  # the rest of the last frame, too
        drawn_bit_by_bit = chart(terminal.text)
        assert sum("●" in line for line in drawn_bit_by_bit) >= 2
        terminal.type(ESCAPE)
        terminal.wait_for("6 rounds")
        terminal.type(ENTER)
        terminal.wait_until(lambda screen: chart(screen) == drawn_bit_by_bit, "the same curve, drawn at once")
        terminal.type(ESCAPE)
        terminal.wait_for("6 rounds")
        terminal.type("e")
        terminal.wait_for("the comparison is in")
        terminal.type("q")
        assert terminal.wait_for_end() == 0
    finished = await_status(store, 6, Status.FINISHED)
    assert finished.result.perplexity is not None and finished.result.base_perplexity is not None
    assert finished.result.perplexity <= finished.result.base_perplexity / 2
    assert (reference_workspace.root / "comparison.md").read_text() == loratui(reference_workspace, "export")
    listed = json.loads(loratui(reference_workspace, "ls", "--json"))
    assert [item["number"] for item in listed] == [1, 2, 3, 4, 5, 6]
    assert listed[5]["result"]["adapter_dir"] == f"runs/{finished.id}/adapter"
    assert (reference_workspace.root / listed[5]["result"]["adapter_dir"] / "adapter_model.safetensors").is_file()
