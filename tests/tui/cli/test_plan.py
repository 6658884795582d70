"""`loratui plan`: the memory and the disk space of a round, here and on a card that is not here."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.files.paths import Workspace
from engine.planning.devices import Device
from engine.preflight.checks import check
from engine.spec.presets import load_preset
from engine.spec.round import Prediction, Result, Round, SecondsBesideSteps, Status
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round
from tests.support.rounds_to_train import DIRECT
from tests.support.shapes import write_llama_shapes
from tui.cli import main

pytestmark = pytest.mark.usefixtures("empty_state")

GIB = 2**30


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments for a round of TinyLlama on the embedded rows, on a machine with a processor of 26 GiB."""
    here = Device("this processor", is_gpu=False, free=20 * GIB, total=26 * GIB, bfloat16=False)
    monkeypatch.setattr("tui.cli.plan.device_here", lambda engines: here)
    model = write_llama_shapes(tmp_path / "tinyllama")
    return [
        "plan", "--workspace", str(tmp_path), "--set", f"model.path={model}", "--set", "model.dtype=auto",
        "--set", "data.path=embedded:nano",
        "--set", "data.max_length=512", "--set", "lora.target_modules=q_proj, v_proj",
    ]  # fmt: skip


def test_memory_and_verdict_are_printed_for_this_machine(
    reference: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(reference) == 0
    lines = capsys.readouterr().out.splitlines()
    (memory,) = (line for line in lines if line.startswith("memory: "))
    assert "process 400 MiB · base 4.1 GiB · adapter and optimizer 17 MiB · rows " in memory  # 1.1 B in float32
    (verdict,) = (line for line in lines if line.startswith("fits: "))
    assert verdict.endswith(" of 20.0 GiB free on this processor")
    assert any(line.startswith("disk: ") for line in lines)


def test_rows_are_traced_on_request(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """The same process, model and adapter; the rows lie within what arithmetic is known to be off by."""
    command = ["plan", "--workspace", str(workspace.root), "--preset", "nano", "--json"]
    plans = []
    for option in ([], ["--trace"]):
        assert main.main([*command, *option]) == 0
        plans.append(json.loads(capsys.readouterr().out)["memory"])
    counted, traced = plans
    assert [counted["traced"], traced["traced"], traced["traced_on"]] == [False, True, "processor"]
    assert traced["parts"] == counted["parts"]
    assert traced["row_bytes"] == pytest.approx(counted["row_bytes"], rel=0.15)


def test_arithmetic_is_shown_where_nothing_can_be_traced(
    reference: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([*reference, "--trace", "--gpu", "T4", "--set", "model.load_in_4bit=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("fits: ") for line in lines)
    assert (
        "memory is counted, not traced: model.load_in_4bit is true: quantised layers cannot be traced: plan without "
        "--trace" in lines
    )


def test_tokens_and_lengths_are_those_of_the_rows(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    rows = workspace.root / "rows.jsonl"
    rows.write_text("".join(f'{{"text": "{"a b " * number}"}}\n' for number in range(1, 31)))
    command = ["plan", "--workspace", str(workspace.root), "--preset", "nano", "--set", f"data.path={rows}"]
    command += ["--set", "data.samples=", "--set", "data.eval_fraction=0", "--set", "data.max_length=512"]
    assert main.main([*command, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    epochs, measured = load_preset("nano").spec.train.num_train_epochs, plan["rows"]
    assert measured["all_measured"] and measured["cut_share"] == 0
    assert plan["tokens"] == pytest.approx(epochs * 30 * measured["mean_tokens"])
    assert main.main(command) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("tokens: "))
    assert f" {measured['longest_tokens']} · none is cut" in line


def test_lengths_that_cannot_be_measured_are_said_to_be_unknown(
    reference: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A model of shapes alone has no tokenizer."""
    assert main.main(reference) == 0
    assert "tokens: not known: " in capsys.readouterr().out


def test_card_that_is_not_here_is_planned_for(reference: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*reference, "--gpu", "T4", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    memory, device = plan["memory"], plan["device"]
    assert (device["name"], device["free"], device["bfloat16"]) == ("T4", 15 * GIB, False)
    assert memory["parts"]["base"] == 2 * 1_100_048_384
    assert sum(memory["parts"].values()) + memory["row_bytes"] == memory["least_bytes"] <= memory["peak_bytes"]
    assert (plan["verdict"], memory["remedy"]) == ("fits", {})
    assert plan["disk_bytes"] > memory["parts"]["adapter"]


def test_what_does_not_fit_says_what_would(reference: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*reference, "--gpu", "X 1GB"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (verdict,) = (line for line in lines if line.startswith("does not fit: "))
    assert "with one row of 512 tokens; rows may use 90% of 1.0 GiB free on X" in verdict
    assert main.main([*reference, "--gpu", "X 2.4GB", "--set", "train.gradient_checkpointing=false"]) == 0
    (remedy,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("it would fit with "))
    assert "model.load_in_4bit true" in remedy


def test_unknown_card_and_hub_that_does_not_answer(
    reference: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (DIRECT | {"HF_ENDPOINT": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    assert main.main([*reference, "--gpu", "banana"]) == 2
    assert "--gpu is 'banana': name one of P100" in capsys.readouterr().err
    assert main.main([*reference, "--gpu", "T4", "--set", "model.path=nobody/nothing"]) == 0
    assert "memory: not known: model.path is 'nobody/nothing': the Hugging Face hub cannot be reached" in (
        capsys.readouterr().out
    )


def test_time_is_said_by_a_round_that_has_finished_here(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its 1,080 rows took 108 s an epoch, and four evaluations, that of the base among them, 20 s with the start.

    Its card used 0.172 kWh, which is 0.0005 kWh a second.
    """
    spec = load_preset("nano").spec
    plan = check(spec).plan
    result = Result(train_seconds=324.0, step=plan.total_steps, energy_kwh=0.172)

    def add(number: int) -> Round:
        round_ = make_round(number, status=Status.FINISHED, spec=spec)
        return msgspec.structs.replace(round_, plan=plan, result=result, started=0.0, ended=344.0, gpu=None)

    RoundStore(workspace).add(add)
    command = ["plan", "--workspace", str(workspace.root), "--from", "1", "--set", "train.num_train_epochs=1"]
    assert main.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "time: about 1m58s (1m28s to 2m28s), of it steps 1m48s, about 0.06 kWh; by round 1" in lines
    assert main.main([*command, "--json"]) == 0
    time = json.loads(capsys.readouterr().out)["time"]
    assert (time["seconds"], time["steps_seconds"], time["rounds"]) == (118, 108, [1])
    assert time["energy_kwh"] == pytest.approx(0.059)
    assert (time["by_operations"], time["evaluations_seconds"]) == (False, None)
    assert main.main([*command, "--gpu", "T4"]) == 0
    assert "a first guess by its operations and the published rate of T4" in capsys.readouterr().out


def test_time_has_the_parts_that_finished_rounds_tell(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 20 s beside the steps, 8 s were evaluations and 4 s checkpoints; the rest is the start."""
    spec = load_preset("nano").spec
    spec = msgspec.structs.replace(spec, train=msgspec.structs.replace(spec.train, sample_tokens=0))
    plan = check(spec).plan
    result = Result(train_seconds=324.0, step=plan.total_steps)
    beside = SecondsBesideSteps(evaluations=8.0, checkpoints=4.0)

    def add(number: int) -> Round:
        round_ = make_round(number, status=Status.FINISHED, spec=spec)
        return msgspec.structs.replace(
            round_, plan=plan, result=result, started=0.0, ended=344.0, beside_steps=beside, gpu=None
        )

    RoundStore(workspace).add(add)
    command = ["plan", "--workspace", str(workspace.root), "--from", "1"]
    assert main.main(command) == 0
    parts = "start 8s, steps 5m24s, evaluations 8s, checkpoints 4s"
    assert f"time: about 5m44s (4m18s to 7m10s), of it {parts}; by round 1" in capsys.readouterr().out.splitlines()
    assert main.main([*command, "--json"]) == 0
    time = json.loads(capsys.readouterr().out)["time"]
    seconds = {name: time[f"{name}_seconds"] for name in ("start", "steps", "evaluations", "samples", "checkpoints")}
    assert seconds == {"start": 8, "steps": 324, "evaluations": 8, "samples": 0, "checkpoints": 4}
    assert time["seconds"] == sum(seconds.values())


def test_time_without_a_round_is_a_guess_by_a_trial_of_the_processor(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["plan", "--workspace", str(workspace.root), "--preset", "nano"]
    assert main.main(command) == 0
    assert "; a first guess by its operations and a trial of this processor" in capsys.readouterr().out
    assert main.main([*command, "--json"]) == 0
    time = json.loads(capsys.readouterr().out)["time"]
    assert (time["by_operations"], time["rounds"]) == (True, [])
    assert 0 < time["interval"][0] < time["seconds"] < time["interval"][1]


@pytest.fixture
def learned(workspace: Workspace) -> Workspace:
    """Three rounds of the model that comes with loratui, of which this processor took half of what was counted."""
    spec = load_preset("nano").spec
    counted = Prediction(
        device="this processor", is_gpu=False, family="llama", bits=32, peak_memory_bytes=500,
        counted_memory_bytes=1000, tokens=1000,
    )  # fmt: skip
    result = Result(peak_memory_bytes=500)
    for _ in range(3):
        RoundStore(workspace).add(
            lambda number: make_round(number, spec=spec, predicted=counted, device="cpu", result=result)
        )
    return workspace


def test_peak_is_corrected_by_three_rounds_here(learned: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--workspace", str(learned.root), "--preset", "nano"]
    assert main.main(command) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("memory: "))
    assert line.endswith(" · peak corrected by -50 %, from 3 rounds here")
    assert main.main([*command, "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert (memory["correction"], memory["rounds"]) == (0.5, [1, 2, 3])
    assert memory["peak_bytes"] == max(memory["counted_bytes"] // 2, memory["least_bytes"])
    assert main.main([*command, "--gpu", "T4", "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert (memory["correction"], memory["rounds"], memory["counted_bytes"]) == (None, [], memory["peak_bytes"])


def test_history_sets_predicted_beside_actual(learned: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """A round on a card, one that waits and one without a prediction are left out."""
    others = ({"device": "cuda"}, {"status": Status.QUEUED}, {"predicted": None})
    first = RoundStore(learned).get(1)
    for fields in others:
        RoundStore(learned).add(partial(replaced, first, fields))
    command = ["plan", "--history", "--workspace", str(learned.root)]
    assert main.main(command) == 0
    table, _, errors = capsys.readouterr().out.partition("\n\n")
    rows = [line.split() for line in table.splitlines()[1:]]
    assert [row for row in rows if row[0] != "tokens"] == [
        [str(number), "peak", "memory", "1", "KiB", "1", "KiB", "+0.0", "%"] for number in (1, 2, 3)
    ]
    assert errors.splitlines()[0] == "peak memory: median error 0.0 %, worst 0.0 % (round 3), over 3 rounds"
    assert main.main([*command, "--json"]) == 0
    history = json.loads(capsys.readouterr().out)
    assert [round_["number"] for round_ in history["rounds"]] == [1, 2, 3]
    assert history["rounds"][0]["figures"]["peak_memory"] == {
        "predicted": 500, "interval": None, "actual": 500, "error_percent": 0, "reason": ""
    }  # fmt: skip
    assert history["errors"]["peak_memory"]["rounds"] == 3


def replaced(round_: Round, fields: dict[str, Any], number: int) -> Round:
    return msgspec.structs.replace(round_, number=number, id=f"{number:04d}-c0ffee", **fields)


def test_history_without_rounds_and_with_settings(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--history", "--workspace", str(workspace.root)]
    assert main.main([*command, "--gpu", "T4"]) == 0
    assert capsys.readouterr().out == (
        "no round with a prediction has finished on T4 yet: rounds that are queued from now on have one\n"
    )
    assert main.main([*command, "--set", "lora.r=4"]) == 2
    assert "leave --set, --preset and --from out" in capsys.readouterr().err


def test_new_and_show_have_what_is_predicted(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--workspace", str(workspace.root)]
    assert main.main(["new", "--hold", "--preset", "nano", *where], lambda _: None) == 0
    assert "predicted peak memory" in capsys.readouterr().out
    assert main.main(["show", "1", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["predicted"]["family"] == "llama"
    peak = shown["predicted"]["peak_memory_bytes"]
    assert peak > 0 and shown["against_prediction"]["peak_memory"] == {
        "predicted": peak, "interval": None, "actual": None, "error_percent": None, "reason": ""
    }  # fmt: skip
