"""Replacements of operations: tried on the model's own calls, and given up once a pass with them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import (
    GPTNeoXConfig,
    NemotronConfig,
    OlmoConfig,
    PretrainedConfig,
)
from transformers.models.llama import modeling_llama

from engine.chat.protocol import AnswerRequest, LoadRequest, Message
from engine.runs.events import AnyEvent, Evaluated, Finished, Sampled
from engine.spec.schema import ModelSpec
from engine.training.kernels import cpu_attention, head_loss, rotary
from engine.training.kernels.head_loss import autocast
from engine.training.kernels.replacement import ModuleSite
from engine.training.model.forward import choose_forward
from engine.training.workers.chat_model import ChatModel
from engine.training.workers.stop_flag import StopFlag
from tests.support.passes import (
    CPU,
    FAMILIES,
    SMALL,
    adapted,
    gradients_of,
    plain_nll,
    relative_error,
    replace_in_module,
    rows_of,
)
from tests.support.rounds_to_train import figures_of, make_run, train_here

PARTLY_ROTATED = {
    "gpt-neox": GPTNeoXConfig(**SMALL),
    "nemotron": NemotronConfig(**SMALL),
}
SHORT: dict[str, Any] = {"lora__lora_dropout": 0.0, "train__num_train_epochs": 0.5}
GIVEN_UP = "the model's own code is used from now on"


def weights_drawn(config: PretrainedConfig, dtype: torch.dtype) -> Any:
    """Return a model whose norms have weights, too."""
    model = adapted(config, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data += (0.3 * torch.randn(weight.shape, generator=generator)).to(weight)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", [*PARTLY_ROTATED.values(), OlmoConfig(**SMALL)], ids=[*PARTLY_ROTATED, "olmo"])
def test_what_differs_in_a_familys_own_shapes_and_precision_is_left_alone(
    config: PretrainedConfig, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(31, 5, 64, 12)
    model = weights_drawn(config, dtype)
    with autocast(CPU, dtype):
        theirs = plain_nll(model, rows)
    gradients = gradients_of(model, theirs)
    forward = choose_forward(model, CPU, dtype, 64)
    ours = forward.nll(forward.batch(rows))
    rounding = 1e-5 if dtype == torch.float32 else 0.02
    assert ours.item() == pytest.approx(theirs.item(), rel=rounding)
    assert relative_error(gradients_of(model, ours), gradients) < 5 * rounding
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("rotary embeddings: the model's own code is used")] or (
        config.model_type == "olmo" and dtype == torch.float32
    )
    assert len(lines) == len({line.partition(":")[0] for line in lines})  # one line each


class Doubled(torch.autograd.Function):
    """Right forward, wrong backward."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor) -> torch.Tensor:
        return functional.relu(hidden)

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> torch.Tensor:
        return 2 * gradient[0]


@pytest.mark.parametrize(
    ("replacement", "places", "reason"),
    [
        (functional.relu, 1, ""),
        (Doubled.apply, 0, "differs by"),
        (lambda hidden: functional.relu(hidden).detach(), 0, "has other gradients"),
        (lambda hidden: functional.relu(hidden).double(), 0, "gives torch.float64"),
        (lambda hidden: functional.relu(hidden)[:1], 0, "gives torch.float32 (1, 9) for torch.float32 (4, 9)"),
        (lambda hidden, gate: hidden, 0, "fails (<lambda>() missing"),
    ],
    ids=["equal", "backward", "no gradient", "precision", "shape", "arguments"],
)
def test_replacement_is_used_only_if_results_and_gradients_are_equal(
    replacement: Callable[..., Any], places: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = torch.nn.ReLU()
    before = torch.random.get_rng_state()
    hidden = torch.linspace(-1, 1, 36).view(4, 9)
    assert replace_in_module(lambda _: [ModuleSite("gates", module, lambda own: replacement)], module, hidden) == places
    assert (vars(module).get("forward") is replacement) == bool(places)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [record.getMessage().partition(", as ours ")[2].startswith(reason) for record in caplog.records] == (
        [] if places else [True]
    )


def test_operation_that_a_model_does_not_use_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    unused, module = torch.nn.ReLU(), torch.nn.ReLU()
    assert replace_in_module(lambda _: [ModuleSite("gates", unused, lambda own: own)], module, torch.ones(2)) == 0
    assert not caplog.records


# Faults that no trial saw.


@pytest.fixture(autouse=True)
def own_rotation() -> Iterator[None]:
    """Put Llama's own function back afterwards."""
    own: Any = modeling_llama.apply_rotary_pos_emb
    yield
    modeling_llama.apply_rotary_pos_emb = own


def failing(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    def fail(*arguments: Any) -> Any:
        if when(*arguments):
            raise RuntimeError("no kernel for this")
        return function(*arguments)

    return fail


def in_backward(*_: object) -> bool:
    return torch._C._current_graph_task_id() != -1


LATER: dict[str, tuple[Any, str, Callable[..., bool], dict[str, Any]]] = {
    "long rows": (rotary, "_roll", lambda query, *_: query.shape[2] > 60, {}),
    "evaluation": (rotary, "_roll", lambda query, *_: query.shape[2] > 60 and not torch.is_grad_enabled(), {}),
    "generation": (rotary, "_roll", lambda query, *_: query.shape[2] == 1, {}),
    "recomputation": (rotary, "_roll", in_backward, {"train__gradient_checkpointing": True}),
    "backward": (rotary, "_swap_halves", lambda rows: in_backward() and rows.numel() > 2000, {}),
    "attention": (cpu_attention, "_rows", lambda lengths, *_: in_backward() and sum(lengths) > 60, {}),
    "head": (head_loss, "_nll_by_attention", lambda states, *_: len(states) > 30, {}),
}


@pytest.fixture(scope="module")
def by_own_code(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AnyEvent]:
    return train_here(make_run(tmp_path_factory.mktemp("own") / "run", tiny_model, **SHORT))


@pytest.mark.sample(4)
@pytest.mark.parametrize("fault", LATER)
def test_round_goes_on_by_the_models_own_code(
    fault: str,
    tmp_path: Path,
    tiny_model: Path,
    by_own_code: list[AnyEvent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module, name, when, settings = LATER[fault]
    monkeypatch.setattr(module, name, failing(getattr(module, name), when))
    events = train_here(make_run(tmp_path / "run", tiny_model, **SHORT, **settings))
    assert isinstance(events[-1], Finished)
    assert [record.getMessage() for record in caplog.records if GIVEN_UP in record.getMessage()] == [
        f"{GIVEN_UP}, as a pass with ours failed: no kernel for this"
    ]
    for (_, loss, norm, _), (_, own_loss, own_norm, _) in zip(figures_of(events), figures_of(by_own_code), strict=True):
        assert loss == pytest.approx(own_loss, rel=1e-4) and norm == pytest.approx(own_norm, rel=1e-3)
    for kind in (Evaluated, Sampled):
        assert len([event for event in events if isinstance(event, kind)]) == len(
            [event for event in by_own_code if isinstance(event, kind)]
        )


def test_error_of_the_models_own_code_ends_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = choose_forward(adapted(FAMILIES["llama"]), CPU, torch.float32, 64)
    error = RuntimeError("the model's own")
    assert forward.fall_back(error) and not forward.fall_back(error)
    assert (forward.packed, forward.fused_head, forward.replacements.sites) == (False, False, [])


@pytest.mark.parametrize("length", [1, 6])
def test_answer_in_a_chat_goes_on_where_it_was(length: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first token, or after some text is written, which is not written again."""
    request = LoadRequest(ModelSpec(str(tiny_model), dtype="float32"), {})
    question = AnswerRequest(None, (Message("user", "Say what a lamp is"),), temperature=0.0, max_new_tokens=12)
    expected = ChatModel(request).answer(question, lambda _: None, StopFlag())
    calls: list[int] = []

    def at_last(query: torch.Tensor, *_: Any) -> bool:
        if query.shape[2] == 1:
            calls.append(1)
        return len(calls) == 2 * length  # of two layers

    monkeypatch.setattr(rotary, "_roll", failing(rotary._roll, at_last))
    pieces: list[str] = []
    answer = ChatModel(request).answer(question, pieces.append, StopFlag())
    assert len(calls) == 2 * length
    assert "".join(pieces).strip() == answer.text.strip() == expected.text.strip() != ""
