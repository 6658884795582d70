"""MemoryNeed before a round starts, against arithmetic by hand and a peak that was measured on a GPU."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.planning.activations import activations_of
from engine.planning.devices import Device
from engine.planning.memory import MemoryNeed, base_bytes, memory_need
from engine.planning.row_lengths import RowLengths, SetLengths, TrainedRows, trained_rows
from engine.preflight.adapter_size import adapter_size
from engine.spec.plan import make_plan
from engine.spec.schema import ModelSpec, Spec
from tests.support.rounds import change_spec, make_spec
from tests.support.shapes import write_llama_shapes, write_shapes

GIB = 2**30
ROWS = 900


def card(gib: float) -> Device:
    return Device("card", is_gpu=True, free=round(gib * GIB), total=round(gib * GIB), bfloat16=True)


def need(spec: Spec, device: Device) -> MemoryNeed:
    memory = memory_need(spec, make_plan(spec, ROWS), device)
    assert memory is not None
    return memory


@pytest.fixture
def reference_spec(tmp_path: Path) -> Spec:
    """The reference's first round, on a model in the shape of TinyLlama."""
    return make_spec(
        model__path=str(write_llama_shapes(tmp_path / "tinyllama")), model__dtype="auto", lora__r=8,
        lora__lora_dropout=0.1, lora__target_modules=("q_proj", "v_proj"), data__max_length=512,
        train__per_device_train_batch_size=4, train__gradient_accumulation_steps=8,
    )  # fmt: skip


def test_parts_of_tinyllama_are_those_by_hand(reference_spec: Spec) -> None:
    memory = need(reference_spec, card(141))
    matrices = 22 * (2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632)
    parameters = 2 * 32000 * 2048 + matrices + (2 * 22 + 1) * 2048
    trained = 22 * 8 * (2048 + 2048 + 2048 + 256)
    assert memory.base == 2 * parameters == 2 * 1_100_048_384  # as its model card has it
    assert (memory.adapter, memory.gradients, memory.optimizer) == (4 * trained, 4 * trained, 8 * trained)
    assert memory.fixed == 2 * parameters + 16 * trained


def test_peak_is_what_a_gpu_was_measured_to_allocate(reference_spec: Spec) -> None:
    """20.6 GiB on an H200 (benchmarks/RESULTS.md): 32 of its rows were cut at 512 tokens."""
    memory = need(reference_spec, card(139.8))
    assert memory.peak is not None and memory.peak / GIB == pytest.approx(20.6, rel=0.05)
    assert memory.verdict == "fits" and not memory.recompute


def test_embeddings_that_share_their_weights_count_once(tmp_path: Path) -> None:
    tied, untied = (write_llama_shapes(tmp_path / str(each), tied=each) for each in (True, False))
    difference = base_bytes(untied, ModelSpec(str(untied)), 2) - base_bytes(tied, ModelSpec(str(tied)), 2)
    assert difference == 2 * 32000 * 2048


def test_4_bits_hold_the_linear_layers_alone(reference_spec: Spec) -> None:
    in_4bit = need(change_spec(reference_spec, model__load_in_4bit=True), card(15))
    linear = 22 * (2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632)
    rest = 4 * (2 * 32000 * 2048 + (2 * 22 + 1) * 2048)  # peft holds it in float32
    assert in_4bit.base == pytest.approx(linear * (0.5 + 0.127 / 8) + rest, rel=1e-3)  # 4.127 bits, as QLoRA counts


def test_more_memory_never_changes_that_it_fits(reference_spec: Spec) -> None:
    verdicts = [need(reference_spec, card(gib / 10)).verdict for gib in range(1, 200)]
    order = ["does not fit", "fits with recomputation", "fits"]
    assert verdicts == sorted(verdicts, key=order.index) and {*verdicts} == {*order}


def test_a_setting_for_recomputation_is_followed(reference_spec: Spec) -> None:
    cards = [card(gib / 10) for gib in range(1, 200)]
    scarce = next(card for card in cards if need(reference_spec, card).verdict == "fits with recomputation")
    never = need(change_spec(reference_spec, train__gradient_checkpointing=False), scarce)
    assert (never.verdict, never.remedy["train.gradient_checkpointing"]) == ("does not fit", "auto")
    assert need(change_spec(reference_spec, train__gradient_checkpointing=True), card(100)).recompute


def test_each_remedy_makes_it_fit(reference_spec: Spec) -> None:
    never = change_spec(reference_spec, train__gradient_checkpointing=False)
    device = card(2.6)
    remedy = need(never, device).remedy
    assert {*remedy} == {"train.gradient_checkpointing", "model.load_in_4bit", "data.max_length"}
    assert need(change_spec(never, model__load_in_4bit=True), device).verdict == "fits"
    assert need(change_spec(never, train__gradient_checkpointing="auto"), device).verdict == "fits with recomputation"


def test_length_that_is_offered_is_the_longest_that_fits(reference_spec: Spec) -> None:
    never = change_spec(reference_spec, data__max_length=2048, train__gradient_checkpointing=False)
    length = int(need(never, card(4.0)).remedy["data.max_length"])
    assert need(change_spec(never, data__max_length=length), card(4.0)).verdict == "fits"
    assert need(change_spec(never, data__max_length=length + 8), card(4.0)).verdict == "does not fit"


def test_what_cannot_fit_has_no_remedy(reference_spec: Spec) -> None:
    memory = need(reference_spec, card(0.5))
    assert (memory.verdict, memory.remedy) == ("does not fit", {})


def test_processor_holds_less_at_once_and_its_process_counts(reference_spec: Spec) -> None:
    processor = Device("processor", is_gpu=False, free=64 * GIB, total=64 * GIB, bfloat16=False)
    memory = need(reference_spec, processor)
    assert memory.base == 4 * 1_100_048_384 and memory.process > 0
    assert memory.peak is not None and memory.row is not None
    half = need(reference_spec, msgspec.structs.replace(processor, bfloat16=True))
    assert half.base == 2 * 1_100_048_384
    pissa = change_spec(reference_spec, lora__init_lora_weights="pissa")
    assert need(pissa, msgspec.structs.replace(processor, bfloat16=True)).base == 4 * 1_100_048_384


def test_fixed_micro_batches_are_counted_as_written(reference_spec: Spec) -> None:
    peaks = {
        batch: need(
            change_spec(reference_spec, train__micro_batches="fixed", train__per_device_train_batch_size=batch),
            card(100),
        ).peak
        for batch in (1, 2, 4)
    }
    one, two, four = (peaks[batch] or 0 for batch in (1, 2, 4))
    assert four - two == pytest.approx(2 * (two - one), rel=0.05)


def test_family_that_was_not_compared_has_its_weights_alone(tmp_path: Path) -> None:
    """What is known is shown, and what is not is no figure."""
    directory = write_llama_shapes(tmp_path)
    config = msgspec.json.decode((directory / "config.json").read_bytes())
    (directory / "config.json").write_bytes(msgspec.json.encode(config | {"model_type": "apertus"}))
    spec = make_spec(model__path=str(directory), lora__target_modules=("q_proj",), model__dtype="bfloat16")
    memory = need(spec, card(15))
    assert (memory.row, memory.peak, memory.verdict) == (None, None, "unknown")
    assert memory.base == 2 * 1_100_048_384
    assert need(spec, card(1)).verdict == "does not fit"  # not even the weights


def test_model_that_is_not_here_or_stored_quantised_has_no_figures(tmp_path: Path) -> None:
    spec = make_spec(model__path="nobody/nothing")
    assert memory_need(spec, make_plan(spec, ROWS), card(15)) is None
    stored = write_shapes(tmp_path, {"model.x.weight": (2, 2)}, {"model_type": "llama", "quantization_config": {}})
    assert memory_need(make_spec(model__path=str(stored)), make_plan(spec, ROWS), card(15)) is None


@pytest.mark.parametrize("config", [{}, {"model_type": 3}, {"model_type": "llama"}, {"model_type": "mixtral"}])
@pytest.mark.parametrize("module", ["up_proj", "down_proj"])
def test_config_without_fields_gives_no_error(tmp_path: Path, config: dict[str, object], module: str) -> None:
    shapes = {f"model.layers.0.mlp.{module}.weight": (4, 2), "model.embed_tokens.weight": (9, 2)}
    directory = write_shapes(tmp_path, shapes, config)
    spec = make_spec(model__path=str(directory), lora__target_modules=(module,))
    memory_need(spec, make_plan(spec, ROWS), card(15))
    activations_of(directory, spec.lora)
    assert adapter_size(directory, spec.lora) is None or config


def rows_with(spec: Spec, lengths: tuple[int, ...], measured: int = ROWS) -> TrainedRows:
    """Rows of these lengths, in turn, of which so many were measured."""
    every = tuple(lengths[number % len(lengths)] for number in range(measured))
    rows = trained_rows(spec, make_plan(spec, ROWS), RowLengths((SetLengths(ROWS, every, (1,) * measured),)))
    assert rows is not None
    return rows


def test_lengths_that_are_the_longest_change_nothing(reference_spec: Spec) -> None:
    plan = make_plan(reference_spec, ROWS)
    known = memory_need(reference_spec, plan, card(139.8), rows_with(reference_spec, (600,)))
    assert known is not None
    assert known == msgspec.structs.replace(need(reference_spec, card(139.8)), knows_lengths=True)


def test_shorter_rows_need_less_in_proportion(reference_spec: Spec) -> None:
    """Passes of 32 rows of 128 tokens hold a quarter of what those of 512 do."""
    plan, device = make_plan(reference_spec, ROWS), card(139.8)
    known = memory_need(reference_spec, plan, device, rows_with(reference_spec, (128,)))
    bound = need(reference_spec, device)
    assert known is not None and known.peak is not None and bound.peak is not None
    logits = 2 * 256 * 2**20  # which are held some at a time
    assert known.peak - known.fixed - logits == pytest.approx((bound.peak - bound.fixed - logits) / 4, rel=0.05)
    assert (known.row_tokens, bound.row_tokens) == (128, 512)


def test_longest_row_is_that_of_the_spec_unless_all_were_measured(reference_spec: Spec) -> None:
    plan = make_plan(reference_spec, ROWS)
    some = memory_need(reference_spec, plan, card(15), rows_with(reference_spec, (128,), measured=90))
    assert some is not None
    assert (some.row_tokens, some.knows_lengths) == (512, True)


def test_length_is_offered_that_is_shorter_than_the_rows(reference_spec: Spec) -> None:
    """Rows of 600 tokens, cut at 2,048, do not fit; those of the offered length do."""
    never = change_spec(reference_spec, data__max_length=2048, train__gradient_checkpointing=False)
    memory = memory_need(never, make_plan(never, ROWS), card(2.6), rows_with(never, (600,)))
    assert memory is not None and memory.verdict == "does not fit"
    length = int(memory.remedy["data.max_length"])
    shorter = change_spec(never, data__max_length=length)
    fits = memory_need(shorter, make_plan(shorter, ROWS), card(2.6), rows_with(shorter, (600,)))
    assert length < 600 and fits is not None and fits.verdict == "fits"
