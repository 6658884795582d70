"""Every family of models is trained as plain transformers and peft score it, or refused early in a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from engine.errors import LoratuiError
from engine.files.paths import RunDir
from engine.preflight.checks import check
from engine.runs.event_log import read_events
from engine.runs.events import Failed, Finished
from engine.runs.scores import read_scores
from engine.training import __main__ as engine
from engine.training.data.cut import cut
from engine.training.data.load import load_rows
from engine.training.data.tokenize import Example, split, tokenise
from engine.training.loop.stop import StopSignal
from engine.training.model.loading import load_base_model, load_tokenizer
from tests.support.families import FAMILIES, write_family
from tests.support.processes import ROOT
from tests.support.rounds_to_train import as_in_the_engine, make_run, spec_of

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

PAGE = ROOT / "docs" / "families.md"
DEFAULT, ALL_LINEAR, WITHOUT_DROPOUT = "q_proj, v_proj", "all-linear", "all-linear, lora_dropout 0"
SETTINGS: dict[str, dict[str, Any]] = {
    DEFAULT: {"lora__target_modules": ("q_proj", "v_proj")},
    ALL_LINEAR: {},
    WITHOUT_DROPOUT: {"lora__lora_dropout": 0.0},
}
SHORT: dict[str, Any] = {
    "data__samples": 24,
    "data__eval_fraction": 0.25,
    "train__num_train_epochs": 0.5,
    "train__learning_rate": 1e-3,
    "train__save_steps": 3,
}
TRAINS = "trains"
INTRODUCTION = """\
# Families of models

`make test-zoo` trains a small model of random weights of each family, and writes this table. *Trains* means: the loss
of each held-out row, of the base and of the trained adapter loaded in plain peft, is that of plain transformers to
1e-4, whatever the way in which rows were batched. Otherwise the table has the sentence by which the round is refused
before the model's weights are loaded.

"""


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[tuple[str, str], str]]:
    """What became of each case; the page is written once all cases ran, and compared with those that did."""
    results: dict[tuple[str, str], str] = {}
    yield results
    if len(results) == len(FAMILIES) * len(SETTINGS):
        PAGE.write_text(INTRODUCTION + "".join(f"{line}\n" for line in _table(results)), encoding="utf-8")


def _table(results: dict[tuple[str, str], str]) -> list[str]:
    rows = [[name, *(results[name, targets] for targets in SETTINGS)] for name in FAMILIES]
    return [_line(["", *SETTINGS]), _line(["---"] * (len(SETTINGS) + 1)), *map(_line, rows)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("targets", SETTINGS)
def test_family_trains_as_plain_peft_has_it_or_is_refused_early(
    name: str,
    targets: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcomes: dict[tuple[str, str], str],
    request: pytest.FixtureRequest,
) -> None:
    model = write_family(name, tmp_path / "model")
    run = make_run(tmp_path / "run", model, **SHORT, **SETTINGS[targets])
    sentence = _train(run, monkeypatch)
    if sentence is None:
        _compare_with_plain_libraries(run, model)
    outcomes[name, targets] = TRAINS if sentence is None else sentence
    if not request.config.getoption("long"):
        (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |")]
        assert line.split(" | ")[1 + list(SETTINGS).index(targets)].removesuffix(" |") == outcomes[name, targets]
    shutil.rmtree(tmp_path)


def _train(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Train the round; return the sentence that refuses it, which comes before any weights are loaded."""
    try:
        check(spec_of(run))
    except LoratuiError as error:
        return error.message
    loaded: list[object] = []

    def counted(*arguments: Any) -> Any:
        loaded.append(arguments)
        return load_base_model(*arguments)

    monkeypatch.setattr("engine.training.loop.setup.load_base_model", counted)
    monkeypatch.setattr(StopSignal, "listen", lambda self: None)  # pytest keeps its own signals
    with as_in_the_engine():
        engine.train_locked(run, False)
    last = read_events(run.events)[-1]
    if isinstance(last, Failed):
        assert not loaded and "\n" not in last.message, last.message
        return last.message
    assert isinstance(last, Finished)
    return None


def _compare_with_plain_libraries(run: RunDir, model: Path) -> None:
    spec = spec_of(run)
    rows = tokenise(load_rows(spec.data).usable, load_tokenizer(spec.model), spec.data)
    _, held_out = split(cut(rows.examples, spec.data.max_length).examples, spec.data)
    loaders: tuple[Any, ...] = (AutoModelForCausalLM, AutoModelForImageTextToText)
    own = AutoConfig.from_pretrained(model)
    loader = next(each for each in loaders if type(own) in each._model_mapping)
    base = loader.from_pretrained(model, dtype=torch.float32).eval()
    base_nlls = _plain_nlls(base, held_out)
    tuned_nlls = _plain_nlls(PeftModel.from_pretrained(base, str(run.adapter)).eval(), held_out)
    steps = sorted(int(file.stem.removeprefix("step-")) for file in (run.path / "scores").glob("step-*.json"))
    for step, plain in ((steps[0], base_nlls), (steps[-1], tuned_nlls)):
        scores = read_scores(run, step)
        assert scores is not None and list(scores.nlls) == pytest.approx(plain, rel=1e-4)
    assert tuned_nlls != pytest.approx(base_nlls, rel=1e-5)


@torch.no_grad()
def _plain_nlls(model: Any, rows: list[Example]) -> list[float]:
    nlls = []
    for row in rows:
        tokens, learned = row.tokens.long()[None], row.supervised[1:]
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1].float()
        nlls.append(functional.cross_entropy(logits[learned], tokens[0, 1:][learned], reduction="sum").item())
    return nlls
