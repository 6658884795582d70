from __future__ import annotations

import pytest

from engine.errors import SpecError
from engine.spec.fields import flatten
from engine.spec.schema import Spec
from engine.sweeps.expressions import is_expression, read_expression
from engine.sweeps.space import checked_space, read_space


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lora.lora_alpha", "2*r", 32),
        ("lora.lora_alpha", "= 2 * lora.r", 32),
        ("lora.lora_alpha", "(r + 8) // 3 % 5", 3),
        ("lora.lora_alpha", "r ** 0.5 * 4", 16),
        ("train.learning_rate", "2e-4 / r", 1.25e-5),
        ("train.learning_rate", "-1e-4 + 32e-4 / r", 1e-4),
    ],
)
def test_expression_has_the_value_of_its_arithmetic(key: str, text: str, value: float, nano_spec: Spec) -> None:
    values = flatten(nano_spec) | {"lora.r": 16}
    assert is_expression(key, text)
    assert read_expression(key, text).value(values) == pytest.approx(value)


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("lora.lora_alpha", "r.__class__", "is not a field"),
        ("lora.lora_alpha", "exec(r)", "only numbers, names of fields"),
        ("lora.lora_alpha", "[r][0]", "only numbers, names of fields"),
        ("lora.lora_alpha", "r if r else 2", "only numbers, names of fields"),
        ("lora.lora_alpha", "r +", "write arithmetic on other fields, such as 2*r"),
        ("lora.lora_alpha", "r + " * 60 + "1", "write arithmetic on other fields"),
        ("lora.lora_alpha", "lora_alpha + r", "depends on itself"),
        ("lora.lora_alpha", "2 * optim + r", "names 'optim', which is not a number"),
        ("lora.lora_alpha", "2*seed", "write data.seed or train.seed"),
    ],
)
def test_text_that_is_no_arithmetic_is_refused(key: str, text: str, reason: str) -> None:
    with pytest.raises(SpecError) as refusal:
        read_expression(key, text)
    assert reason in refusal.value.message


@pytest.mark.parametrize("text", ["r / 3", "r / (r - 16)", "r ** 9 ** 9", "r - 99"])
def test_result_that_is_not_allowed_is_refused(text: str, nano_spec: Spec) -> None:
    values = flatten(nano_spec) | {"lora.r": 16}
    with pytest.raises(SpecError, match=r"lora\.lora_alpha is"):
        read_expression("lora.lora_alpha", text).value(values)


def test_settings_with_one_value_are_not_of_the_space() -> None:
    space, single = read_space(["lora.r=8,16", "train.seed=3", "lora.lora_alpha=2*r", "data.samples=2,600"])
    assert [*space.ranges] == ["lora.r"] and [*space.expressions] == ["lora.lora_alpha"]
    assert single == ["train.seed=3", "data.samples=2,600"]


def test_later_setting_of_a_field_wins() -> None:
    space, single = read_space(["lora.r=8,16", "lora.r=4"])
    assert not space.ranges and single == ["lora.r=4"]


def test_grid_has_each_combination_once(nano_spec: Spec) -> None:
    space, _ = read_space(["lora.r=8,16", "train.learning_rate=1e-4,2e-4,3e-4", "lora.lora_alpha=2*r"])
    specs = [space.spec_at(nano_spec, point) for point in space.grid()]
    seen = [(spec.lora.r, spec.train.learning_rate, spec.lora.lora_alpha) for spec in specs]
    assert seen == [(r, rate, 2 * r) for r in (8, 16) for rate in (1e-4, 2e-4, 3e-4)]


def test_expressions_may_name_each_other_but_not_in_a_circle(nano_spec: Spec) -> None:
    space, _ = read_space(["lora.r=8,16", "train.warmup_steps=lora_alpha/2", "lora.lora_alpha=2*r"])
    spec = space.spec_at(nano_spec, {"lora.r": "8"})
    assert (spec.lora.lora_alpha, spec.train.warmup_steps) == (16, 8)
    circle, _ = read_space(["lora.r=8,16", "train.warmup_steps=lora_alpha/2", "lora.lora_alpha=2*warmup_steps"])
    with pytest.raises(SpecError, match=r"lora\.lora_alpha and train\.warmup_steps depend on each other"):
        circle.spec_at(nano_spec, {"lora.r": "8"})


def test_grid_of_too_many_points_is_refused() -> None:
    space, _ = read_space(["lora.r=1..1000", "train.seed=1..1000000", "data.seed=1..1000"])
    with pytest.raises(SpecError, match=r"train\.seed has 1,000,000 values, more than 10,000"):
        space.grid()
    space, _ = read_space(["lora.r=1..1000", "data.seed=1..1000"])
    with pytest.raises(SpecError, match="the grid has 1,000,000 points, more than 10,000"):
        space.grid()


def test_corners_must_be_specs(nano_spec: Spec) -> None:
    space, _ = read_space(["lora.r=8,16", "lora.lora_alpha=r-8"])
    with pytest.raises(SpecError, match=r"lora\.lora_alpha is 'r-8'"):
        checked_space(space, nano_spec)
    with pytest.raises(SpecError, match="no field has several values"):
        checked_space(read_space(["lora.r=8"])[0], nano_spec)
