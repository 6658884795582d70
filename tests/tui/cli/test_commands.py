from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.api import Cockpit
from engine.errors import DatasetError
from engine.files.paths import Workspace
from engine.report.export import to_markdown
from engine.spec.data import DataSpec
from engine.spec.fields import flatten, format_value
from engine.spec.round import Result, Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.fake_engine import Script, loss_at
from tests.support.processes import start_fake_runner
from tests.support.recorded_runs import write_run
from tests.support.rounds import change_spec, damage, make_round
from tests.support.waiting import await_status
from tui.cli.main import main

Follow = Callable[[Script], None]


@pytest.fixture
def cli(workspace: Workspace) -> Callable[..., int]:
    """Run a command on `workspace`, trained by the fake engine: its exit code."""
    return lambda *words: main([*words, "--workspace", str(workspace.root)], start_fake_runner)


@pytest.fixture
def reference(reference_workspace: Workspace) -> Callable[..., int]:
    """Run a command on the rounds that ship with loratui."""
    return lambda *words: main([*words, "--workspace", str(reference_workspace.root)], lambda _: None)


def settings(spec: Spec) -> list[str]:
    """`--set` for every field of a spec."""
    return [word for key, value in flatten(spec).items() for word in ("--set", f"{key}={format_value(value)}")]


def printed_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_ls_prints_every_round(reference: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert reference("ls") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    for words, line in zip([("2e-4", "7m1s", "4.79"), ("5e-5", "8m54s", "3.16")], lines[1:], strict=False):
        assert set(words) <= set(line.split())


def test_ls_marks_what_does_not_compare_and_says_why(
    reference: Callable[..., int], reference_workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RoundStore(reference_workspace)
    spec = change_spec(store.get(1).spec, data__seed=7)
    store.add(lambda number: make_round(number, spec=spec, result=Result(eval_loss=1.0, perplexity=2.72)))
    assert reference("ls") == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"≁2.72", "≁1.0000"} <= set(lines[6].split())
    assert lines[7:] == ["≁ round 6 was measured on other held-out tokens than round 1: other examples (data.seed)"]
    assert "≁" not in "".join(lines[:6])
    assert reference("diff", "1", "6") == 0
    assert "measured on other held-out tokens: other examples (data.seed)\n" in capsys.readouterr().out


def test_ls_sorts_and_filters_by_the_change_against_the_parent(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("ls", "--json", "--sort", "vs_parent", "--filter", "vs_parent<1") == 0
    assert [item["number"] for item in printed_json(capsys)] == [2, 5, 3]
    assert reference("ls", "--filter", "#=3") == 0
    assert "+0.9 %" in capsys.readouterr().out  # the parent counts though it is not listed


def test_ls_groups_with_count_and_best(reference: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert reference("ls", "--group", "lr", "--sort=-ppl") == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line.startswith("lr ")]
    assert headings[2] == "lr 5e-5 · 2 rounds · best perplexity 3.16 (round 2)"
    assert len(headings) == 4
    start = lines.index(headings[2])
    assert [line.split()[0] for line in lines[start + 1 : start + 4]] == ["#", "4", "2"]


@pytest.mark.parametrize(
    ("expression", "numbers", "said"),
    [
        ("vs_parent < 1 and # > 2", [3, 5], ""),
        ("#=1 or #=3", [1, 3], ""),
        ("not #<5", [5], ""),
        ("gpux", [], "loratui: no round has gpux\n"),
    ],
)
def test_ls_reads_the_filters_of_the_app(
    reference: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    expression: str,
    numbers: list[int],
    said: str,
) -> None:
    assert reference("ls", "--json", "--filter", expression) == 0
    printed = capsys.readouterr()
    assert sorted(round_["number"] for round_ in json.loads(printed.out)) == sorted(numbers)
    assert reference("ls", "--filter", expression) == 0
    assert capsys.readouterr().err == said


def test_edit_changes_what_is_said_of_a_round_and_nothing_else(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("edit", "2", "--tag", "best", "--tag", "low-lr", "--pin", "--note", "mine") == 0
    assert "best low-lr" in capsys.readouterr().out
    assert reference("ls", "--json", "--filter", "tag=low-lr") == 0
    (changed,) = printed_json(capsys)
    assert (changed["tags"], changed["pinned"], changed["note"]) == (["best", "low-lr"], True, "mine")
    assert changed["name"] == "tinyllama-alpaca"
    assert reference("ls") == 0
    assert "best low-lr" in capsys.readouterr().out
    assert reference("edit", "2", "--tag", "", "--unpin", "--name", "new", "--json") == 0
    changed = printed_json(capsys)
    assert (changed["tags"], changed["pinned"], changed["name"], changed["note"]) == ([], False, "new", "mine")
    assert reference("edit", "2") == 2
    assert "give --name, --note, --tag, --pin or --unpin" in capsys.readouterr().err


def test_lineage_tells_what_changed_why_and_how_it_moved(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("lineage", "4") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("●")] == [["●", str(n)] for n in range(1, 6)]
    third = lines.index("● 3  tinyllama-alpaca  3 changed at once, 2 rounds missing  perplexity 3.16 → 3.19 +0.9 %")
    assert lines[third + 1] == "│ learning_rate 5e-5 → 2e-5, num_train_epochs 4 → 5, warmup_steps 100 → 300"
    assert lines[third + 2].startswith("│ It converges now: a lower learning rate")
    assert "● 2  tinyllama-alpaca  2 changed at once, 1 round missing  perplexity 4.79 → 3.16 ★ -34.0 %" in lines


def test_lineage_prints_the_commands_that_make_the_missing_rounds(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("lineage") == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index(
        "round 3 against round 2: learning_rate, num_train_epochs and warmup_steps changed at once, so no cause can be "
        "read; missing to change one at a time:"
    )
    assert lines[start + 1 : start + 4] == [
        "loratui new --from 2 --set train.learning_rate=2e-5",
        "loratui new --from 2 --set train.learning_rate=2e-5 --set train.num_train_epochs=5",
        "",
    ]
    assert len([line for line in lines if line.startswith("loratui new")]) == 6


def test_lineage_names_the_round_between_once_its_command_was_given(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("new", "--hold", "--from", "1", "--set", "train.learning_rate=5e-5") == 0
    capsys.readouterr()
    assert reference("lineage", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "round 2 against round 1: learning_rate and num_train_epochs changed; round 6 between changes one at a time"
        in lines
    )
    assert reference("lineage", "--json") == 0
    (family,) = printed_json(capsys)
    (second,) = (each for each in family if each["number"] == 2)
    assert (second["changed_at_once"], second["missing"]) == (["train.learning_rate", "train.num_train_epochs"], [])


def test_lineage_json_holds_raw_values_by_family(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("lineage", "--json") == 0
    ((first, second, *_),) = printed_json(capsys)
    assert (first["parent"], first["changes"], first["against_parent"]) == (None, {}, None)
    assert (second["parent"], second["depth"], second["deleted"]) == (1, 0, False)
    assert second["changes"]["train.learning_rate"] == {"old": 2e-4, "new": 5e-5}
    assert second["against_parent"] == pytest.approx(100 * (3.16 / 4.79 - 1))
    assert (first["changed_at_once"], first["missing"]) == ([], [])
    assert second["changed_at_once"] == ["train.learning_rate", "train.num_train_epochs"]
    assert second["missing"] == [
        {"from": 1, "set": {"train.learning_rate": 5e-5}, "set_line": "--set train.learning_rate=5e-5"}
    ]


def test_lineage_of_no_round_is_refused_in_a_sentence(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("lineage", "9") == 2
    assert capsys.readouterr().err == "loratui: there is no round 9: `loratui ls` lists them\n"


def test_export_with_curves_writes_document_and_picture(
    cli: Callable[..., int], workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RoundStore(workspace)
    for _ in range(3):
        store.add(lambda number: make_round(number))
    for round_ in store.rounds():
        write_run(workspace, round_, 1, 5)
    path = tmp_path / "out.md"
    assert cli("export", "--curves", "-o", str(path), "2", "3") == 0
    assert capsys.readouterr().out == f"wrote {path} and {tmp_path / 'out.svg'}\n"
    assert "# Rounds 2 and 3 side by side" in path.read_text() and "](out.svg)" in path.read_text()
    before = path.read_text()
    assert cli("export", "--curves", "-o", str(path)) == 2
    assert (
        capsys.readouterr().err
        == f"loratui: {path} and {tmp_path / 'out.svg'} would be replaced: give --force to do so\n"
    )
    assert path.read_text() == before
    assert cli("export", "--curves", "--force", "--picture", "png", "-o", str(path)) == 0
    assert "# Rounds 1, 2 and 3 side by side" in path.read_text() and (tmp_path / "out.png").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "--curves needs -o FILE: the picture is written beside it"),
        (("-o", "x.md", "--format", "csv"), "--curves writes Markdown, not csv: leave --format out"),
        (("-o", "x.svg"), "x.svg would be the picture: name the Markdown file, and the picture is written beside it"),
        (("-o", "x.md", "2"), "one round is too few to compare: choose 2 to 10"),
        (("-o", "missing/x.md"), "missing/x.md could not be written: no such file or directory"),
    ],
)
def test_export_with_curves_refuses_in_a_sentence(
    reference: Callable[..., int], words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("export", "--curves", *words) == 2
    assert capsys.readouterr().err == f"loratui: {sentence}\n"


def test_ls_json_has_the_fields_of_the_contract(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("ls", "--json", "--sort=-perplexity", "--filter", "ppl<4 batch=8") == 0
    listed = printed_json(capsys)
    assert [item["number"] for item in listed] == [4, 5, 3, 2]
    assert {"id", "number", "name", "status", "note", "spec", "plan", "result"} <= set(listed[0])
    assert listed[3]["spec"]["train"]["learning_rate"] == 5e-5
    assert listed[3]["plan"]["total_steps"] == 296
    assert set(listed[3]["result"]) == {
        "eval_loss", "eval_loss_interval", "perplexity", "base_perplexity", "train_seconds", "trained_tokens",
        "peak_memory_bytes", "adapter_dir", "generation", "base_generation", "held_out_rows", "step",
        "energy_kwh",
    }  # fmt: skip
    assert (listed[3]["result"]["perplexity"], listed[3]["result"]["base_perplexity"]) == (3.16, None)


def test_show_tells_the_samples_of_base_and_adapter(
    cli: Callable[..., int], nano_spec: Spec, script: Follow, capsys: pytest.CaptureFixture[str]
) -> None:
    script(Script(steps=3))
    assert cli("run", *settings(nano_spec)) == 0
    capsys.readouterr()
    assert cli("show", "1") == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    start = lines.index("prompt 1  Say one")
    assert lines[start + 1 : start + 4] == ["expected  one", "base      step 0: one␛[2J", "step 3    step 3: one␛[2J"]
    assert cli("show", "1", "--json") == 0
    samples = printed_json(capsys)["samples"]
    assert [(item["step"], item["expected"]) for item in samples] == [
        *((0, "one"), (0, "[b]two[/b]"), (3, "one"), (3, "[b]two[/b]"))
    ]
    assert samples[0]["text"] == "step 0: one\x1b[2J" and samples[0]["prompt"].startswith("Below is")


def test_show_tells_spec_plan_status_result_and_note(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("show", "2") == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["status"].strip() == "imported"
    assert told["train.learning_rate"].strip() == "5e-5"
    assert told["perplexity"].strip() == "3.16"
    assert told["note"].startswith("The GPU sat half idle")
    assert reference("show", "2", "--json") == 0
    assert msgspec.convert(printed_json(capsys), Round).spec.train.num_train_epochs == 4


def test_show_tells_the_energy_of_a_card(
    cli: Callable[..., int], workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    Cockpit(workspace).store.add(lambda number: make_round(number, result=Result(energy_kwh=0.125)))
    Cockpit(workspace).store.add(lambda number: make_round(number))
    assert cli("show", "1") == 0
    assert ["energy", "0.12", "kWh"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert cli("show", "2") == 0
    assert "energy" not in capsys.readouterr().out


def test_diff_tells_the_fields_and_how_the_result_moved(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("diff", "2", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["train.learning_rate", "5e-5", "2e-5"],
        ["train.num_train_epochs", "4", "5"],
        ["train.warmup_steps", "100", "300"],
    ]
    assert lines[-2] == "perplexity rose: 3.16 -> 3.19 (+0.9 %)"
    assert lines[-1].startswith("round 2 kept no scores of its held-out rows")


def test_new_queues_a_clone_with_changes(
    cli: Callable[..., int], workspace: Workspace, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Cockpit(workspace).store
    store.add(lambda number: make_round(number, spec=nano_spec))
    words = ("--from", "1", "--set", "lora.r=16", "--name", "wide", "--note", "why", "--hold", "--json")
    assert cli("new", *words) == 0
    printed = printed_json(capsys)
    queued = store.get(2)
    assert (printed["number"], printed["status"]) == (2, "held")
    assert (queued.parent, queued.name, queued.note, queued.spec.lora.r) == (1, "wide", "why", 16)


def test_new_asks_the_hub_before_it_queues(
    cli: Callable[..., int],
    workspace: Workspace,
    nano_spec: Spec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ask(data: DataSpec) -> tuple[str, ...]:
        if data.name == "mian":
            raise DatasetError("data.name is mian, but openai/gsm8k has main, socratic")
        return ("the hub has not said",)

    monkeypatch.setattr("engine.preflight.checks.check_hub_data", ask)
    words = (*settings(change_spec(nano_spec, data__path="openai/gsm8k", data__samples=20)), "--hold")
    assert cli("new", *words, "--set", "data.name=mian") == 2
    assert "has main, socratic" in capsys.readouterr().err
    assert cli("new", *words, "--set", "data.samples=0") == 2  # without a question
    assert cli("new", *words) == 0
    (queued,) = Cockpit(workspace).store.rounds()
    assert queued.warnings[-1] == "the hub has not said"


def test_run_waits_for_the_end_and_tells_it(
    cli: Callable[..., int], nano_spec: Spec, script: Follow, capsys: pytest.CaptureFixture[str]
) -> None:
    script(Script(steps=20))
    assert cli("run", *settings(nano_spec), "--json") == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert printed["status"] == "finished"
    assert printed["result"]["eval_loss"] == loss_at(20, 20)
    assert "step 10 " in captured.err and "base model: held-out perplexity" in captured.err


@pytest.mark.parametrize("mishap", [Script(steps=9, fail_at=4), Script(steps=9, die_at=4), Script(steps=9, quit_at=4)])
def test_run_that_does_not_finish_exits_with_1(
    cli: Callable[..., int], nano_spec: Spec, script: Follow, mishap: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script(mishap)
    assert cli("run", *settings(nano_spec)) == 1
    assert "message" in capsys.readouterr().out


def test_round_is_held_released_stopped_resumed_and_removed(
    cli: Callable[..., int], workspace: Workspace, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=6))
    store = Cockpit(workspace).store
    assert cli("new", *settings(nano_spec), "--hold") == 0
    assert cli("stop", "1") == 0
    assert store.get(1).status is Status.STOPPED
    assert cli("resume", "1") == 0
    await_status(store, 1, Status.FINISHED)
    assert cli("new", "--from", "1", "--hold") == 0
    assert cli("release", "2") == 0
    await_status(store, 2, Status.FINISHED)
    assert cli("rm", "1") == 0
    assert [round_.number for round_ in store.rounds()] == [2]


def test_queued_round_is_held(workspace: Workspace, nano_spec: Spec) -> None:
    words = ["--workspace", str(workspace.root)]
    main(["new", *settings(nano_spec), *words], lambda _: None)
    assert main(["hold", "1", *words], lambda _: None) == 0
    assert Cockpit(workspace).store.get(1).status is Status.HELD


def test_export_prints_and_writes_the_comparison(
    reference: Callable[..., int], reference_workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = Cockpit(reference_workspace).store.rounds()
    assert reference("export") == 0
    assert capsys.readouterr().out == to_markdown(rounds)
    assert reference("export", "--format", "json", "2", "4") == 0
    assert [item["number"] for item in printed_json(capsys)] == [2, 4]
    file = tmp_path / "rounds.csv"
    assert reference("export", "--format", "csv", "-o", str(file)) == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [float(row["perplexity"]) for row in rows] == [4.79, 3.16, 3.19, 3.62, 3.38]


def test_rebuild_brings_rounds_back_from_their_run_directories(
    cli: Callable[..., int], workspace: Workspace, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    cli("new", *settings(nano_spec), "--hold", "--note", "kept")
    for path in workspace.root.glob("experiments.json*"):
        path.unlink()
    assert cli("ls") == 2
    assert "there is no experiments.json" in capsys.readouterr().err
    assert cli("rebuild") == 0
    assert Cockpit(workspace).store.get(1).note == "kept"


def test_store_that_was_mended_is_told_in_a_line_beside_the_output(
    cli: Callable[..., int], workspace: Workspace, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    for note in ("first", "second"):
        cli("new", *settings(nano_spec), "--hold", "--note", note)
    damage(workspace.store_path, b"\x1b]0;\x07{")
    capsys.readouterr()
    assert cli("ls", "--json") == 0
    printed = capsys.readouterr()
    assert [item["note"] for item in json.loads(printed.out)] == ["first", "second"]
    (line,) = printed.err.splitlines()
    (aside,) = workspace.root.glob("experiments.json.*.damaged")
    assert line.startswith(f"loratui: {workspace.store_path} was damaged (")
    assert line.endswith(f"is kept as {aside.name}: 2 rounds recovered from experiments.json.bak1 and runs/")
    assert cli("show", "7") == 2
    told = capsys.readouterr().err.splitlines()  # again, as no person has seen it yet: the output is no terminal
    assert told == [line, "loratui: there is no round 7: `loratui ls` lists them"]


def test_new_round_where_the_store_is_gone_brings_the_others_back(
    cli: Callable[..., int], workspace: Workspace, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    for note in ("first", "second"):
        cli("new", *settings(nano_spec), "--hold", "--note", note)
    workspace.store_path.unlink()
    assert cli("new", *settings(nano_spec), "--hold", "--note", "third") == 0
    assert [round_.note for round_ in Cockpit(workspace).store.rounds()] == ["first", "second", "third"]


def test_preview_marks_what_is_supervised_and_queues_nothing(
    cli: Callable[..., int], workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text('question,answer\nWho?,"Tom\x1b[31m"\nWhat?,"a lamp, red"\n')
    words = ("--preset", "nano", "--set", f"data.path={rows}", "--set", "data.samples=")
    before = workspace.store_path.read_bytes()
    assert cli("preview", *words, "--row", "2") == 0
    facts, _, text = capsys.readouterr().out.partition("\n\n")
    assert facts.splitlines()[0].startswith("prompt-completion rows (prompt: question, completion: answer) · longest ")
    assert facts.splitlines()[1] == "lengths 9 █  █ 12 tokens"
    assert facts.splitlines()[2].startswith("row 2 of 2: ")
    assert facts.splitlines()[3].startswith("! there is no space between prompt and completion")
    assert text == "<s>What?⟦a lamp, red</s>⟧\n"
    template = ("--set", r"data.prompt_template=Q: {prompt}\nA:")
    assert cli("preview", *words, *template) == 0
    assert capsys.readouterr().out.endswith("\n\n<s>Q: Who?\nA:⟦Tom␛[31m</s>⟧\n")
    assert cli("preview", *words, "--json") == 0
    printed = printed_json(capsys)
    assert (printed["row"], printed["rows"], printed["found"]["format"]) == (1, 2, "prompt-completion")
    assert [segment["supervised"] for segment in printed["segments"]] == [False, True]
    assert workspace.store_path.read_bytes() == before


def test_plan_says_what_a_round_would_be_and_queues_nothing(
    cli: Callable[..., int], workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = workspace.store_path.read_bytes()
    words = ("--preset", "nano", "--set", "train.learning_rate=1e-5", "--set", "lora.use_dora=true")
    assert cli("plan", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("alpaca rows") and any("steps" in line for line in lines)
    reason = [line.partition(" is ")[0] for line in lines].index("low-rate: train.learning_rate")
    assert lines[reason + 1 : reason + 3] == [
        "    --set train.learning_rate=0.0002",
        "    https://thinkingmachines.ai/blog/lora/",
    ]
    assert cli("plan", *words, "--json") == 0
    printed = printed_json(capsys)
    assert printed["plan"]["total_steps"] > 0 and printed["adapter"]["parameters"] > 0
    remedies = {remark["rule"]: remark["remedy"] for remark in printed["remarks"]}
    assert remedies["low-rate"] == {"train.learning_rate": "0.0002"} and "dora-served" in remedies
    assert workspace.store_path.read_bytes() == before


def test_silenced_rule_is_named_and_not_explained(cli: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("plan", "--preset", "nano", "--set", "train.learning_rate=1e-5")
    assert cli(*words, "--silence", "low-rate") == 0
    out = capsys.readouterr().out
    assert "low-rate:" not in out and "\nsilenced: low-rate; " in out
    assert cli(*words, "--json") == 0
    assert {remark["rule"]: remark["silenced"] for remark in printed_json(capsys)["remarks"]}["low-rate"] is True
    assert cli(*words, "--unsilence", "low-rate") == 0
    assert "low-rate: " in capsys.readouterr().out


def test_silenced_rules_that_cannot_be_read_hide_no_remark(
    cli: Callable[..., int], capsys: pytest.CaptureFixture[str], empty_state: Path
) -> None:
    file = empty_state / "loratui" / "silenced-remarks"
    file.mkdir(parents=True)
    assert cli("plan", "--preset", "nano", "--set", "train.learning_rate=1e-5") == 0
    captured = capsys.readouterr()
    assert "low-rate: " in captured.out
    assert captured.err == f"loratui: {file} cannot be read: it is a directory\n"
    assert cli("plan", "--preset", "nano", "--silence", "low-rate") == 2


def test_doctor_tells_the_device_in_words_and_json(
    reference: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference("doctor", "--json") == 0
    found = {item["name"]: item for item in printed_json(capsys)}
    assert found["torch"]["ok"] and found["device"]["value"].startswith(("cpu", "cuda", "mps"))
    assert {"Python", "NVML", "terminal", "disk", "lingering", "transformers", "peft"} <= set(found)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["new", "--preset", "nano", "--set", "lora.r=0"], "lora.r is '0': it must be a whole number at least 1"),
        (["new", "--preset", "nano", "--set", "lora.x=1"], "there is no field 'lora.x'"),
        (["new", "--preset", "nano", "--set", "lora.r"], "--set takes KEY=VALUE"),
        (["preview", "--preset", "nano", "--set", "data.path=/no/rows.json"], "data.path is '/no/rows.json': no such"),
        (["new", "--preset", "nano", "--set", "data.prompt_template={x}"], "data.prompt_template is '{x}': it must be"),
        (["new", "--preset", "pico"], "there is no preset 'pico': choose one of nano, chat-sft"),
        (["new"], "model.path is empty"),
        (["new", "--from", "9"], "there is no round 9"),
        (["new", "--preset", "nano", "--set", "data.samples=999999"], "set it to at most"),
        (["show", "x"], "invalid int value: 'x'"),
        (["ls", "--sort", "speed"], "there is no column 'speed'"),
        (["ls", "--filter", "ppl<low"], "'low' is not a number"),
        (["export", "-o", "/no/such/directory/file.md"], "which cannot be written"),
        (["stop", "1"], "there is no round 1"),
        (["plan", "--silence", "all"], "'all' is not a rule: the rules are attention-only, "),
        (["plan", "--preset", "nano", "--set", "data.samples=999999"], "set it to at most"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    cli: Callable[..., int], workspace: Workspace, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = workspace.store_path.read_bytes()
    assert cli(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err and captured.err.count("\n") == 1
    assert workspace.store_path.read_bytes() == before


def test_app_without_a_terminal_is_refused(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(workspace.root)], lambda _: None) == 2
    assert "needs a terminal" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["ls"], ["show", "1"], ["export"]])
def test_absent_store_is_told_with_the_way_out(
    empty_directory: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--workspace", str(empty_directory)], lambda _: None) == 2
    assert "`loratui new` makes one" in capsys.readouterr().err


def test_new_makes_a_store_where_there_is_none(
    empty_directory: Path, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", *settings(nano_spec), "--hold", "--workspace", str(empty_directory)], lambda _: None) == 0
    assert f"made {empty_directory / 'experiments.json'}" in capsys.readouterr().err
    assert Cockpit(Workspace(empty_directory)).store.get(1).status is Status.HELD


def test_hostile_text_reaches_no_terminal(
    cli: Callable[..., int], workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b]52;c;cm0=\x07[red]\u202e"
    Cockpit(workspace).store.add(lambda number: make_round(number, name=hostile, note=hostile, message=hostile))
    for words in (["ls"], ["show", "1"], ["export"], ["show", hostile]):
        cli(*words)
        captured = capsys.readouterr()
        assert not {"\x1b", "\x07", "\u202e"} & set(captured.out + captured.err)


def test_queue_is_listed_and_put_in_order(
    idle_cockpit: Cockpit, nano_spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second", "third"):
        idle_cockpit.queue(nano_spec, name=name)
    idle_cockpit.store.update(1, status=Status.RUNNING)

    def said(*words: str) -> list[list[str]]:
        assert main([*words, "--workspace", str(idle_cockpit.workspace.root)], lambda _: None) == 0
        return [line.split()[:4] for line in capsys.readouterr().out.splitlines()[1:]]

    running = ["now", "1", "running", "first"]
    assert said("queue") == [running, ["1", "2", "queued", "second"], ["2", "3", "queued", "third"]]
    assert said("move", "3", "1") == [running, ["1", "3", "queued", "third"], ["2", "2", "queued", "second"]]
    assert main(["queue", "--json", "--workspace", str(idle_cockpit.workspace.root)], lambda _: None) == 0
    assert [item["number"] for item in printed_json(capsys)] == [1, 3, 2]
    assert main(["move", "1", "1", "--workspace", str(idle_cockpit.workspace.root)], lambda _: None) == 2
    assert "round 1 does not wait in the queue" in capsys.readouterr().err
