from __future__ import annotations

import pytest

from engine.errors import SpecError
from engine.sweeps.ranges import NumberRange, ValueList, is_range, read_range


@pytest.mark.parametrize(
    ("key", "text", "texts"),
    [
        ("lora.r", "8, 16,32", ["8", "16", "32"]),
        ("lora.r", "32,8", ["8", "32"]),  # numbers in their order
        ("lora.r", "8..32 step 8", ["8", "16", "24", "32"]),
        ("lora.r", "4..9 step 4", ["4", "8"]),
        ("lora.r", "1..3", ["1", "2", "3"]),
        ("train.learning_rate", "1e-4..5e-4 step 1e-4", ["1e-4", "2e-4", "3e-4", "4e-4", "5e-4"]),
        ("train.learning_rate", "1e-4, 2×10^-4", ["1e-4", "2e-4"]),
        ("train.warmup_steps", "5 %, 10 %", ["0.05", "0.1"]),
        ("data.samples", "100, 200", ["100", "200"]),
        ("lora.use_dora", "true, false", ["true", "false"]),
        ("lora.target_modules", "q_proj, v_proj | all-linear", ["q_proj, v_proj", "all-linear"]),
        ("lora.target_modules", r".*\.(q|v)_proj | all-linear", [r".*\.(q|v)_proj", "all-linear"]),
        ("model.path", "a, b | c", ["a, b", "c"]),
        ("data.samples", "all | 100", ["all", "100"]),
    ],
)
def test_range_has_these_values(key: str, text: str, texts: list[str]) -> None:
    assert is_range(key, text)
    range_ = read_range(key, text)
    assert [*(range_.texts if isinstance(range_, ValueList) else range_.texts())] == texts


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("data.samples", "2,600"), ("lora.r", "16"), ("lora.target_modules", "q_proj, v_proj"), ("model.path", "a,b"),
        ("model.path", "../models/a..b"), ("lora.target_modules", r".*\.(q|v)_proj"), ("no.field", "1, 2"),
    ],
)  # fmt: skip
def test_one_value_is_no_range(key: str, text: str) -> None:
    assert not is_range(key, text)


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("lora.r", "8..4", "lora.r is '8..4', from 8 to 4: write the smaller number first"),
        ("lora.r", "8..8", "lora.r is '8..8', from 8 to 8: write the number alone"),
        ("train.weight_decay", "0..1 log", "a logarithmic scale has no 0: begin above 0"),
        ("lora.r", "8, 8", "has a value twice"),
        ("lora.r", "8,", "it must be a whole number"),
        ("lora.r", "1..99999999", "it must be a whole number at least 1 and at most"),
        ("lora.r", "4..64 step 0", "its step must be above 0 and at most 60"),
        ("lora.r", "4..64 step 61", "its step must be above 0 and at most 60"),
        ("lora.r", "4..64 step x", "the step is 'x': it must be a number"),
        ("lora.r", "..4", "a range is written as 4..64"),
        ("train.learning_rate", "1e-4..1e-3 log step 2", "a range is written as 4..64"),
        ("data.samples", "all..100", "is not a number"),
    ],
)
def test_bad_range_is_refused_in_a_sentence(key: str, text: str, reason: str) -> None:
    with pytest.raises(SpecError) as refusal:
        read_range(key, text)
    assert reason in refusal.value.message and "\n" not in refusal.value.message
    assert refusal.value.key == key


def test_values_of_a_range_without_end_cannot_be_listed() -> None:
    range_ = read_range("train.learning_rate", "1e-5..1e-3 log")
    assert isinstance(range_, NumberRange)
    with pytest.raises(SpecError, match=r"such as 1e-5, 0\.001, give a step, or choose another sampler"):
        range_.texts()


def test_drawn_number_has_three_digits_and_stays_in_the_range() -> None:
    range_ = read_range("train.learning_rate", "1.2345e-5..9.8765e-4 log")
    assert isinstance(range_, NumberRange)
    assert range_.text_of(3.14159e-4) == "3.14e-4"
    assert (range_.text_of(1.2346e-5), range_.text_of(9.8764e-4)) == ("1.2345e-5", "9.8765e-4")
