"""A model of the hub at a commit, tag or branch, from the cache of the hub's library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from engine.runs.events import Provenance
from tests.support.plain import evaluations_of, load, plain_eval_loss
from tests.support.rounds_to_train import fail_here, make_run, train_here
from tests.support.tiny_model import write_model

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def snapshots(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The directories of `org/model` in the cache by its branch and its tag."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--org--model"
    (model / "refs").mkdir(parents=True)
    directories = {name: model / "snapshots" / commit for name, commit in COMMITS.items()}
    shutil.copytree(tiny_model, directories["main"])
    write_model(directories["v1"], layers=1)
    for name, commit in COMMITS.items():
        (model / "refs" / name).write_text(commit)
    return directories


@pytest.mark.parametrize("revision", ["v1", COMMITS["v1"], None])
def test_revision_decides_config_weights_and_what_is_recorded(
    tmp_path: Path, snapshots: dict[str, Path], revision: str | None
) -> None:
    run = make_run(
        tmp_path / "run", Path("org/model"), model__revision=revision, train__num_train_epochs=0.2,
        train__sample_tokens=0,
    )  # fmt: skip
    events = train_here(run)
    directory = snapshots["main" if revision is None else "v1"]
    assert evaluations_of(events)[0].eval_loss == pytest.approx(
        plain_eval_loss(load(directory), directory, run)[0], rel=1e-5
    )
    (provenance,) = [event for event in events if isinstance(event, Provenance)]
    assert provenance.model_revision == directory.name and provenance.weights is not None
    assert json.loads((run.adapter / "adapter_config.json").read_text())["revision"] == revision
    card = (run.adapter / "README.md").read_text()
    assert (f'from_pretrained("org/model", revision={revision!r})' in card) is (revision is not None)


def test_revision_that_is_not_there_is_refused(
    tmp_path: Path, snapshots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", Path("org/model"), model__revision="v2")
    assert "hub cannot be reached, and it is not in the cache" in fail_here(run, monkeypatch)
