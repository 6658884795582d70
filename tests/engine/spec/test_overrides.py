"""`--set` lines: what is written is read back, by us and by a shell."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.spec.fields import parse_value, spec_fields
from engine.spec.overrides import is_set_line, read_set_line, set_line, spec_from_settings
from tests.support.rounds import change_spec, make_spec


def test_line_has_exactly_the_changes() -> None:
    base = make_spec()
    changed = change_spec(base, train__learning_rate=3e-5, lora__target_modules=("q_proj", "k_proj"))
    line = set_line(changed, base)
    assert line == "--set 'lora.target_modules=q_proj, k_proj' --set train.learning_rate=3e-5"
    assert set_line(base, base) == ""
    settings = [word for word in shlex.split(line) if word != "--set"]
    assert spec_from_settings(base, settings) == changed, "as a shell hands it to loratui new"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(lambda text: f"data {text}"))
def test_any_text_comes_back(path: str) -> None:
    base = make_spec()
    line = set_line(change_spec(base, data__path=path), base)
    assert read_set_line(line).settings == {"data.path": path}


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("--set lora.r=16", {"lora.r": "16"}),
        ("--set=lora.r=16 --set train.seed=1", {"lora.r": "16", "train.seed": "1"}),
        ("  --set lora.r=8 --set lora.r=16\n", {"lora.r": "16"}),
        ("loratui new --preset nano --set lora.r=16 --hold", {"lora.r": "16"}),
        ("loratui run \\\n  --set lora.r=16 \\\n  --set 'data.prompt_template=Q: {prompt}'",
         {"lora.r": "16", "data.prompt_template": "Q: {prompt}"}),
    ],
)  # fmt: skip
def test_pasted_lines_are_read(text: str, settings: dict[str, str]) -> None:
    assert is_set_line(text)
    assert read_set_line(text).settings == settings


def test_name_and_note_are_read_and_the_rest_is_named() -> None:
    line = read_set_line('loratui new --from 3 --json --name wide --note "why not" --set lora.r=16')
    assert (line.name, line.note) == ("wide", "why not")
    assert line.left_out == ("--from 3", "--json")


@pytest.mark.parametrize("text", ["2e-4", "q_proj", "", "loratui", "-- set", "--settle"])
def test_value_is_not_read_as_a_line(text: str) -> None:
    assert not is_set_line(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--set lora.r", "--set takes KEY=VALUE"),
        ("--set lora.R=1", "which is not a field"),
        ("--set 'lora.r=1", "copy it whole, with its quotes"),
        ("--set lora.r=1 --set", "ends after --set"),
    ],
)
def test_line_that_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_set_line(text)


@pytest.mark.parametrize(
    "text", ["2e-4", "2E-4", "0.0002", ".0002", "2e−4", "2 e-4", "2×10^-4", "2 x 10^-4", "2*10**-4", "2·10⁻⁴", "0.02 %"]
)
def test_learning_rate_is_read_as_people_type_it(text: str) -> None:
    assert parse_value("train.learning_rate", text) == 2e-4


@pytest.mark.parametrize("text", ["0,0002", "1e-", "1e-4...", "2e-4x", "1e5", "-1e-4", "nan", "10^", "two"])
def test_what_is_no_learning_rate_is_refused(text: str) -> None:
    """A comma may mean a point or thousands, so it is not guessed at."""
    with pytest.raises(SpecError, match=r"train\.learning_rate is .* it must be a number above 0 and at most 10"):
        parse_value("train.learning_rate", text)


@pytest.mark.parametrize("text", ["2600", "2,600", "2.6e3", "26×10^2"])
def test_whole_number_is_read_as_people_type_it(text: str) -> None:
    assert parse_value("data.samples", text) == 2600


@pytest.mark.parametrize("text", ["2,6", "26,00", "2600.5", "2.6.0", "1e-1"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="must be a whole number"):
        parse_value("data.samples", text)


@pytest.mark.parametrize(
    ("text", "value"), [("", None), ("train", None), (" ", None), ("train_sft", "train_sft"), (" dev ", "dev")]
)
def test_name_may_be_empty_where_there_is_a_default(text: str, value: str | None) -> None:
    assert parse_value("data.split", text) == value
    assert spec_fields()["data.split"].allowed == "the name of a split, or empty for train"


def test_names_that_others_use_are_understood() -> None:
    spec = spec_from_settings(make_spec(), ["train.warmup_ratio=0.1", "train.evaluation_strategy=steps"])
    assert (spec.train.warmup_steps, spec.train.eval_strategy) == (0.1, "steps")
    assert read_set_line("--set train.warmup_ratio=3%").settings == {"train.warmup_steps": "3%"}
    assert parse_value("train.optim", "lion") == "lion_32bit"
    assert parse_value("train.max_steps", "-1") is None


@pytest.mark.parametrize("ratio", ["1", "100", "-0.1", "some"])
def test_warmup_ratio_is_never_read_as_steps(ratio: str) -> None:
    with pytest.raises(SpecError, match="warmup"):
        spec_from_settings(make_spec(), [f"train.warmup_ratio={ratio}"])
    with pytest.raises(SpecError, match="warmup"):
        read_set_line(f"--set train.warmup_ratio={ratio}")
