from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.spec.fields import (
    build_spec,
    changed_keys,
    describe_value,
    flatten,
    format_value,
    parse_value,
    spec_fields,
)
from engine.spec.portable import with_absolute_paths
from engine.spec.schema import Spec, decode_spec
from tests.support.rounds import change_spec, make_spec

KEYS = [
    "model.path",
    "model.revision",
    "model.dtype",
    "model.load_in_4bit",
    "model.load_in_8bit",
    "model.attn_implementation",
    "model.trust_remote_code",
    "data.path",
    "data.name",
    "data.split",
    "data.revision",
    "data.format",
    "data.columns",
    "data.prompt_template",
    "data.chat_template",
    "data.samples",
    "data.mix",
    "data.eval_fraction",
    "data.eval_path",
    "data.eval_name",
    "data.eval_split",
    "data.eval_samples",
    "data.drop_copies",
    "data.max_length",
    "data.supervised_tokens",
    "data.reasoning",
    "data.seed",
    "lora.r",
    "lora.lora_alpha",
    "lora.use_rslora",
    "lora.lora_dropout",
    "lora.target_modules",
    "lora.target_parameters",
    "lora.exclude_modules",
    "lora.modules_to_save",
    "lora.trainable_token_indices",
    "lora.bias",
    "lora.use_dora",
    "lora.init_lora_weights",
    "lora.initial_adapter",
    "lora.loraplus_lr_ratio",
    "train.learning_rate",
    "train.per_device_train_batch_size",
    "train.gradient_accumulation_steps",
    "train.num_train_epochs",
    "train.max_steps",
    "train.warmup_steps",
    "train.lr_scheduler_type",
    "train.lr_scheduler_kwargs",
    "train.optim",
    "train.adam_beta1",
    "train.adam_beta2",
    "train.adam_epsilon",
    "train.weight_decay",
    "train.max_grad_norm",
    "train.logging_steps",
    "train.eval_strategy",
    "train.eval_steps",
    "train.save_strategy",
    "train.save_steps",
    "train.save_total_limit",
    "train.early_stopping_patience",
    "train.load_best_model_at_end",
    "train.sample_tokens",
    "train.gradient_checkpointing",
    "train.micro_batches",
    "train.torch_compile",
    "train.seed",
    "generation.examples",
    "generation.max_new_tokens",
]


def test_keys_are_those_of_the_contract() -> None:
    assert list(spec_fields()) == KEYS
    assert list(flatten(make_spec())) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_field_explains_itself(key: str) -> None:
    field = spec_fields()[key]
    assert field.description.endswith(".") and len(field.description) > 15
    assert field.allowed
    assert key == f"{field.group}.{field.name}"


@pytest.mark.parametrize("key", [key for key in KEYS if spec_fields()[key].choices])
def test_every_choice_is_taken_and_nothing_else(key: str) -> None:
    for choice in spec_fields()[key].choices:
        assert format_value(parse_value(key, f" {choice} ")) == choice
    with pytest.raises(SpecError, match=key):
        parse_value(key, "neither")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float_is_read_back_from_its_text(value: float) -> None:
    text = format_value(value)
    assert float(text) == value
    if value >= 0:
        assert parse_value("train.warmup_steps", text) == value


@given(st.integers(min_value=1))
def test_int_is_read_back_from_its_text(value: int) -> None:
    assert parse_value("lora.lora_alpha", format_value(value)) == value


@given(st.lists(st.from_regex(r"[a-z_.0-9]{1,12}", fullmatch=True), min_size=1, unique=True))
def test_modules_are_read_back_from_their_text(names: list[str]) -> None:
    assert parse_value("lora.target_modules", format_value(tuple(names))) == tuple(names)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_no_number_still_has_a_text(value: float) -> None:
    assert format_value(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-4, "2e-4"),
        (5e-05, "5e-5"),
        (1.25e-7, "1.25e-7"),
        (0.001, "0.001"),
        (0.1, "0.1"),
        (3.0, "3"),
        (2.5, "2.5"),
        (0.0, "0"),
        (None, ""),
        (True, "true"),
        (("q_proj", "v_proj"), "q_proj, v_proj"),
        ("all-linear", "all-linear"),
    ],
)
def test_value_is_written_as_a_person_types_it(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lora.r", "16", 16),
        ("lora.lora_alpha", "1e3", 1000),
        ("lora.lora_alpha", "1.5e1", 15),
        ("train.learning_rate", " 2E-4 ", 2e-4),
        ("train.learning_rate", ".001", 0.001),
        ("train.num_train_epochs", "3", 3.0),
        ("train.gradient_checkpointing", "True", True),
        ("data.samples", "", None),
        ("data.samples", "2600", 2600),
        ("lora.target_modules", "q_proj,v_proj , q_proj,", ("q_proj", "v_proj")),
        ("lora.target_modules", "all-linear", "all-linear"),
        ("lora.exclude_modules", "lm_head, all-linear", ("lm_head", "all-linear")),
        ("lora.exclude_modules", r".*\.[01]\..*", r".*\.[01]\..*"),
        ("lora.exclude_modules", "none", None),
        ("lora.modules_to_save", "lm_head,norm", ("lm_head", "norm")),
        ("lora.modules_to_save", "", None),
        ("lora.trainable_token_indices", "5, <|im_end|>,5,", (5, "<|im_end|>")),
        ("lora.trainable_token_indices", "none", None),
        ("data.path", "my data.jsonl", "my data.jsonl"),
    ],
)
def test_text_is_read(key: str, text: str, value: Any) -> None:
    read = parse_value(key, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "allowed"),
    [
        ("lora.r", "0", "a whole number at least 1 and at most 4096"),
        ("lora.r", "5000", "a whole number at least 1 and at most 4096"),
        ("lora.r", "1.5", "a whole number"),
        ("lora.r", "1.55e1", "a whole number"),
        ("lora.r", "", "a whole number"),
        ("lora.r", "1e999", "a whole number"),
        ("lora.r", "nan", "a whole number"),
        ("lora.r", "inf", "a whole number"),
        ("data.samples", "1", "a whole number at least 2, or empty for all"),
        ("data.eval_fraction", "1", "a number at least 0 and below 1"),
        ("lora.lora_dropout", "1.0", "a number at least 0 and below 1"),
        ("train.learning_rate", "nan", "a number above 0 and at most 10"),
        ("train.learning_rate", "inf", "a number above 0 and at most 10"),
        ("train.learning_rate", "1e999", "a number above 0 and at most 10"),
        ("train.learning_rate", "1e-999", "a number above 0 and at most 10"),
        ("train.learning_rate", "0,001", "a number above 0 and at most 10"),
        ("train.warmup_steps", "-1", "a number at least 0"),
        ("train.warmup_steps", "-inf", "a number at least 0"),
        ("train.warmup_steps", "inf", "a number at least 0"),
        ("train.gradient_checkpointing", "yes", "one of auto, true, false"),
        ("train.save_strategy", "never", "one of no, epoch, steps"),
        ("model.dtype", "fp16", "one of auto, float32, bfloat16, float16"),
        ("model.path", "  ", "a name or a path"),
        ("lora.modules_to_save", "(lm_)?head", "module names separated by commas, or empty for none"),
        ("lora.target_modules", " , ", "module names separated by commas, all-linear, or a regular"),
        ("lora.target_modules", "q_proj v_proj", "module names separated by commas, all-linear, or a regular"),
        ("lora.target_modules", "q_proj\tv_proj", "module names separated by commas, all-linear, or a regular"),
    ],
)
def test_refusal_names_field_value_and_what_is_allowed(key: str, text: str, allowed: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_value(key, text)
    assert caught.value.key == key
    assert caught.value.message.startswith(f"{key} is {text.strip()!r}: it must be {allowed}")
    assert "\n" not in caught.value.message


@given(st.sampled_from(KEYS), st.text())
def test_any_text_is_read_or_refused(key: str, text: str) -> None:
    try:
        value = parse_value(key, text)
    except SpecError as error:
        assert error.key == key
    else:
        changed = flatten(change_spec(make_spec(), **{key.replace(".", "__"): value}))
        assert changed[key] == value


def test_unknown_key_is_refused_with_the_known() -> None:
    for refuse in (lambda: parse_value("lora.alpha", "1"), lambda: build_spec({"lora.alpha": 1})):
        with pytest.raises(SpecError, match=r"no field 'lora.alpha'.*lora\.lora_alpha") as caught:
            refuse()
        assert caught.value.key == "lora.alpha"


@pytest.mark.parametrize("key", ["model.path", "data.path"])
@pytest.mark.parametrize("value", ["", None])
def test_spec_needs_model_and_data(key: str, value: str | None) -> None:
    values: dict[str, Any] = {"model.path": "m", "data.path": "d"} | {key: value}
    with pytest.raises(SpecError, match=f"{key} is empty") as caught:
        build_spec(values)
    assert caught.value.key == key


def test_what_is_left_out_keeps_its_default() -> None:
    spec = build_spec({"model.path": "m", "data.path": "d", "lora.r": 4})
    assert spec.lora.r == 4
    assert spec.lora.lora_alpha == 32
    assert spec.train.learning_rate == 2e-4
    assert spec.data.samples is None


@pytest.mark.parametrize(
    ("nested", "place"),
    [
        ({"model": {"path": "m"}}, "data"),
        ({"model": {"path": "m"}, "data": {"path": "d"}, "lora": {"r": 0}}, "lora.r"),
        ({"model": {"path": "m"}, "data": {"path": "d"}, "lora": {"rank": 8}}, "rank"),
        ({"model": {"path": "m"}, "data": {"path": "d"}, "lora": {"target_modules": [""]}}, "target_modules"),
        (
            {"model": {"path": "m"}, "data": {"path": "d"}, "lora": {"target_modules": "q_proj"}},
            "target_modules is 'q_proj', which is not a regular expression: put names into a list",
        ),
        ({"model": {"path": "m"}, "data": {"path": "d"}, "train": {"warmup_steps": math.nan}}, "warmup_steps"),
        ({"model": {"path": "m"}, "data": {"path": "d"}, "train": {"seed": 2**32}}, "seed"),
        ([], "object"),
        (None, "object"),
    ],
)
def test_nested_spec_that_is_wrong_is_refused_where_it_is_wrong(nested: object, place: str) -> None:
    with pytest.raises(SpecError) as caught:
        decode_spec(nested)
    assert place in caught.value.message


def test_spec_survives_json() -> None:
    spec = make_spec(lora__target_modules=("a", "b"), data__samples=None, train__warmup_steps=0.03)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=Spec) == spec
    assert decode_spec(msgspec.to_builtins(spec)) == spec
    assert build_spec(flatten(spec)) == spec


def test_changed_keys_are_those_that_differ_in_order() -> None:
    spec = make_spec()
    other = change_spec(spec, train__seed=1, lora__r=9, model__path="x")
    assert changed_keys(spec, other) == ["model.path", "lora.r", "train.seed"]
    assert changed_keys(spec, spec) == []


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        ("./models/tiny", True),
        ("../up", True),
        ("rows.jsonl", True),
        ("there", True),
        ("a/b/c", True),
        ("/rooted", True),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", False),
        ("gpt2", False),
        ("embedded:nano", False),
        ("x" * 5000, False),
    ],
)
def test_local_paths_become_absolute_and_hub_names_stay(tmp_path: Path, path: str, absolute: bool) -> None:
    (tmp_path / "there").mkdir()
    spec = with_absolute_paths(make_spec(model__path=path, data__path=path), tmp_path)
    expected = str((tmp_path / path).resolve()) if absolute else path
    assert (spec.model.path, spec.data.path) == (expected, expected)
    assert with_absolute_paths(spec, Path("/elsewhere")) == spec


def test_home_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = with_absolute_paths(make_spec(data__path="~/rows.json"), Path("/elsewhere"))
    assert spec.data.path == str(tmp_path / "rows.json")


def test_spec_of_an_earlier_version_means_what_it_meant() -> None:
    """The fields it lacks are filled in with what was done before they were there."""
    old = msgspec.to_builtins(make_spec())
    for section, names in {
        "model": ("load_in_4bit", "trust_remote_code"),
        "lora": ("use_rslora", "use_dora", "init_lora_weights", "loraplus_lr_ratio"),
        "train": (
            *("lr_scheduler_type", "weight_decay", "max_grad_norm", "save_total_limit"),
            *("early_stopping_patience", "load_best_model_at_end", "sample_tokens"),
        ),
    }.items():
        for name in names:
            del old[section][name]
    spec = decode_spec(old)
    assert spec == make_spec()
    assert (spec.train.lr_scheduler_type, spec.train.weight_decay, spec.train.max_grad_norm) == ("linear", 0.0, 1.0)
    assert (spec.lora.init_lora_weights, spec.lora.loraplus_lr_ratio, spec.train.save_total_limit) == (
        "true",
        None,
        None,
    )
    assert not (spec.model.load_in_4bit or spec.model.trust_remote_code or spec.lora.use_rslora or spec.lora.use_dora)
    assert (spec.train.early_stopping_patience, spec.train.load_best_model_at_end) == (None, False)


@pytest.mark.parametrize(
    ("key", "word"),
    [("data.samples", "all"), ("train.early_stopping_patience", "off"), ("lora.loraplus_lr_ratio", "off")],
)
def test_field_that_may_be_empty_has_a_word_for_it(key: str, word: str) -> None:
    assert describe_value(key, None) == word and word in spec_fields()[key].allowed
    assert parse_value(key, word) is None and parse_value(key, " ") is None
    assert describe_value(key, 5) == "5"
    with pytest.raises(SpecError):
        parse_value(key, "none")
