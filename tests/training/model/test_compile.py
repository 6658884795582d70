"""A compiled model trains as an eager one, and a failed compilation ends the round with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import config as inductor

from tests.support.rounds_to_train import fail_here, figures_of, make_run, train_here
from tests.support.tiny_model import write_model

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own, about what it finds in transformers

SETTINGS: dict[str, object] = {"lora__lora_dropout": 0.0, "lora__target_modules": ("q_proj", "v_proj")}


def assert_compiled_is_the_same_round(directory: Path) -> None:
    model = write_model(directory / "model", layers=1)  # a second would take as long again to compile
    plain = train_here(make_run(directory / "plain", model, **SETTINGS))
    compiled = train_here(make_run(directory / "compiled", model, **SETTINGS, train__torch_compile=True))
    for ours, theirs in zip(figures_of(compiled), figures_of(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.long
def test_traced_round_is_the_same_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch traces the model and runs the traced graph without compiling it, which saves a minute."""
    traced = []

    def run_uncompiled(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        traced.append(graph)
        return graph.forward

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compile_module, backend=run_uncompiled))
    assert_compiled_is_the_same_round(tmp_path)
    assert traced


@pytest.mark.long
def test_compiled_round_is_the_same_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    assert_compiled_is_the_same_round(tmp_path)


@pytest.mark.long
def test_failed_compilation_names_the_way_out(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    run = make_run(tmp_path / "run", tiny_model, **SETTINGS, train__torch_compile=True)
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        message = fail_here(run, monkeypatch)
    assert message.startswith("train.torch_compile is true, but the model cannot be compiled: ")
    assert message.endswith(": set it to false") and "no-such-compiler" in message
