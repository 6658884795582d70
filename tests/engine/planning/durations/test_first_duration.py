"""The time of a round by its operations, against arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.planning.devices import Device, device_named
from engine.planning.durations.duration import Duration
from engine.planning.durations.first_duration import first_duration
from engine.planning.row_lengths import RowLengths, SetLengths, TrainedRows, trained_rows
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from engine.spec.schema import Spec
from tests.support.rounds import change_spec, make_round, make_spec
from tests.support.shapes import write_llama_shapes

PROCESSOR = Device("this processor", is_gpu=False, free=2**34, total=2**34, bfloat16=True)
ROWS, LENGTH = 1000, 200
MATRICES = 22 * (2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632)
ADAPTER = 22 * 8 * (2048 + 2048 + 2048 + 256)
# Of a token of TinyLlama, 40 % of whose row is supervised: forward and backward of the matrices and of attention to 200
# tokens, whose backward is 2.5 times its forward; of the adapter also its own gradient; of the head what is supervised.
PER_TOKEN = 4 * MATRICES + 6 * ADAPTER + 3.5 * 4 * 22 * 2048 * LENGTH + 0.4 * 4 * 2048 * 32000
FORWARD = 2 * MATRICES + 2 * ADAPTER + 4 * 22 * 2048 * LENGTH + 0.4 * 2 * 2048 * 32000
TRAINED, SCORED = 2 * 900 * LENGTH, 3 * 100 * LENGTH  # two epochs; the base model and after each epoch


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return make_spec(
        model__path=str(write_llama_shapes(tmp_path / "tinyllama")), lora__r=8, data__max_length=512,
        data__eval_fraction=0.1, lora__target_modules=("q_proj", "v_proj"), train__num_train_epochs=2,
        train__max_steps=None, train__eval_strategy="epoch", train__gradient_checkpointing="auto",
    )  # fmt: skip


def rows_of(spec: Spec) -> TrainedRows:
    lengths = RowLengths((SetLengths(ROWS, (LENGTH,) * ROWS, (120,) * ROWS),))
    rows = trained_rows(spec, make_plan(spec, ROWS), lengths)
    assert rows is not None
    return rows


def foretold(spec: Spec, device: Device, *rounds: Round, matrix_rate: float | None = None) -> Duration | None:
    return first_duration(spec, make_plan(spec, ROWS), device, rows_of(spec), rounds, matrix_rate)


def finished(spec: Spec, number: int, rate: float, **fields: Any) -> Round:
    """A round whose steps computed `rate` operations in a second, as far as a result tells, with shorter rows."""
    tokens = 2 * 900 * 150
    per_token = 4 * MATRICES + 6 * ADAPTER + 3.5 * 4 * 22 * 2048 * 1.3 * 150 + 0.5 * 4 * 2048 * 32000
    result = Result(trained_tokens=tokens, train_seconds=tokens * per_token / rate)
    round_ = make_round(number, Status.FINISHED, spec=spec, result=result, device="cpu")
    return msgspec.structs.replace(round_, plan=make_plan(spec, ROWS), **fields)


def test_time_follows_from_the_published_rate_of_a_card(spec: Spec) -> None:
    """Three tenths of 65 · 10¹² operations a second, and twelve seconds to start."""
    duration = foretold(spec, device_named("T4"))
    assert duration is not None and duration.evaluations is not None
    assert duration.steps == pytest.approx(TRAINED * PER_TOKEN / (0.3 * 65e12), rel=1e-6)
    assert duration.evaluations == pytest.approx(SCORED * FORWARD / (0.3 * 65e12), rel=1e-6)
    assert duration.seconds == pytest.approx(12 + duration.steps + duration.evaluations)
    low, high = duration.interval
    assert low < duration.seconds / 1.9 and high > 2 * duration.seconds - 1
    assert (duration.is_first, duration.rounds) == (True, ())


def test_recomputed_activations_take_another_forward_pass(spec: Spec) -> None:
    once, twice = (
        foretold(change_spec(spec, train__gradient_checkpointing=each), device_named("T4")) for each in (False, True)
    )
    assert once is not None and twice is not None
    forward = PER_TOKEN - (2 * MATRICES + 4 * ADAPTER + 2.5 * 4 * 22 * 2048 * LENGTH + 0.4 * 4 * 2048 * 32000)
    assert twice.steps - once.steps == pytest.approx(TRAINED * forward / (0.3 * 65e12), rel=1e-6)


def test_processor_is_reckoned_by_its_trial(spec: Spec) -> None:
    duration = foretold(spec, PROCESSOR, matrix_rate=4e11)
    assert duration is not None
    assert duration.steps == pytest.approx(TRAINED * PER_TOKEN / (0.5 * 4e11), rel=1e-6)
    assert foretold(spec, PROCESSOR) is None


def test_rate_that_rounds_of_the_family_reached_goes_first(spec: Spec) -> None:
    """The median of three, whatever their adapters and rows; not that of another precision or of a failed round."""
    others = [finished(spec, number, rate) for number, rate in ((1, 1e11), (2, 2e11), (3, 4e11))]
    others += [
        finished(change_spec(spec, model__dtype="float32"), 4, 9e11),
        finished(spec, 5, 9e11, status=Status.FAILED),
        finished(change_spec(spec, model__path="some/model"), 6, 9e11),
    ]
    duration = foretold(spec, PROCESSOR, *others, matrix_rate=1e13)
    assert duration is not None
    assert duration.steps == pytest.approx(TRAINED * PER_TOKEN / 2e11, rel=1e-6)
    assert (duration.rounds, duration.is_first) == ((1, 2, 3), True)


def of_mistral(spec: Spec, directory: Path, layers: int = 22) -> Spec:
    """The same shapes in another family."""
    write_llama_shapes(directory, num_hidden_layers=layers)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"model_type": "mistral"}))
    return change_spec(spec, model__path=str(directory))


@pytest.fixture
def other(spec: Spec, tmp_path: Path) -> Spec:
    return of_mistral(spec, tmp_path / "mistral")


def test_guess_is_corrected_by_the_median_of_three_rounds_of_other_families(spec: Spec, other: Spec) -> None:
    """At 0.5 · 4 · 10¹¹ operations a second they would have taken 1, 5/4 and 2 of the time that they took."""
    rounds = [finished(other, number, rate) for number, rate in ((1, 2e11), (2, 1.6e11), (3, 1e11))]
    duration = foretold(spec, PROCESSOR, *rounds, matrix_rate=4e11)
    assert duration is not None and duration.evaluations is not None
    assert duration.correction == pytest.approx(1.25)
    assert duration.rounds == (1, 2, 3)
    assert duration.steps == pytest.approx(1.25 * TRAINED * PER_TOKEN / 2e11, rel=1e-6)
    assert duration.evaluations == pytest.approx(1.25 * SCORED * FORWARD / 2e11, rel=1e-6)
    few = foretold(spec, PROCESSOR, *rounds[:2], matrix_rate=4e11)
    assert few is not None and (few.correction, few.rounds) == (None, ())


def test_rate_of_the_family_is_not_corrected(spec: Spec, other: Spec) -> None:
    """It holds all by which rounds are slower than the guess."""
    rounds = [*(finished(other, number, 1e11) for number in (1, 2, 3)), finished(spec, 4, 1.6e11)]
    duration = foretold(spec, PROCESSOR, *rounds, matrix_rate=4e11)
    assert duration is not None
    assert (duration.correction, duration.rounds) == (None, (4,))
    assert duration.steps == pytest.approx(TRAINED * PER_TOKEN / 1.6e11, rel=1e-6)


def test_correction_is_at_most_twofold_and_by_the_last_ten_rounds(spec: Spec, other: Spec) -> None:
    rounds = [finished(other, number, 2e11 if number < 6 else 1e10) for number in range(1, 16)]
    duration = foretold(spec, PROCESSOR, *rounds, matrix_rate=4e11)
    assert duration is not None
    assert (duration.correction, duration.rounds) == (2.0, tuple(range(6, 16)))


@pytest.mark.parametrize(("layers", "is_corrected"), [(6, True), (5, False)])
def test_models_of_less_than_a_quarter_of_the_size_tell_nothing(
    spec: Spec, tmp_path: Path, layers: int, is_corrected: bool
) -> None:
    """Of 22 layers 5.5 are a quarter. A device computes small models at another share of its rate."""
    rounds = [finished(of_mistral(spec, tmp_path / "small", layers), number, 1e11) for number in (1, 2, 3)]
    duration = foretold(spec, PROCESSOR, *rounds, matrix_rate=4e11)
    assert duration is not None and (duration.correction is not None) is is_corrected


def test_what_is_not_known_foretells_nothing(spec: Spec) -> None:
    plan = make_plan(spec, ROWS)
    assert first_duration(spec, plan, device_named("T4"), None) is None
    assert foretold(change_spec(spec, model__path="some/model"), device_named("T4")) is None
    assert foretold(spec, device_named("X 24GB")) is None
