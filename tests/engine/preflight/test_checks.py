from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from engine.errors import DatasetError, ModelError, SpecError
from engine.preflight import base_model, checks
from engine.preflight.base_weights import base_weights
from engine.spec.plan import make_plan
from engine.spec.presets import EMBEDDED, load_preset
from engine.spec.schema import Spec
from tests.support.rounds import (
    LINEAR_MODULES,
    change_spec,
    make_spec,
    write_rows,
)


def damage(spec: Spec, content: bytes) -> None:
    """Put `content` in the place of the model's weights."""
    (Path(spec.model.path) / "model.safetensors").write_bytes(content)


def test_good_spec_is_planned(nano_spec: Spec) -> None:
    checked = checks.check(nano_spec)
    assert (checked.plan.train_samples, checked.plan.eval_samples, checked.plan.total_steps) == (36, 4, 9)
    assert checked.warnings == ()


def test_embedded_round_passes() -> None:
    checked = checks.check(load_preset("nano").spec)
    assert checked.plan.total_steps == 3 * 68
    assert checked.warnings == ()
    with pytest.raises(SpecError, match="c_attn"):
        checks.check(make_spec(model__path=EMBEDDED, data__path=EMBEDDED, lora__target_modules=("c_attn",)))


def test_hub_names_are_planned_without_the_network() -> None:
    checked = checks.check(load_preset("tinyllama-alpaca").spec)
    assert (checked.plan.total_steps, checked.warnings) == (222, ())
    unknown = checks.check(make_spec(data__samples=None))
    assert unknown.plan.total_steps is None
    assert unknown.warnings == ("data.samples is empty: the number of steps is known once the hub dataset is loaded",)


def test_unknown_target_module_lists_the_models_own(nano_spec: Spec) -> None:
    with pytest.raises(SpecError) as caught:
        checks.check(change_spec(nano_spec, lora__target_modules=("q_proj", "query")))
    assert caught.value.key == "lora.target_modules"
    assert "'query'" in caught.value.message
    assert ", ".join(sorted(LINEAR_MODULES)) in caught.value.message


@pytest.mark.parametrize("targets", ["all-linear", ("down_proj",), ("layers.0.block.q_proj", "k_proj")])
def test_known_target_modules_pass(nano_spec: Spec, targets: object) -> None:
    checks.check(change_spec(nano_spec, lora__target_modules=targets))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("model.safetensors", "no .safetensors weights"),
        ("tokenizer.json", "no tokenizer"),
        ("config.json", "not a model"),
    ],
)
def test_model_without_a_part_is_refused(nano_spec: Spec, file: str, reason: str) -> None:
    (Path(nano_spec.model.path) / file).unlink()
    with pytest.raises(ModelError, match=reason):
        checks.check(nano_spec)


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ('{"architectures": ["BertForMaskedLM"]}', True),
        ('{"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": true}', True),
        ('{"architectures": ["LlamaForSequenceClassification"]}', True),
        ('{"architectures": ["InternLM3ForCausalLM"]}', False),
        ('{"architectures": ["Gemma3ForConditionalGeneration"]}', False),
        ('{"architectures": ["GPT2LMHeadModel", "GPT2ForSequenceClassification"]}', False),
        ('{"architectures": [], "is_encoder_decoder": false}', False),
        ('{"architectures": "Llama"}', False),
    ],
)
def test_model_that_predicts_no_next_token_is_refused(nano_spec: Spec, config: str, refused: bool) -> None:
    (Path(nano_spec.model.path) / "config.json").write_text(config)
    with pytest.raises(ModelError, match="only causal language models can be") if refused else nullcontext():
        checks.check(nano_spec)


def test_rows_longer_than_the_models_positions_are_refused(nano_spec: Spec) -> None:
    config = Path(nano_spec.model.path) / "config.json"
    config.write_text('{"max_position_embeddings": 64}')
    checks.check(change_spec(nano_spec, data__max_length=64))
    with pytest.raises(SpecError, match="65, but this model has 64 positions: set it to at most 64"):
        checks.check(change_spec(nano_spec, data__max_length=65))
    config.write_text("[")
    with pytest.raises(ModelError, match="not a JSON object"):
        checks.check(nano_spec)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05",
        struct.pack("<Q", 1000) + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**64 - 1),
        struct.pack("<Q", 4) + b"{bad",
        struct.pack("<Q", 2) + b"[]" + b"\0" * 8,
        struct.pack("<Q", 9) + b'{"a": 12}',
        struct.pack("<Q", 9) + b'{"\xff": {}}',
        struct.pack("<Q", 50_000) + b'{"a":' * 10_000,
        b"version https://git-lfs.github.com/spec/v1\n",
    ],
    ids=[
        "empty",
        "short",
        "cut-off",
        "huge-length",
        "all-ones",
        "no-json",
        "array",
        "no-tensor",
        "no-utf8",
        "deep",
        "lfs-pointer",
    ],
)
def test_broken_weights_are_named(nano_spec: Spec, content: bytes) -> None:
    damage(nano_spec, content)
    with pytest.raises(ModelError, match=r"model\.safetensors is cut off or not a safetensors file"):
        checks.check(nano_spec)


@pytest.mark.parametrize("shape", ["[4, 4]", 4, None, {}])
def test_shape_that_is_no_list_is_no_matrix(nano_spec: Spec, shape: object) -> None:
    header = json.dumps({"a.weight": {"shape": shape}}).encode()
    damage(nano_spec, struct.pack("<Q", len(header)) + header)
    assert not base_weights(Path(nano_spec.model.path)).layers


def test_header_longer_than_the_format_allows_is_not_read(nano_spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "MAX_HEADER_BYTES", 100)
    with pytest.raises(ModelError, match="not a safetensors file"):
        checks.check(nano_spec)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.timeout(20)
def test_pipe_in_the_place_of_a_file_is_not_waited_for(nano_spec: Spec, name: str) -> None:
    file = Path(nano_spec.model.path) / name
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelError, match=rf"no config\.json|{name} cannot be read: it is"):
        checks.check(nano_spec)


def test_dangling_link_to_weights_is_named(nano_spec: Spec) -> None:
    file = Path(nano_spec.model.path) / "model.safetensors"
    file.unlink()
    file.symlink_to("gone")
    with pytest.raises(ModelError, match=r"model\.safetensors: no such file"):
        checks.check(nano_spec)


@pytest.mark.parametrize(
    "place", [lambda spec: str(Path(spec.model.path).parent), lambda spec: spec.data.path, lambda _: "/no/where"]
)
def test_directory_without_a_model_is_refused(nano_spec: Spec, place: Callable[[Spec], str]) -> None:
    path = place(nano_spec)
    with pytest.raises(ModelError, match=r"no config\.json") as caught:
        checks.check(change_spec(nano_spec, model__path=path))
    assert path in caught.value.message


@pytest.mark.parametrize("path", ["/a\0b", "/" + "n" * 5000, "~nobody-of-that-name/x", "./" + "n" * 300])
def test_impossible_paths_are_refused(nano_spec: Spec, path: str) -> None:
    with pytest.raises(ModelError):
        checks.check(change_spec(nano_spec, model__path=path))
    with pytest.raises(DatasetError):
        checks.check(change_spec(nano_spec, data__path=path))


def test_missing_data_is_refused(nano_spec: Spec) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        checks.check(change_spec(nano_spec, data__path=nano_spec.data.path + "x.jsonl"))


def test_fraction_that_leaves_no_training_row_is_refused(nano_spec: Spec) -> None:
    with pytest.raises(SpecError, match=r"none of 40 rows would be left to train on: set it lower") as caught:
        checks.check(change_spec(nano_spec, data__eval_fraction=0.99))
    assert caught.value.key == "data.eval_fraction"


def test_rows_passed_over_are_not_counted(nano_spec: Spec) -> None:
    with Path(write_rows(Path(nano_spec.data.path))).open("a") as file:
        file.write('{"instruction": "x", "output": ""}\n')
    checked = checks.check(nano_spec)
    assert checked.plan.train_samples == 36
    assert checked.warnings == ("1 row was left out; the first is row 41: its output is empty",)


@pytest.mark.parametrize(
    ("warmup", "warned"), [(0.0, False), (8.0, False), (9.0, True), (500.0, True), (0.5, False), (0.95, True)]
)
def test_warmup_that_never_ends_is_warned_of(nano_spec: Spec, warmup: float, warned: bool) -> None:
    warnings = checks.check(change_spec(nano_spec, train__warmup_steps=warmup)).warnings
    assert [("never reaches its peak" in warning) for warning in warnings] == [True] * warned


@pytest.mark.parametrize(
    ("strategy", "every", "epochs", "words"),
    [
        ("no", 4, 1.0, "train.save_strategy is no: {} after steps 4, 9"),
        (
            "epoch",
            4,
            1.0,
            "train.save_strategy is epoch, and no epoch ends before the last step, 9: {} after steps 4, 9",
        ),
        (
            "epoch",
            4,
            0.5,
            "train.save_strategy is epoch, and no epoch ends before the last step, 5: {} after steps 2, 5",
        ),
        ("steps", 500, 1.0, "train.save_steps is 500, and the round has 9 steps: {} after steps 4, 9"),
        ("steps", 8, 1.0, None),
        ("epoch", 4, 2.0, None),
        ("no", 4, 0.1, None),  # of a single step, which nothing comes before
    ],
)
def test_spec_that_would_save_nothing_before_the_end_is_told_what_is_done_about_it(
    nano_spec: Spec, strategy: str, every: int, epochs: float, words: str | None
) -> None:
    spec = change_spec(
        nano_spec, train__save_strategy=strategy, train__save_steps=every, train__num_train_epochs=epochs
    )
    resumable = ", so that a run that dies can be resumed"
    assert checks.check(spec).warnings == (
        () if words is None else (words.format("checkpoints are written") + resumable,)
    )


def test_strategy_that_saves_nothing_is_told_while_the_rows_are_unknown() -> None:
    spec = make_spec(data__samples=None, train__save_strategy="no")
    assert checks.check(spec).warnings[0] == (
        "train.save_strategy is no: a checkpoint is still written halfway and at the end"
    )


@pytest.mark.parametrize(("limit", "warned"), [(None, True), (3, False)])
def test_checkpoints_that_would_fill_the_disk_are_warned_of(nano_spec: Spec, limit: int | None, warned: bool) -> None:
    spec = change_spec(nano_spec, train__save_steps=1, train__num_train_epochs=100.0, train__save_total_limit=limit)
    warning = "900 checkpoints will be kept: set train.save_total_limit to keep only the newest"
    assert checks.check(spec).warnings == ((warning,) if warned else ())


def test_warmup_of_a_constant_schedule_is_warned_of(nano_spec: Spec) -> None:
    spec = change_spec(nano_spec, train__lr_scheduler_type="constant", train__warmup_steps=3.0)
    assert checks.check(spec).warnings == (
        "train.lr_scheduler_type is constant, which has no warm-up: train.warmup_steps 3 is used only with "
        "constant_with_warmup, linear or cosine",
    )
    assert checks.check(change_spec(spec, train__lr_scheduler_type="constant_with_warmup")).warnings == ()


@pytest.mark.parametrize(("epochs", "patience", "warned"), [(3.0, 3, True), (3.0, 2, False), (2.2, 3, True)])
def test_patience_that_never_ends_is_warned_of(nano_spec: Spec, epochs: float, patience: int, warned: bool) -> None:
    spec = change_spec(nano_spec, train__num_train_epochs=epochs, train__early_stopping_patience=patience)
    warning = (
        f"train.early_stopping_patience is {patience}, but there are only 3 evaluations: it never ends the round "
        "early; train.eval_strategy steps can plan more"
    )
    assert checks.check(spec).warnings == ((warning,) if warned else ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model__dtype": "bfloat16"},
            "lora.init_lora_weights is pissa, which splits the base weights, and in bfloat16 the parts do not add up "
            "to them exactly: set model.dtype to float32",
        ),
        (
            {"model__load_in_4bit": True},
            "lora.init_lora_weights is pissa, which splits the base weights, and those of model.load_in_4bit cannot "
            "be split: set one of the two to its default",
        ),
    ],
)
def test_pissa_on_weights_that_do_not_add_up_again_is_refused(
    nano_spec: Spec, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        checks.check(change_spec(nano_spec, lora__init_lora_weights="pissa", **settings))
    assert caught.value.message == message
    for dtype in ("float32", "auto"):
        checks.check(change_spec(nano_spec, lora__init_lora_weights="pissa", model__dtype=dtype))


def write_records(spec: Spec, *records: dict[str, str]) -> Spec:
    """The spec, its data replaced."""
    Path(spec.data.path).write_text("".join(json.dumps(record) + "\n" for record in records))
    return spec


def test_form_of_the_rows_is_found(nano_spec: Spec) -> None:
    rows = checks.check(nano_spec).rows
    assert rows is not None
    assert (str(rows.format), rows.usable) == ("alpaca rows (instruction, output)", 40)
    assert checks.check(load_preset("tinyllama-alpaca").spec).rows is None
    rows = checks.check(write_records(nano_spec, *[{"text": "a"}] * 5)).rows
    assert rows is not None
    assert str(rows.format) == "text rows (text), every token supervised"


def test_form_or_template_that_does_not_fit_is_refused(nano_spec: Spec) -> None:
    with pytest.raises(DatasetError, match=r"data\.format is messages"):
        checks.check(change_spec(nano_spec, data__format="messages"))
    spec = write_records(nano_spec, *[{"text": "a"}] * 5)
    with pytest.raises(DatasetError, match=r"0 usable rows.*has no prompt: set data.prompt_template to auto"):
        checks.check(change_spec(spec, data__prompt_template="alpaca"))


def test_prompt_that_runs_into_its_completion_is_warned_of(nano_spec: Spec) -> None:
    spec = write_records(nano_spec, *[{"prompt": "Who?", "completion": "Tom"}] * 9)
    advice = "there is no space between prompt and completion: set data.prompt_template to chat_template"
    assert any(warning.startswith(advice) for warning in checks.check(spec).warnings)
    separated = change_spec(spec, data__prompt_template=r"{prompt}\n")
    assert not any(warning.startswith(advice) for warning in checks.check(separated).warnings)


def test_settings_that_the_optimizer_does_not_use_are_warned_of(nano_spec: Spec) -> None:
    spec = change_spec(nano_spec, train__optim="adafactor", train__adam_beta2=0.95)
    assert checks.check(spec).warnings == (
        "train.adam_beta2 has no effect: train.optim is adafactor, which does not use it",
    )
    assert checks.check(change_spec(spec, train__optim="adamw_torch")).warnings == ()


def test_optimizer_without_its_package_is_refused(nano_spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"train\.optim is lion_8bit, which needs the package bitsandbytes"):
        checks.check(change_spec(nano_spec, train__optim="lion_8bit"))


def test_arguments_of_the_scheduler_are_checked(nano_spec: Spec) -> None:
    with pytest.raises(SpecError, match="linear takes no arguments"):
        checks.check(change_spec(nano_spec, train__lr_scheduler_kwargs="num_cycles=2"))


def test_steps_of_a_hub_dataset_are_known_with_max_steps() -> None:
    spec = make_spec(data__path="org/data", data__samples=None, train__max_steps=60)
    assert checks.plan_warnings(spec, make_plan(spec, None)) == []
    without = change_spec(spec, train__max_steps=None)
    assert checks.plan_warnings(without, make_plan(without, None)) == [
        "data.samples is empty: the number of steps is known once the hub dataset is loaded"
    ]
