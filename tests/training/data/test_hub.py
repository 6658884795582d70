"""Configurations and splits of a dataset, in a directory laid out as on the hub and read by the library itself."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import datasets
import msgspec
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError

from engine.dataset.rows import PlainText
from engine.errors import DatasetError, SpecError
from engine.spec.data import DataSpec
from engine.spec.held_out import held_out_set
from engine.training.data.hub import check_on_hub, hub_parts, load_from_hub
from engine.training.data.load import load_rows, load_sets


def hub_error(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    return kind("no", response=cast(Any, SimpleNamespace(headers={}, request=None)))


CONFIGS = """\
---
configs:
- config_name: main
  data_files:
  - {split: train_sft, path: a.jsonl}
  - {split: test_sft, path: b.jsonl}
- config_name: other
  data_files:
  - {split: train, path: b.jsonl}
---
"""


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    directory = tmp_path / "dataset"
    directory.mkdir()
    (directory / "README.md").write_text(CONFIGS)
    for name, count in (("a", 3), ("b", 2)):
        rows = [json.dumps({"text": f"{name}{number}"}) for number in range(count)]
        (directory / f"{name}.jsonl").write_text("\n".join(rows))
    return str(directory)


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({"name": "main", "split": "train_sft"}, ["a0", "a1", "a2"]),
        ({"name": "main", "split": "train_sft", "samples": 2}, ["a0", "a1"]),
        ({"name": "main", "split": "test_sft"}, ["b0", "b1"]),
        ({"name": "other"}, ["b0", "b1"]),
    ],
)
def test_configuration_and_split_are_read(dataset: str, settings: Any, texts: list[str]) -> None:
    rows = load_from_hub(DataSpec(path=dataset, **settings)).usable
    assert [row.text for row in rows if isinstance(row, PlainText)] == texts


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({}, "data.name", "data.name is empty, but {} has main, other: set it to one of these"),
        ({"name": "sub"}, "data.name", "data.name is sub, but {} has main, other: set it to one of these"),
        (
            {"name": "main"},
            "data.split",
            "data.split is empty, which means train, but {} has train_sft, test_sft: set it to one of these",
        ),
        (
            {"name": "other", "split": "dev"},
            "data.split",
            "data.split is dev, but {} has train: set it to one of these",
        ),
    ],
)
def test_what_the_dataset_has_is_listed(dataset: str, settings: Any, key: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_from_hub(DataSpec(path=dataset, **settings))
    assert (caught.value.message, caught.value.key) == (message.format(dataset), key)


def test_configurations_and_splits_are_listed(dataset: str) -> None:
    assert hub_parts("name", DataSpec(dataset)) == ["main", "other"]
    assert hub_parts("split", DataSpec(dataset, "main")) == ["train_sft", "test_sft"]
    with pytest.raises(SpecError, match=r"data.name is empty, but .* has main, other: set it to one of these"):
        hub_parts("split", DataSpec(dataset))
    with pytest.raises(DatasetError, match=r"data.path is '/no/such': "):
        hub_parts("name", DataSpec("/no/such"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "main", "split": "train_sft"}, None),
        ({"name": "main", "split": "train_sft[:2]"}, None),
        ({"name": "other"}, None),
        ({}, "data.name is empty, but {} has main, other: set it to one of these"),
        ({"name": "main", "split": "dev"}, "data.split is dev, but {} has train_sft, test_sft: set it to one of these"),
    ],
)
def test_what_the_dataset_does_not_have_is_named_before_it_is_read(
    dataset: str, settings: Any, message: str | None
) -> None:
    data = DataSpec(dataset, **settings)
    if message is None:
        assert check_on_hub(data) is None
        return
    with pytest.raises(SpecError) as caught:
        check_on_hub(data)
    assert caught.value.message == message.format(dataset)


def test_without_a_network_what_the_cache_does_not_have_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def cached(path: str, name: str | None, **_: object) -> Any:
        if name is not None:
            raise ValueError(f"Couldn't find cache for {path} for config '{name}'")
        return SimpleNamespace(info=SimpleNamespace(splits={"train": None, "test": None}))

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "load_dataset_builder", cached)
    assert [check_on_hub(DataSpec("a/b", split=split)) for split in (None, "test")] == [None, None]
    warning = check_on_hub(DataSpec("a/b", split="dev"))
    assert warning is not None
    assert warning.startswith("data.split is dev, but a/b has train, test: set it to one of these (as far as the cache")
    warning = check_on_hub(DataSpec("a/b", "main"))
    assert warning is not None
    assert warning.startswith("data.path is 'a/b': Couldn't find cache for a/b for config 'main' (it is asked again")
    with pytest.raises(DatasetError, match="Couldn't find cache for a/b for config 'main'"):
        load_from_hub(DataSpec("a/b", "main"))
    with pytest.raises(DatasetError, match="the configurations of a/b cannot be listed: the hub cannot be reached"):
        hub_parts("name", DataSpec("a/b"))


@pytest.mark.parametrize(
    ("error", "reason", "refused"),
    [
        (DatasetNotFoundError("no"), "the hub has nothing public with that name", True),
        (hub_error(GatedRepoError), "access to it must be granted: accept its terms", True),
        (hub_error(RevisionNotFoundError), "it has no commit, tag or branch with the name in revision", True),
        (ConnectionError("no"), "the Hugging Face hub cannot be reached", False),
        (RuntimeError("503 busy"), "503 busy", False),
    ],
)
def test_only_what_the_hub_says_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, refused: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "get_dataset_config_names", fail)
    if refused:
        with pytest.raises(DatasetError, match=f"data.path is 'a/b': {reason}"):
            check_on_hub(DataSpec("a/b"))
    else:
        warning = check_on_hub(DataSpec("a/b"))
        assert warning is not None and warning.startswith(f"data.path is 'a/b': {reason}")
        assert warning.endswith("(it is asked again when the round runs)")


def test_held_out_set_is_another_split_of_the_dataset(dataset: str) -> None:
    data = DataSpec(path=dataset, name="main", split="train_sft", eval_split="test_sft")
    own_set = held_out_set(data)
    assert own_set is not None
    rows = load_from_hub(own_set).usable
    assert [row.text for row in rows if isinstance(row, PlainText)] == ["b0", "b1"]


def test_wrong_split_of_the_held_out_set_is_named_by_its_field(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.training.data.load.local_data_path", lambda path: None)  # as if it were on the hub
    monkeypatch.setattr("engine.dataset.load.local_data_path", lambda path: None)
    data = DataSpec(path=dataset, name="main", split="train_sft", eval_split="test")
    with pytest.raises(SpecError) as caught:
        load_sets(data)
    message = f"data.eval_split is test, but {dataset} has train_sft, test_sft: set it to one of these"
    assert (caught.value.message, caught.value.key) == (message, "data.eval_split")


def test_row_that_python_cannot_hold_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Any:
        yield {"text": "a"}
        raise OverflowError("date value out of range")

    builder = SimpleNamespace(hash="c0ffee", download_and_prepare=lambda: None, as_dataset=lambda split: rows())
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: builder)
    with pytest.raises(DatasetError, match=r"data.path is 'a/b': a row cannot be read: date value out of range"):
        load_from_hub(DataSpec(path="a/b"))


@pytest.mark.parametrize("samples", [2, 3])
def test_large_dataset_is_streamed(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int) -> None:
    data = DataSpec(dataset, "main", "train_sft", samples=samples)
    monkeypatch.setattr("engine.training.data.hub._size", lambda builder: 10**15)
    streamed = load_from_hub(data)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    monkeypatch.undo()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert streamed == load_from_hub(data)
    assert list((tmp_path / "cache").rglob("*.arrow"))


def test_wrong_split_of_a_large_dataset_is_named(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.training.data.hub._size", lambda builder: 10**15)
    with pytest.raises(
        SpecError,
        match=r"data.split is empty, which means train, but .* has train_sft, test_sft: set it to one of these",
    ):
        load_from_hub(DataSpec(dataset, "main", samples=2))


@pytest.mark.parametrize("key", ["name", "split", "revision"])
def test_local_file_has_no_configuration_and_no_split(tmp_path: Path, key: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n' * 2)
    with pytest.raises(SpecError, match=rf"data.{key} is x, but only a.* dataset of the hub,? has one: leave it empty"):
        load_rows(msgspec.structs.replace(DataSpec(path=str(file)), **{key: "x"}))
