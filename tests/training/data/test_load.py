"""Rows of the hub, read as local ones are, and the hub's errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import datasets
import msgspec
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RevisionNotFoundError

from engine.errors import DatasetError
from engine.spec.data import DataSpec
from engine.training.data.load import load_rows
from tests.support.rounds_to_train import make_rows

DATA = DataSpec(path="somebody/rows")


def answer(monkeypatch: pytest.MonkeyPatch, reply: Any) -> list[dict[str, Any]]:
    """Have the builder of a dataset return or raise `reply`; return the list that its calls are added to."""
    calls: list[dict[str, Any]] = []

    class Builder:
        hash, cache_dir, config = "c0ffee", "", datasets.BuilderConfig()

        def download_and_prepare(self) -> None:
            if isinstance(reply, Exception):
                raise reply

        def as_dataset(self, split: str) -> Any:
            calls[-1]["split"] = split
            return reply

    def load_dataset_builder(path: str, name: str | None = None, **options: Any) -> Any:
        calls.append({"path": path, "name": name, **options})
        return Builder()

    def get_dataset_config_names(path: str, **_: Any) -> list[str]:
        raise ConnectionError(path)

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    monkeypatch.setattr(datasets, "get_dataset_config_names", get_dataset_config_names)
    return calls


@pytest.mark.parametrize(("samples", "split_name"), [(None, "train"), (10, "train[:10]")])
def test_hub_rows_are_read_like_local_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, samples: int | None, split_name: str
) -> None:
    hub = [{**row, "text": "more"} for row in make_rows(10)]
    calls = answer(monkeypatch, datasets.Dataset.from_list(hub))
    rows = load_rows(DataSpec(path="somebody/rows", samples=samples))
    assert calls == [{"path": "somebody/rows", "name": None, "revision": None, "split": split_name}]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(hub))
    assert rows.revision == "c0ffee"
    assert msgspec.structs.replace(rows, revision=None) == load_rows(DataSpec(path=str(file), samples=samples))


def test_too_few_hub_rows_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, datasets.Dataset.from_list(make_rows(10)))
    with pytest.raises(DatasetError, match=r"data.samples is 50, but somebody/rows has 10 rows: set it to at most 10"):
        load_rows(DataSpec(path="somebody/rows", samples=50))


def test_hub_rows_of_another_form_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, datasets.Dataset.from_list([{"speech": "one", "reply": "two"}] * 2))
    with pytest.raises(DatasetError, match=r"row 1 of somebody/rows has the columns reply, speech: rename them"):
        load_rows(DATA)


class Response:
    """A stand-in for the HTTP response that the hub's errors need."""

    status_code, headers, request = 403, dict[str, str](), None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("Couldn't reach 'somebody/rows' on the Hub"), "the Hugging Face hub cannot be reached"),
        (LocalEntryNotFoundError("not in the cache"), "the Hugging Face hub cannot be reached"),
        (DatasetNotFoundError("Dataset 'somebody/rows' doesn't exist"), "the hub has nothing public with that name"),
        (
            RevisionNotFoundError("v7", response=cast(Any, Response())),
            "it has no commit, tag or branch with the name in",
        ),
        (GatedRepoError("gated", response=cast(Any, Response())), "accept its terms at"),
        (ValueError('Unknown split "train". Should be one of ["test"].'), 'Unknown split "train"'),
    ],
)
def test_hub_errors_say_cause_and_way_out(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    answer(monkeypatch, error)
    with pytest.raises(DatasetError, match=r"data.path is 'somebody/rows'") as caught:
        load_rows(DATA)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
