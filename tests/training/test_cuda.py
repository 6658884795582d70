"""Tests that need a GPU: its attention kernel, half precision, CUDA graphs, and running out of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from engine.runs.events import Finished
from engine.training.evaluation.perplexity import evaluate
from engine.training.kernels import packed_attention
from engine.training.kernels.cuda_graphs import capture, captured_length
from engine.training.kernels.head_loss import autocast
from engine.training.kernels.rms_norm import norm_sites
from engine.training.kernels.rotary import rotary_sites
from engine.training.kernels.swiglu import swiglu_sites
from engine.training.loop import evaluations
from engine.training.model.adapter import recompute_activations, trainable_parameters
from engine.training.model.forward import Forward, choose_forward
from engine.training.model.memory_budget import measure_budget
from tests.support.passes import (
    FAMILIES,
    SMALL,
    TARGETS,
    adapted,
    gradients_of,
    plain_nll,
    relative_error,
    replace_operation,
    rows_of,
)
from tests.support.rounds_to_train import figures_of, make_run, prepared_in, steps_of, train_here, warned_in

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
]

CUDA = torch.device("cuda")
LENGTHS = (31, 5, 64, 12, 12)
ROUNDING = {torch.float32: 1e-5, torch.float16: 0.01, torch.bfloat16: 0.05}
MIB = 2**20


@pytest.fixture
def exact_products() -> Any:
    """Multiply float32 without TF32, which the engine uses on a GPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The longest row of each call of the varlen kernel."""
    calls: list[int] = []
    varlen = packed_attention._varlen

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(arguments[-1])
        return varlen(*arguments)

    monkeypatch.setattr(packed_attention, "_varlen", counted)
    return calls


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("dtype", list(ROUNDING), ids=str)
@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_gradients_are_those_of_rows_alone_on_a_cpu(
    family: str, dtype: torch.dtype, recompute: bool, exact_products: None
) -> None:
    rows, targets = rows_of(*LENGTHS), TARGETS.get(family, "all-linear")
    exact = adapted(FAMILIES[family], targets)
    theirs = plain_nll(exact, rows)
    gradients = gradients_of(exact, theirs)
    model = adapted(FAMILIES[family], targets, dtype).to(CUDA)
    for sites_of in (norm_sites, rotary_sites, swiglu_sites):
        replace_operation(sites_of, model, dtype)
    forward = choose_forward(model, CUDA, dtype, max(LENGTHS))
    assert forward.packed == (family != "gemma2")
    recompute_activations(model, recompute)
    ours = forward.nll(forward.batch(rows))
    assert ours.item() == pytest.approx(theirs.item(), rel=ROUNDING[dtype])
    assert relative_error(gradients_of(model, ours).cpu(), gradients) < 2 * ROUNDING[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_varlen_kernel_is_as_close_as_attention_row_by_row(
    dtype: torch.dtype, key_heads: int, kernel_calls: list[int], exact_products: None
) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this card is older than the kernel")
    config, rows = LlamaConfig(**SMALL | {"num_key_value_heads": key_heads}), rows_of(*LENGTHS)
    exact = adapted(config)
    gradients = gradients_of(exact, plain_nll(exact, rows))
    model = adapted(config, dtype=dtype)
    with autocast(CUDA, dtype):
        alone = gradients_of(model.to(CUDA), sum_of_rows(model, rows))
    forward = choose_forward(model, CUDA, dtype, max(LENGTHS))
    kernel_calls.clear()
    ours = gradients_of(model, forward.nll(forward.batch(rows)))
    assert kernel_calls == [max(LENGTHS)] * SMALL["num_hidden_layers"]
    assert relative_error(ours.cpu(), gradients) < 1.5 * relative_error(alone.cpu(), gradients)


def sum_of_rows(model: Any, rows: list[Any]) -> torch.Tensor:
    """`plain_nll` on the model's device."""
    total = torch.zeros((), device=CUDA)
    for row in rows:
        tokens, supervised = row.tokens.long().to(CUDA), row.supervised[1:].to(CUDA)
        logits = model(input_ids=tokens[None], use_cache=False).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(
            logits[supervised].float(), tokens[1:][supervised], reduction="sum"
        )
    return total


@pytest.mark.parametrize("dtype", list(ROUNDING), ids=str)
def test_perplexity_does_not_depend_on_how_rows_are_batched(dtype: torch.dtype, exact_products: None) -> None:
    rows = rows_of(31, 5, 64, 12, 99, 3, 80)
    model = adapted(FAMILIES["llama"], dtype=dtype).to(CUDA)
    forward = choose_forward(model, CUDA, dtype, 128)
    losses = [evaluate(forward, rows, tokens, lambda *_: None).eval_loss for tokens in (1, 100, 4096)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6 if dtype == torch.float32 else 1e-3)


@pytest.mark.parametrize("dtype", ["auto", "float16", "float32"])
def test_round_learns_and_its_loss_is_the_same_on_a_cpu(
    dtype: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"lora__lora_dropout": 0.0, "model__dtype": dtype}
    ours = train_here(make_run(tmp_path / "cuda", tiny_model, **settings))
    assert isinstance(ours[-1], Finished) and prepared_in(ours).device == "cuda"
    monkeypatch.setattr("engine.training.runtime.device.choose_device", lambda: torch.device("cpu"))
    theirs = train_here(make_run(tmp_path / "cpu", tiny_model, lora__lora_dropout=0.0))
    assert prepared_in(theirs).device == "cpu"
    near = {"auto": 0.05, "float16": 0.1, "float32": 0.01}[dtype]
    losses = [[step.loss for step in steps_of(events)] for events in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=near)


def test_round_goes_on_from_its_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    """The device's random state is restored too; figures are nearly equal, as kernels add up in no fixed order."""
    settings = {"model__dtype": "float32", "lora__lora_dropout": 0.3}
    whole = train_here(make_run(tmp_path / "whole", tiny_model, **settings))
    run = make_run(tmp_path / "run", tiny_model, **settings)
    halves = train_here(run, stop_after=8) + train_here(run, resume=True)
    for ours, theirs in zip(figures_of(halves), figures_of(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.fixture
def large() -> Any:
    """A model whose activations are large beside its weights, on the device."""
    config = LlamaConfig(**SMALL | {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8})
    yield adapted(config, dtype=torch.bfloat16).to(CUDA)
    torch.cuda.empty_cache()


def test_memory_is_estimated_before_it_is_used(large: Any) -> None:
    forward = choose_forward(large, CUDA, torch.bfloat16, 128)
    rows = rows_of(*[100] * 64)
    budget = measure_budget(forward, rows, len(rows), checkpointing=None)
    assert budget.tokens == 6400 and not budget.gradient_checkpointing
    torch.cuda.reset_peak_memory_stats()
    torch.autograd.backward(forward.nll(forward.batch(rows)))
    assert budget.bytes == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.05)


def test_activations_are_recomputed_where_memory_is_short(large: Any) -> None:
    forward = choose_forward(large, CUDA, torch.bfloat16, 128)
    rows = rows_of(*[120] * 8)
    stored = measure_budget(forward, rows[:1], 1, checkpointing=False).bytes - torch.cuda.memory_allocated()
    recomputed = measure_budget(forward, rows[:1], 1, checkpointing=True).bytes - torch.cuda.memory_allocated()
    assert recomputed < stored / 2


def test_step_that_runs_out_of_memory_is_repeated_in_smaller_micro_batches(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch's own error: another process uses the rest of the card after the memory was measured."""
    settings: dict[str, Any] = {
        "model__dtype": "float32",
        "lora__lora_dropout": 0.0,
        "train__per_device_train_batch_size": 18,
        "train__gradient_accumulation_steps": 2,
    }
    whole = train_here(make_run(tmp_path / "whole", tiny_model, **settings))
    measure = evaluations.measure_base

    def measure_then_shrink(training: Any) -> None:
        measure(training)
        torch.cuda.empty_cache()
        used = torch.cuda.memory_reserved()
        total = torch.cuda.get_device_properties(CUDA).total_memory
        torch.cuda.set_per_process_memory_fraction((used + 8 * MIB) / total)

    monkeypatch.setattr("engine.training.loop.recipe.measure_base", measure_then_shrink)
    try:
        events = train_here(make_run(tmp_path / "run", tiny_model, **settings))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert isinstance(events[-1], Finished)
    assert any(warning.startswith("out of memory at step ") for warning in warned_in(events))
    assert [step.loss for step in steps_of(events)] == pytest.approx([step.loss for step in steps_of(whole)], rel=0.01)


@pytest.mark.filterwarnings("ignore:inner dimension:UserWarning")  # of bitsandbytes, as the model is narrow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # which the compiler reads on tensors it traces
@pytest.mark.parametrize(
    "settings",
    [
        {"model__load_in_4bit": True},
        {"train__torch_compile": True},
        {"lora__use_dora": True},
        {"train__gradient_checkpointing": True},
        {"train__micro_batches": "fixed"},
    ],
)
def test_rounds_of_every_kind_end_well(settings: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    if "model__load_in_4bit" in settings:
        pytest.importorskip("bitsandbytes")
    events = train_here(make_run(tmp_path / "run", tiny_model, model__dtype="auto", **settings))
    assert isinstance(events[-1], Finished)
    result, first = events[-1].result, steps_of(events)[0]
    assert result.eval_loss is not None and first.loss is not None and result.eval_loss < first.loss


@pytest.mark.parametrize("dtype", list(ROUNDING), ids=str)
def test_fused_swiglu_gives_the_models_own_loss_and_gradients(dtype: torch.dtype, exact_products: None) -> None:
    rows = rows_of(*LENGTHS)
    original, model = (adapted(FAMILIES["llama"], dtype=dtype).to(CUDA) for _ in range(2))
    assert replace_operation(swiglu_sites, model, dtype) == SMALL["num_hidden_layers"]
    with autocast(CUDA, dtype):
        theirs, ours = sum_of_rows(original, rows), sum_of_rows(model, rows)
    assert ours.item() == pytest.approx(theirs.item(), rel=ROUNDING[dtype] / 10)
    assert relative_error(gradients_of(model, ours), gradients_of(original, theirs)) < ROUNDING[dtype]


def test_gate_of_another_kind_is_left_alone() -> None:
    assert replace_operation(swiglu_sites, adapted(FAMILIES["gemma2"]).to(CUDA)) == 0  # GELU's
    assert replace_operation(swiglu_sites, adapted(FAMILIES["gpt2"], TARGETS["gpt2"]).to(CUDA)) == 0


def replaying(forward: Forward, *lengths: tuple[int, ...]) -> Forward:
    """Return `forward` with CUDA graphs for passes over rows of such lengths."""
    padded = sorted({captured_length(sum(rows)) for rows in lengths})
    example = forward.batch(rows_of(*max(lengths, key=sum)))
    graphs = capture(forward.hidden_states, trainable_parameters(forward.model), padded, 8, 64, example)
    return replace(forward, graphs=graphs)


def loss_and_gradients(forward: Forward, rows: list[Any], seed: int = 0) -> torch.Tensor:
    """Return the loss and all gradients of a pass with the random numbers of `seed`, in one vector."""
    torch.manual_seed(seed)
    nll = forward.nll(forward.batch(rows))
    return torch.cat([nll.detach()[None], gradients_of(forward.model, nll)])


ALIKE = [(31, 5, 64, 12, 12), (64, 60), (20, 20, 20, 20, 20, 20, 4), (64, 31, 29)]  # all padded to the same length
OTHERS = [(50, 9), (64, 64, 64), (12,), (64, 40), (64, 64, 64, 64)]


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"gemma2"}))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_replayed_passes_equal_eager_ones(family: str, dtype: torch.dtype) -> None:
    model = adapted(FAMILIES[family], TARGETS.get(family, "all-linear"), dtype).to(CUDA)
    for sites_of in (norm_sites, rotary_sites, swiglu_sites):
        replace_operation(sites_of, model, dtype)
    eager = choose_forward(model, CUDA, dtype, 64)
    replayed = replaying(eager, *ALIKE, *OTHERS)
    for lengths in (*ALIKE, *OTHERS, *ALIKE):
        rows = rows_of(*lengths)
        expected, actual = loss_and_gradients(eager, rows), loss_and_gradients(replayed, rows)
        assert actual[0].item() == pytest.approx(expected[0].item(), rel=ROUNDING[dtype] / 10)
        assert relative_error(actual[1:], expected[1:]) < ROUNDING[dtype]


def test_replayed_passes_use_the_current_weights() -> None:
    model = adapted(FAMILIES["llama"], dtype=torch.bfloat16).to(CUDA)
    eager = choose_forward(model, CUDA, torch.bfloat16, 64)
    replayed, rows = replaying(eager, ALIKE[0]), rows_of(*ALIKE[0])
    before = loss_and_gradients(replayed, rows)
    with torch.no_grad():
        for parameter in trainable_parameters(model):
            parameter.mul_(-2)
    assert (
        relative_error(loss_and_gradients(replayed, rows), loss_and_gradients(eager, rows))
        < 0.05
        < relative_error(loss_and_gradients(replayed, rows), before)
    )


def test_replayed_dropout_follows_the_random_numbers() -> None:
    model = adapted(FAMILIES["llama"], dtype=torch.bfloat16, dropout=0.5).to(CUDA)
    replayed, rows = replaying(choose_forward(model, CUDA, torch.bfloat16, 64), ALIKE[0]), rows_of(*ALIKE[0])
    first, again, other = (loss_and_gradients(replayed, rows, seed) for seed in (1, 1, 2))
    assert relative_error(again, first) < 0.01 < relative_error(other, first)


def test_gradients_of_replayed_passes_add_up() -> None:
    model = adapted(FAMILIES["llama"], dtype=torch.bfloat16).to(CUDA)
    replayed = replaying(choose_forward(model, CUDA, torch.bfloat16, 64), *ALIKE)
    separate = [loss_and_gradients(replayed, rows_of(*lengths))[1:] for lengths in ALIKE[:3]]
    for lengths in ALIKE[:3]:
        torch.autograd.backward(replayed.nll(replayed.batch(rows_of(*lengths))))
    together = [parameter.grad.flatten() for parameter in trainable_parameters(model) if parameter.grad is not None]
    assert relative_error(torch.cat(together), sum(separate, torch.zeros(()))) < 0.02


@pytest.mark.parametrize("defect", ["waits for the GPU", "waits during capture", "raises during capture"])
def test_model_that_cannot_be_captured_is_trained_eagerly(defect: str) -> None:
    model = adapted(FAMILIES["llama"], dtype=torch.bfloat16, dropout=0.5).to(CUDA)
    eager, rows = choose_forward(model, CUDA, torch.bfloat16, 64), rows_of(*ALIKE[0])
    before = loss_and_gradients(eager, rows)
    norm = model.get_base_model().get_decoder().norm

    def spoil(*_: object) -> None:
        capturing = torch.cuda.is_current_stream_capturing()
        if defect == "waits for the GPU" or (capturing and defect == "waits during capture"):
            norm.weight.sum().item()
        elif capturing:
            raise ArithmeticError(defect)

    norm.register_forward_pre_hook(spoil)
    with pytest.raises(Exception, match=r"synchronizing|captur|raises"):
        replaying(eager, ALIKE[0])
    assert relative_error(loss_and_gradients(eager, rows), before) < 0.01


def test_round_with_graphs_learns_what_an_eager_one_does(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"model__dtype": "bfloat16", "train__num_train_epochs": 6.0}
    ours = train_here(make_run(tmp_path / "ours", tiny_model, **settings))
    assert "CUDA graphs are captured for passes of " in capsys.readouterr().out
    monkeypatch.setattr("engine.training.loop.graph_capture._can_be_captured", lambda *_: False)
    theirs = train_here(make_run(tmp_path / "theirs", tiny_model, **settings))
    assert "CUDA graphs are captured" not in capsys.readouterr().out
    losses = [[step.loss for step in steps_of(events)] for events in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
