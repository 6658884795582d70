"""A regular expression of modules matches as peft matches it, or is refused in time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import SpecError
from engine.preflight import regular_expression
from engine.preflight.regular_expression import full_matches
from engine.preflight.target_modules import check_expression_in
from engine.spec.fields import format_value, parse_value
from engine.spec.lora import LoraSpec
from tests.support.rounds import write_model, write_safetensors

KEY = "lora.target_modules"
NAMES = [f"model.layers.{n}.{name}" for n in (1, 2, 12) for name in ("self_attn.q_proj", "mlp.up_proj")]


@pytest.mark.parametrize(
    "pattern", [r".*\.1\..*_proj", "q_proj", r"model\.layers\.(1|2)\.mlp\.up_proj", ".*", "é|[^.]"]
)
def test_whole_names_are_matched(pattern: str) -> None:
    assert full_matches(KEY, pattern, NAMES) == [name for name in NAMES if re.fullmatch(pattern, name)]


@pytest.mark.parametrize("pattern", ["*_proj", "(q|v", r"(?<=a+)b", "\ud800["])
def test_what_is_no_regular_expression_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(re.error) as theirs:
        re.compile(pattern)
    with pytest.raises(SpecError) as caught:
        full_matches(KEY, pattern, NAMES)
    assert caught.value.message == f"{KEY} is {pattern!r}, which is not a valid regular expression: {theirs.value}"


def test_expression_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular_expression, "SECONDS", 0.3)
    with pytest.raises(SpecError, match="takes too long to match"):
        full_matches(KEY, r"([a-z_.0-9]+)+!", ["model.layers.0.self_attn.q_proj" * 4])


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (r".*\.q_projx?", None),
        (r"model\.layers\.0\.self_attn\.(q|v)_proj", None),
        (r"lm_hea[d]", None),
        (r"q_pro[j]", "matches no module of this model: it has to match a whole path, such as"),
        (r".*self_attn.*", "layers.0.self_attn, which cannot get an adapter"),
        (r".*(", "not a valid regular expression"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_expression_is_checked_with_the_names_in_the_weights(
    tmp_path: Path, pattern: str, sentence: str | None, prefix: str
) -> None:
    """A checkpoint without an output head lacks the first part of the names."""
    write_model(tmp_path)
    layers = [f"{prefix}layers.0.self_attn.{name}.weight" for name in ("q_proj", "v_proj")]
    write_safetensors(tmp_path / "model.safetensors", {name: [4, 4] for name in layers})
    lora = LoraSpec(target_modules=pattern)
    if sentence is None:
        check_expression_in(tmp_path, lora)
        return
    with pytest.raises(SpecError) as caught:
        check_expression_in(tmp_path, lora)
    assert sentence in caught.value.message and caught.value.key == KEY


@pytest.mark.parametrize("text", [r".*\.layers\.[0-3]\..*_proj", "(q|v)_proj", r".*{1,2}, k_proj"])
def test_expression_is_read_back_from_its_text(text: str) -> None:
    assert parse_value(KEY, f" {text} ") == text == format_value(text)
