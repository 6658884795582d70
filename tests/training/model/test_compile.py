"""A compiled model trains as an eager one, and a failed compilation ends the round with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.runs.event_log import read_events
from engine.runs.events import Failed
from tests.support.rounds_to_train import figures_of, make_run, start_engine, train_here
from tests.support.tiny_model import write_model

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own, about what it finds in transformers

SETTINGS: dict[str, object] = {"lora__lora_dropout": 0.0, "lora__target_modules": ("q_proj", "v_proj")}


def test_compiled_round_is_the_same_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    model = write_model(tmp_path / "model", layers=1)  # a second would take as long again to compile
    plain = train_here(make_run(tmp_path / "plain", model, **SETTINGS))
    compiled = train_here(make_run(tmp_path / "compiled", model, **SETTINGS, train__torch_compile=True))
    for ours, theirs in zip(figures_of(compiled), figures_of(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_failed_compilation_names_the_way_out(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, **SETTINGS, train__torch_compile=True)
    engine = start_engine(run, CXX="no-such-compiler", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "inductor"))
    assert engine.wait(120) == 1
    last = read_events(run.events)[-1]
    assert isinstance(last, Failed)
    assert last.message.startswith("train.torch_compile is true, but the model cannot be compiled: ")
    assert last.message.endswith(": set it to false") and "no-such-compiler" in last.message
