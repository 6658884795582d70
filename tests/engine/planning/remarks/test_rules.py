"""Remarks: each rule holds where it should, its remedy ends it, and its source can be opened."""

from __future__ import annotations

from typing import Any

import pytest

from engine.files.paths import Workspace
from engine.planning.held_out_noise import HeldOutNoise
from engine.planning.remarks.remark import Case, Remark
from engine.planning.remarks.rules import RULES, remarks_on
from engine.planning.row_lengths import RowLengths, SetLengths, trained_rows
from engine.preflight.adapter_size import AdapterSize
from engine.preflight.checks import plan_warnings
from engine.spec.fields import build_spec, flatten, parse_value
from engine.spec.plan import make_plan
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from scripts.shipped_rounds import shipped_rounds
from tests.support.processes import ROOT
from tests.support.rounds import change_spec, make_spec

ROWS = 2600
QUIET: dict[str, Any] = {  # what no rule remarks on
    "lora__target_modules": "all-linear", "lora__lora_dropout": 0.0, "train__learning_rate": 2e-4,
    "train__per_device_train_batch_size": 4, "train__gradient_accumulation_steps": 4, "train__num_train_epochs": 3.0,
    "train__warmup_steps": 0.05, "data__max_length": 1024,
}  # fmt: skip
NOISE = HeldOutNoise((4, 5), 100, 0.01)  # ten thousand rows would show 0.001 nats
MEASURED = SetLengths(1000, tuple(range(2, 1002)), (1,) * 1000)
# Settings that a rule remarks on, and the nearest that it leaves alone.
CASES: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "attention-only": [
        ({"lora__target_modules": ("q_proj", "v_proj")}, {"lora__target_modules": ("q_proj", "v_proj", "up_proj")}),
        ({"lora__target_modules": ("self_attn.q_proj",)}, {"lora__target_modules": ("mlp.up_proj",)}),
        ({"lora__target_modules": ("query_key_value",)}, {"lora__target_modules": r".*\.q_proj"}),
    ],
    "large-batch": [({"train__gradient_accumulation_steps": 8}, {"train__gradient_accumulation_steps": 7})],
    "low-rate": [
        ({"train__learning_rate": 5e-5}, {"train__learning_rate": 6e-5}),
        ({"train__learning_rate": 2e-5}, {"train__learning_rate": 2e-5, "train__optim": "lion_32bit"}),
        ({"train__learning_rate": 2e-5}, {"train__learning_rate": 2e-5, "lora__loraplus_lr_ratio": 16.0}),
    ],
    "high-rate": [({"train__learning_rate": 2e-2}, {"train__learning_rate": 1e-2})],
    "lion-rate": [
        ({"train__optim": "lion_8bit"}, {"train__optim": "lion_8bit", "train__learning_rate": 1e-4}),
        ({"train__optim": "paged_lion_8bit"}, {}),
    ],
    "long-warm-up": [({"train__warmup_steps": 0.11}, {"train__warmup_steps": 0.1})],
    "many-epochs": [
        ({"train__num_train_epochs": 3.5}, {"train__num_train_epochs": 3.0}),
        ({"train__max_steps": 500}, {"train__max_steps": 400}),
    ],
    "high-dropout": [({"lora__lora_dropout": 0.2}, {"lora__lora_dropout": 0.1})],
    "plain-high-rank": [({"lora__r": 64}, {"lora__r": 63})],
    "few-held-out": [({"data__eval_fraction": 0.03}, {"data__eval_fraction": 0.04})],
    "rows-cut": [({"data__max_length": 50}, {"data__max_length": 951})],
    "dora-served": [({"lora__use_dora": True}, {})],
    "modules-served": [({"lora__modules_to_save": ("lm_head",)}, {})],
    "rslora-served": [({"lora__use_rslora": True}, {})],
}


def remarks(spec: Spec, silenced: frozenset[str] = frozenset(), rows: int = ROWS) -> dict[str, Remark]:
    plan = make_plan(spec, rows)
    case = Case(spec, plan, AdapterSize(1000, 0.12), NOISE, trained_rows(spec, plan, RowLengths((MEASURED,))))
    on_it = remarks_on(case, silenced)
    return {remark.rule: remark for remark in on_it}


def remedied(spec: Spec, remark: Remark) -> Spec:
    """The spec with the remedy typed into the form."""
    return build_spec(flatten(spec) | {key: parse_value(key, text) for key, text in remark.remedy.items()})


def test_every_rule_has_cases() -> None:
    assert set(CASES) == set(RULES)
    assert remarks(make_spec(**QUIET)) == {}


@pytest.mark.parametrize(("rule", "number"), [(rule, number) for rule in CASES for number in range(len(CASES[rule]))])
def test_rule_remarks_on_what_its_source_says_and_no_more(rule: str, number: int) -> None:
    remarkable, unremarkable = CASES[rule][number]
    found = remarks(make_spec(**QUIET | remarkable))
    assert set(found) == {rule}
    assert rule not in remarks(make_spec(**QUIET | unremarkable))
    remark = found[rule]
    assert remark.source.startswith("https://") and remark.reason[-1] != "."
    assert ("not clear" in remark.reason) is not remark.settled
    assert set(remark.remedy) <= set(flatten(make_spec())) and remark.key in flatten(make_spec())


@pytest.mark.parametrize("rule", CASES)
def test_remedy_ends_the_remark(rule: str) -> None:
    spec = make_spec(**QUIET | CASES[rule][0][0])
    remark = remarks(spec)[rule]
    assert remark.remedy
    after = remedied(spec, remark)
    assert rule not in remarks(after)
    assert plan_warnings(after, make_plan(after, ROWS)) == plan_warnings(spec, make_plan(spec, ROWS))


@pytest.mark.parametrize(("alone", "accumulated"), [(1, 64), (4, 8), (8, 4), (12, 3), (32, 1), (256, 2)])
def test_smaller_batch_is_one_that_fits_where_the_larger_did(alone: int, accumulated: int) -> None:
    """No more rows at once than before, and not so few in a step that it is another extreme."""
    spec = make_spec(
        **QUIET | {"train__per_device_train_batch_size": alone, "train__gradient_accumulation_steps": accumulated}
    )
    after = remedied(spec, remarks(spec)["large-batch"])
    assert after.train.per_device_train_batch_size <= alone
    assert 8 <= make_plan(after, ROWS).effective_batch <= 16


def test_rank_stabilised_adapter_keeps_its_strength() -> None:
    spec = make_spec(**QUIET | {"lora__use_rslora": True, "lora__r": 16, "lora__lora_alpha": 8})
    after = remedied(spec, remarks(spec)["rslora-served"])
    assert after.lora.lora_alpha / after.lora.r == spec.lora.lora_alpha / spec.lora.r**0.5


def test_what_is_not_known_yet_is_not_remarked_on() -> None:
    spec = make_spec(**QUIET | {"train__warmup_steps": 100.0, "train__max_steps": None})
    assert remarks_on(Case(spec, make_plan(spec, None), None, NOISE)) == []


def test_long_warm_up_of_one_step_cannot_be_shorter() -> None:
    spec = make_spec(**QUIET | {"train__max_steps": 4, "train__warmup_steps": 1.0})
    assert remarks(spec) == {}


def test_silenced_rules_come_last_and_are_marked() -> None:
    spec = change_spec(make_spec(**QUIET), lora__target_modules=("q_proj",), lora__use_dora=True)
    assert [*remarks(spec)] == ["attention-only", "dora-served"]
    found = remarks(spec, frozenset({"attention-only"}))
    assert [(rule, remark.silenced) for rule, remark in found.items()] == [
        ("dora-served", False),
        ("attention-only", True),
    ]


def test_docs_say_what_the_rules_remark_on_in_the_rounds_that_ship(workspace: Workspace) -> None:
    workspace.store_path.write_bytes(shipped_rounds())
    rounds = RoundStore(workspace).rounds()
    assert len(rounds) == 5
    lines = (ROOT / "docs" / "remarks.md").read_text().splitlines()
    for round_ in rounds:
        rules = [remark.rule for remark in remarks_on(Case(round_.spec, round_.plan))]
        line = next(line for line in lines if line.startswith(f"| {round_.number} | "))
        assert line.rsplit("|", 2)[1].strip() == ", ".join(f"`{rule}`" for rule in rules)


def test_docs_name_every_rule_with_its_source() -> None:
    text = (ROOT / "docs" / "remarks.md").read_text()
    specs = [make_spec(**QUIET | cases[0][0]) for cases in CASES.values()]
    sources = {remark.source for spec in specs for remark in remarks(spec).values()}
    assert [rule for rule in RULES if f"| `{rule}` |" not in text] == []
    assert [source for source in sources if source not in text] == []


def test_length_that_is_advised_cuts_one_percent() -> None:
    """Of rows of 2 to 1,001 tokens, 99 % have at most 991: the next multiple of 8 is 992."""
    remark = remarks(make_spec(**QUIET | {"data__max_length": 501}))["rows-cut"]
    assert "data.max_length is 501, which cuts 50 % of the rows" in remark.reason
    assert "992 would cut 1 %; the longest has 1,001 tokens" in remark.reason
    assert remark.remedy == {"data.max_length": "992"}


@pytest.mark.parametrize(("positions", "advised"), [(None, "992"), (700, "700"), (501, None)])
def test_no_length_is_advised_that_the_model_does_not_have(positions: int | None, advised: str | None) -> None:
    spec = make_spec(**QUIET | {"data__max_length": 501})
    plan = make_plan(spec, ROWS)
    rows = trained_rows(spec, plan, RowLengths((MEASURED,)))
    found = [each for each in remarks_on(Case(spec, plan, rows=rows, positions=positions)) if each.rule == "rows-cut"]
    assert [each.remedy for each in found] == ([] if advised is None else [{"data.max_length": advised}])


def test_rows_to_hold_out_are_those_that_show_one_percent() -> None:
    """100 rows show 0.01 nats: 1 % of perplexity is 0.00995 nats, and takes (0.01 / 0.00995)² times as many."""
    found = remarks(make_spec(**QUIET | {"data__eval_fraction": 0.01}))["few-held-out"]
    assert "26 rows are held out: going by rounds 4 and 5" in found.reason
    assert "from 2.0 % on; for 1 % it takes 102" in found.reason
    assert found.remedy == {"data.eval_fraction": "0.04"}


@pytest.mark.parametrize("changes", [{"data__eval_path": "e.jsonl"}, {}])
def test_rows_that_are_not_there_are_no_remedy(changes: dict[str, Any]) -> None:
    spec = make_spec(**QUIET | {"data__eval_fraction": 0.1} | changes)
    plan = make_plan(spec, 90, 10)
    assert [(remark.rule, remark.remedy) for remark in remarks_on(Case(spec, plan, None, NOISE))] == [
        ("few-held-out", {})
    ]
