"""The cheap forward passes: when they are used, and that they give the results of the plain one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import (
    AutoConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Phi3Config,
)

from engine.system.training_memory import ATTENDED_WIDTH, LOGIT_BYTES, rounded_up
from engine.training.data.batching import pack, packs_of, pad, slices_of
from engine.training.data.tokenize import Example
from engine.training.evaluation.perplexity import evaluate
from engine.training.kernels.head_loss import autocast, head_nll
from engine.training.kernels.rms_norm import norm_sites
from engine.training.model.adapter import recompute_activations
from engine.training.model.forward import Forward, choose_forward
from tests.support.passes import (
    CPU,
    FAMILIES,
    SMALL,
    TARGETS,
    VOCABULARY,
    adapted,
    gradients_of,
    plain_nll,
    relative_error,
    replace_in_module,
    replace_operation,
    rows_of,
)
from tests.support.rounds_to_train import make_example


def attention_flops(query: Any, key: Any, value: Any, *_: object, **__: object) -> int:
    """Count the FLOPs of attention by shapes, as torch does for its GPU kernels."""
    return int(sdpa_flop_count(query, key, value))


ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}  # which torch does not count


@pytest.mark.parametrize(
    ("family", "packed", "fused"),
    [
        ("llama", True, True),
        ("qwen3", True, True),
        ("mistral", True, True),
        ("gpt2", True, True),
        ("gemma2", False, False),  # its windows are shorter than a row, and it caps its logits
    ],
)
@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_gradients_are_those_of_rows_one_at_a_time(
    family: str, packed: bool, fused: bool, recompute: bool
) -> None:
    model, rows = adapted(FAMILIES[family], TARGETS.get(family, "all-linear")), rows_of(31, 5, 64, 12, 12)
    theirs = plain_nll(model, rows)
    gradients = gradients_of(model, theirs)
    forward = choose_forward(model, CPU, torch.float32, 64)
    assert (forward.packed, forward.fused_head) == (packed, fused)
    recompute_activations(model, recompute)
    ours = forward.nll(forward.batch(rows))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert relative_error(gradients_of(model, ours), gradients) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("family", "norms"),
    [("llama", 5), ("qwen3", 9), ("mistral", 5), ("gpt2", 0), ("gemma2", 0)],  # Gemma's scale by one and the weight
)
@pytest.mark.parametrize("frozen", [True, False])
def test_fused_norms_give_the_models_own_loss_and_gradients(
    family: str, norms: int, dtype: torch.dtype, frozen: bool
) -> None:
    rows, targets = rows_of(31, 5, 64, 12), TARGETS.get(family, "all-linear")
    written_out, model = (adapted(FAMILIES[family], targets, dtype) for _ in range(2))
    for each in (written_out, model):
        generator = torch.Generator().manual_seed(1)
        for name, weight in each.named_parameters():
            if "norm" in name:
                weight.data = torch.randn(weight.shape, generator=generator).to(weight)
                weight.requires_grad_(not frozen)
    assert replace_operation(norm_sites, model, dtype) == norms
    with autocast(CPU, dtype):
        theirs, ours = plain_nll(written_out, rows), plain_nll(model, rows)
    rounding = 1e-5 if dtype == torch.float32 else 0.02
    assert ours.item() == pytest.approx(theirs.item(), rel=rounding)
    assert relative_error(gradients_of(model, ours), gradients_of(written_out, theirs)) < 5 * rounding


def test_norm_of_another_kind_is_left_alone() -> None:
    class CentredRMSNorm(torch.nn.RMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x - x.mean(-1, keepdim=True))

    shifted = torch.nn.RMSNorm(16, eps=1e-6)
    shifted.bias = torch.nn.Parameter(torch.zeros(16))
    hidden = torch.randn(3, 16)
    assert replace_in_module(norm_sites, shifted, hidden) == 0
    assert replace_in_module(norm_sites, CentredRMSNorm(16, eps=1e-6), hidden) == 0
    assert replace_in_module(norm_sites, torch.nn.RMSNorm(16), hidden) == 0  # its epsilon depends on the precision
    assert replace_in_module(norm_sites, torch.nn.RMSNorm(16, eps=1e-6), hidden) == 1


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_every_forward_pass_gives_the_same(packed: bool, fused: bool) -> None:
    model, rows = adapted(FAMILIES["llama"]), rows_of(31, 5, 64, 12)
    theirs = plain_nll(model, rows)
    gradients = gradients_of(model, theirs)
    checked = choose_forward(model, CPU, torch.float32, 64)
    if not packed:
        model.get_base_model().set_attn_implementation(checked.attention)
    forward = Forward(model, CPU, torch.float32, packed, fused, checked.attention)
    ours = forward.nll(forward.batch(rows))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert relative_error(gradients_of(model, ours), gradients) < 1e-5


def test_gradients_in_half_precision_are_as_near_as_those_of_torchs_own_attention() -> None:
    rows = rows_of(31, 5, 64, 12)
    exact = gradients_of(model := adapted(FAMILIES["llama"]), plain_nll(model, rows))
    model = adapted(FAMILIES["llama"], dtype=torch.bfloat16)
    with autocast(CPU, torch.bfloat16):
        theirs = relative_error(gradients_of(model, plain_nll(model, rows)), exact)
    forward = choose_forward(model, CPU, torch.bfloat16, 64)
    ours = relative_error(gradients_of(model, forward.nll(forward.batch(rows))), exact)
    assert ours < 1.5 * theirs


def test_model_of_few_positions_is_tried_with_rows_no_longer() -> None:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=4, n_positions=16)
    assert choose_forward(adapted(config, ["c_attn"]), CPU, torch.float32, 16).packed


def test_half_precision_is_close() -> None:
    model, rows = adapted(FAMILIES["llama"], dtype=torch.bfloat16), rows_of(31, 5, 64, 12)
    exact = plain_nll(adapted(FAMILIES["llama"]), rows)
    forward = choose_forward(model, CPU, torch.bfloat16, 64)
    assert forward.packed and forward.fused_head
    assert forward.nll(forward.batch(rows)).item() == pytest.approx(exact.item(), rel=0.01)


def test_model_that_mixes_tokens_without_attention_is_not_packed() -> None:
    """A state space model carries its state from one packed row into the next."""
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4)
    model, rows = adapted(config, ["in_proj", "x_proj"]), rows_of(31, 12)
    forward = choose_forward(model, CPU, torch.float32, 64)
    assert not forward.packed
    assert forward.nll(forward.batch(rows[:1])).item() == pytest.approx(plain_nll(model, rows[:1]).item(), rel=1e-5)


def test_window_longer_than_every_row_is_ignored() -> None:
    model = adapted(MistralConfig(**SMALL, sliding_window=64))
    assert choose_forward(model, CPU, torch.float32, 64).packed
    model = adapted(MistralConfig(**SMALL, sliding_window=63))
    assert not choose_forward(model, CPU, torch.float32, 64).packed


@pytest.mark.parametrize("packed", [True, False])
def test_row_is_rotated_as_by_itself_beside_a_longer_one(packed: bool) -> None:
    """LongRoPE takes other factors for all rows of a pass if one of them is long."""
    factors = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 2.5, 3.0, 3.5]}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 20, **factors}
    config = Phi3Config(**SMALL, rope_parameters=rope, original_max_position_embeddings=20, pad_token_id=0)
    model, rows = adapted(config), rows_of(31, 5, 64, 12, 12)
    exact = [plain_nll(model.eval(), [row]).item() for row in rows]
    forward = choose_forward(model, CPU, torch.float32, 64)
    assert forward.packed and forward.rope_switch == 20
    forward.packed = packed
    if not packed:
        model.get_base_model().set_attn_implementation(forward.attention)
    assert evaluate(forward, rows, 4096, lambda *_: None).nlls == pytest.approx(exact, rel=1e-5)
    assert sorted(map(len, forward.slices_of(rows, 4096))) == [2, 3]
    assert choose_forward(adapted(config), CPU, torch.float32, 20).rope_switch is None


@pytest.mark.parametrize("packed", [True, False])
def test_rows_as_long_as_the_positions_are_rotated_alike_by_dynamic_scaling(packed: bool) -> None:
    """It takes other frequencies for all rows of a pass, and of later ones, once a row is longer than that."""
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    config = LlamaConfig(**SMALL | {"max_position_embeddings": 64}, rope_parameters=rope)
    model, rows = adapted(config), rows_of(31, 5, 64, 12, 12)
    exact = [plain_nll(model.eval(), [row]).item() for row in rows]
    forward = choose_forward(model, CPU, torch.float32, 64)
    assert forward.packed
    forward.packed = packed
    if not packed:
        model.get_base_model().set_attn_implementation(forward.attention)
    for tokens in (4096, 64):
        assert evaluate(forward, rows, tokens, lambda *_: None).nlls == pytest.approx(exact, rel=1e-5)
    rotary = model.get_base_model().model.rotary_emb
    assert torch.equal(rotary.inv_freq, rotary.original_inv_freq)


def test_adapter_on_the_output_layer_is_trained() -> None:
    model, rows = adapted(FAMILIES["llama"], ["q_proj", "lm_head"]), rows_of(31, 12)
    theirs = gradients_of(model, plain_nll(model, rows))
    forward = choose_forward(model, CPU, torch.float32, 64)
    assert not forward.fused_head
    assert relative_error(gradients_of(model, forward.nll(forward.batch(rows))), theirs) < 1e-5


def test_model_generates_with_the_attention_it_was_loaded_with() -> None:
    model = adapted(FAMILIES["llama"]).eval()
    prompt = rows_of(9)[0].tokens.long()[None]
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    before = model.generate(input_ids=prompt, **options)
    forward = choose_forward(model, CPU, torch.float32, 64)
    assert forward.packed
    with forward.as_loaded():
        assert torch.equal(model.generate(input_ids=prompt, **options), before)


def test_flops_are_those_of_rows_one_at_a_time() -> None:
    """Torch counts the FLOPs; the padding of a step's length is included."""
    config = AutoConfig.for_model("llama", **SMALL)
    model, rows = adapted(config, ["q_proj", "v_proj"]), rows_of(31, 50, 64, 120, 77, 90)
    forward = choose_forward(model, CPU, torch.float32, 128)

    def flops_of(slices: list[list[Example]]) -> int:
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            for rows_at_once in slices:
                torch.autograd.backward(forward.nll(forward.batch(rows_at_once)))
        return int(counter.get_total_flops())

    def fewest() -> int:
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            for row in rows:
                keep = row.supervised.nonzero()[:, 0] - 1
                logits = model(input_ids=row.tokens.long()[None], use_cache=False, logits_to_keep=keep).logits[0]
                torch.autograd.backward(functional.cross_entropy(logits, row.tokens[row.supervised].long()))
        return int(counter.get_total_flops())

    ours = flops_of([rows])
    with forward.as_loaded():
        assert ours <= 1.05 * fewest()


@pytest.mark.sample(2)
@pytest.mark.parametrize("tokens", [1, 200, 4096])
def test_evaluation_costs_one_pass_over_the_held_out_tokens(tokens: int) -> None:
    """Attention is counted as on a GPU; the minimum is each row by itself, without padding."""
    config = AutoConfig.for_model("llama", **SMALL)
    model = adapted(config, ["q_proj", "v_proj"])
    rows = rows_of(*range(9, 105, 4), 31, 31, 120, 12, 99)
    forward = choose_forward(model, CPU, torch.float32, 128)
    assert forward.packed
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as ours:
        evaluation = evaluate(forward, rows, tokens, lambda *_: None)
    with (
        forward.as_loaded(),
        torch.inference_mode(),
        FlopCounterMode(display=False, custom_mapping=ATTENTION) as fewest,
    ):
        for row in rows:
            keep = row.supervised.nonzero()[:, 0] - 1
            model(input_ids=row.tokens.long()[None], use_cache=False, logits_to_keep=keep)
    assert evaluation.supervised_tokens == sum(row.supervised_tokens for row in rows)
    assert all(counter.get_flop_counts()["Global"][next(iter(ATTENTION))] > 0 for counter in (ours, fewest))
    assert fewest.get_total_flops() <= ours.get_total_flops() <= 1.05 * fewest.get_total_flops()


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_head_in_chunks_gives_cross_entropy(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(LOGIT_BYTES, "cpu", rows * 4 * VOCABULARY)
    head = torch.nn.Linear(16, VOCABULARY).double().requires_grad_(False)
    hidden, targets = torch.randn(50, 16, dtype=torch.float64), torch.randint(VOCABULARY, (50,))
    ours_of, theirs_of = (hidden.clone().requires_grad_() for _ in range(2))
    ours = head_nll(ours_of, head, targets)
    theirs = functional.cross_entropy(head(theirs_of), targets, reduction="sum")
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    torch.autograd.backward([3 * ours, 3 * theirs])
    assert ours_of.grad is not None and theirs_of.grad is not None
    assert torch.allclose(ours_of.grad, theirs_of.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("has_amx", [True, False])
@pytest.mark.parametrize("width", [24, ATTENDED_WIDTH + 8])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 5e-4), (torch.bfloat16, 0.1)], ids=str)
def test_head_gives_cross_entropy_for_uncertain_and_certain_tokens(
    dtype: torch.dtype, most: float, width: int, has_amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients are compared token by token, as those of certain tokens are the smallest."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    torch.manual_seed(0)
    head = torch.nn.Linear(width, VOCABULARY, bias=False).to(dtype).requires_grad_(False)
    targets = torch.randint(VOCABULARY, (60,))
    target_rows = head.weight[targets].float()
    surely = torch.linspace(0, 12, 60)[:, None]  # the most likely tokens have all but 1e-5
    hidden = (0.3 * torch.randn(60, width) + surely * target_rows / target_rows.square().sum(1, keepdim=True)).to(dtype)
    ours_of, theirs_of = hidden.clone().requires_grad_(), hidden.double().requires_grad_()
    ours = head_nll(ours_of, head, targets)
    theirs = functional.cross_entropy(theirs_of @ head.weight.double().t(), targets, reduction="sum")
    torch.autograd.backward([ours, theirs])
    assert ours.item() == pytest.approx(theirs.item(), rel=most / 50)
    assert ours_of.grad is not None and theirs_of.grad is not None
    errors = (ours_of.grad - theirs_of.grad).norm(dim=1) / theirs_of.grad.norm(dim=1)
    assert float(errors.max()) < most
    assert relative_error(ours_of.grad, theirs_of.grad) < most / 20


def test_head_of_no_supervised_token_has_no_loss() -> None:
    hidden = torch.zeros(0, 8, requires_grad=True)
    nll = head_nll(hidden, torch.nn.Linear(8, 9, bias=False), torch.zeros(0, dtype=torch.int64))
    torch.autograd.backward(nll)
    assert nll.item() == 0.0 and hidden.grad is not None


# How rows are laid out.


def test_packed_rows_follow_each_other() -> None:
    first, second = make_example([5, 6, 7], 2), make_example([8, 9], 1)
    batch = pack([first, second], CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.attention_mask is None and batch.row_lengths == (3, 2)
    assert batch.row_starts is not None and batch.row_starts.tolist() == [0, 3, 5]
    assert (batch.logit_positions.tolist(), batch.targets.tolist()) == ([1, 3], [7, 9])


def test_padded_rows_lie_side_by_side() -> None:
    first, second = make_example([5, 6, 7], 2), make_example([8, 9], 1)
    batch = pad([second, first], CPU)
    assert batch.input_ids.tolist() == [[8, 9, 0], [5, 6, 7]]
    assert batch.attention_mask is not None and batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert (batch.logit_positions.tolist(), batch.targets.tolist()) == ([0, 4], [9, 7])


@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 100, 1000, 4095, 5000])
def test_lengths_of_packs_repeat_at_little_cost(tokens: int) -> None:
    batch = pack([make_example(range(tokens), 1)] if tokens > 1 else rows_of(2, 2), CPU)
    length = batch.input_ids.shape[1]
    assert length == sum(batch.row_lengths) and length == rounded_up(length, 16)
    assert length <= max(tokens, 4) * 17 / 16


def test_packs_are_few_full_and_even() -> None:
    rows = rows_of(40, 3, 18, 22, 17, 30)
    packs = packs_of(rows, 70)
    assert sorted(map(id, rows)) == sorted(id(row) for pack in packs for row in pack)
    assert [sum(map(len, pack)) for pack in packs] == [61, 69]
    assert [[len(row) for row in pack] for pack in packs_of(rows, 20)][:4] == [[40], [30], [22], [18]]
    assert packs_of(rows, 1000) == [sorted(rows, key=len, reverse=True)]


def test_fixed_micro_batches_keep_the_order_of_rows() -> None:
    rows = rows_of(9, 2, 8, 3, 4)
    assert slices_of(rows, 2) == [rows[:2], rows[2:4], rows[4:]]
