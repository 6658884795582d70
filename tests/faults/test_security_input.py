"""Specs, models, data and values made to choke on."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.api import Cockpit
from engine.dataset.data_files import files_of
from engine.dataset.load import count_rows
from engine.errors import DatasetError, LoratuiError, ModelError, SpecError
from engine.files.paths import Workspace
from engine.preflight import checks
from engine.spec.data import DataSpec
from engine.spec.fields import parse_value
from engine.spec.presets import presets, shipped_presets
from engine.spec.schema import decode_spec
from tests.support.faults.tried import Tried
from tests.support.processes import ROOT
from tests.support.rounds import make_spec, write_model, write_rows

DEEP = b'{"a":' * 100_000
BOMBS = [
    DEEP, b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"1" * 100_000, b"1e999999", b"-1e-999999", b"NaN",
    b"Infinity",
    b'{"spec": NaN}', b'{"spec": {"model": {"path": "x"}, "data": {"path": "y"}, "train": {"learning_rate": 1e400}}}',
    b'{"spec": {"model": {"path": "x"}, "data": {"path": "y"}, "lora": {"r": ' + b"9" * 5000 + b"}}}",
    b'{"spec": {"model": {"path": "x"}, "model": {"path": 7}, "data": {"path": "y"}}}', b"\xff\xfe", b"\0" * 1000, b"",
    b'{"spec": {"model": {"path": "\\ud800"}, "data": {"path": "y"}}}', b'"' + b"x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_hostile_spec_is_a_sentence_for_the_engine_and_nothing_for_rebuild(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tried: Tried, bomb: bytes
) -> None:
    from engine.runs.spec_file import read_spec

    run = workspace.run_dir("0001-bomb")
    run.path.mkdir(parents=True)
    run.spec.write_bytes(bomb)
    with pytest.raises(LoratuiError) as caught:
        read_spec(run)
    assert "\n" not in caught.value.message
    count, _ = Cockpit(workspace, lambda _: None).rebuild()
    tried("S10", "a spec.json made to choke on", 1, count)
    assert count == 0


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "link", "directory", "huge", "endless"])
def test_spec_that_is_no_plain_file_is_not_read(workspace: Workspace, tried: Tried, kind: str) -> None:
    from engine.runs.spec_file import read_spec

    run = workspace.run_dir("0001-odd")
    run.path.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(run.spec)
    elif kind == "link":
        run.spec.symlink_to("/etc/passwd")
    elif kind == "endless":
        run.spec.symlink_to("/dev/zero")
    elif kind == "directory":
        run.spec.mkdir()
    else:
        with run.spec.open("wb") as file:
            file.truncate(10 * 2**30)  # a hole
    with pytest.raises(SpecError, match=r"spec\.json cannot be read"):
        read_spec(run)
    assert Cockpit(workspace, lambda _: None).rebuild()[0] == 0
    tried("S10", "a pipe, link or endless file in the place of spec.json", 1)


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_hostile_model_and_data_files_are_refused_in_a_sentence(tmp_path: Path, tried: Tried, bomb: bytes) -> None:
    model, rows = write_model(tmp_path / "model"), tmp_path / "rows.jsonl"
    rows.write_bytes(bomb)
    spec = make_spec(model__path=str(model), data__path=str(rows), data__samples=None)
    with pytest.raises(DatasetError) as refused:
        count_rows(rows, spec.data)
    assert len(refused.value.message) < 2000 and "\n" not in refused.value.message
    write_rows(rows)
    (model / "config.json").write_bytes(bomb)
    begun = time.monotonic()
    try:
        checks.check(spec)
    except LoratuiError as error:
        assert isinstance(error, ModelError) and "\n" not in error.message
    tried("S10", "config.json and data files made to choke on", 2, time.monotonic() - begun > 10)


HEADERS = {
    "longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "longest there is": struct.pack("<Q", 2**64 - 1) + b"{}",
    "negative as signed": struct.pack("<Q", 2**63) + b"{}",
    "deep": struct.pack("<Q", len(DEEP)) + DEEP,
    "no JSON": struct.pack("<Q", 8) + b"xxxxxxxx",
    "shape is no list": struct.pack("<Q", 36) + b'{"a.weight":{"shape":{"x":[1,2,3]}}}',
    "cut": b"\x01\x02",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_hostile_safetensors_header_is_refused_by_preflight(tmp_path: Path, tried: Tried, header: bytes) -> None:
    model, rows = write_model(tmp_path / "model"), write_rows(tmp_path / "rows.jsonl")
    (model / "model.safetensors").write_bytes(header)
    with pytest.raises(LoratuiError) as caught:
        checks.check(make_spec(model__path=str(model), data__path=str(rows), data__samples=None))
    tried("S10", "a safetensors header made to choke on", 1)
    assert "\n" not in caught.value.message


def test_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path, tried: Tried) -> None:
    model, rows = write_model(tmp_path / "model"), write_rows(tmp_path / "rows.jsonl")
    with (model / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 100 * 2**20))
        file.truncate(200 * 2**20)
    begun = time.monotonic()
    with pytest.raises(ModelError, match="cut off or not a safetensors file"):
        checks.check(make_spec(model__path=str(model), data__path=str(rows), data__samples=None))
    tried("S10", "a safetensors header of 100 MiB", 1, time.monotonic() - begun > 5)


VALUES: list[tuple[str, str]] = [
    ("lora.r", "9" * 5000), ("lora.r", "1e999"), ("lora.r", "nan"), ("lora.r", "0x10"), ("train.learning_rate", "nan"),
    ("train.learning_rate", "inf"), ("train.learning_rate", "1e400"), ("train.num_train_epochs", "-0.0"),
    ("data.max_length", "٣٣٣" * 2000), ("data.samples", "-1"), ("train.seed", str(2**64)), ("model.dtype", "__class__"),
    ("data.prompt_template", "{prompt.__class__}"), ("data.prompt_template", "{prompt!r:>99999999}"),
    ("lora.target_modules", ""), ("model.path", ""),
]  # fmt: skip


@pytest.mark.parametrize(("key", "text"), VALUES)
def test_hostile_value_is_refused(tried: Tried, key: str, text: str) -> None:
    with pytest.raises(SpecError):
        parse_value(key, text)
    tried("S10", "a value of a field made to choke on", 1)


def test_spec_with_a_field_of_nobody_is_refused(tried: Tried) -> None:
    nested: dict[str, Any] = msgspec.to_builtins(make_spec())
    for place in (nested, nested["model"], nested["train"]):
        place["__class__"] = "x"
        with pytest.raises(SpecError):
            decode_spec(nested)
        del place["__class__"]
    tried("S10", "a field that no spec has", 3)
    assert decode_spec(nested) == make_spec()


def test_presets_come_from_the_package_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried) -> None:
    """No preset of the directory one happens to be in is taken for one of ours."""
    (tmp_path / "evil.json").write_text(json.dumps({"description": "x", "spec": msgspec.to_builtins(make_spec())}))
    (tmp_path / "presets").mkdir()
    shutil.copy(tmp_path / "evil.json", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    shipped_presets.cache_clear()
    tried("S10", "presets lying about", 1, "evil" in presets())
    assert set(presets()) == {path.stem for path in (ROOT / "engine" / "assets" / "presets").glob("*.json")}


def test_yaml_is_read_by_the_loader_that_runs_nothing(tried: Tried) -> None:
    sources = [path for folder in ("engine", "tui") for path in (ROOT / folder).rglob("*.py")]
    uses = [
        use
        for path in sources
        for use in re.findall(r"from yaml.*|yaml\.(?!safe_load\b|YAMLError\b)\w+", path.read_text())
    ]
    tried("S10", "YAML in the sources", len(sources), len(uses))
    assert uses == []


LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
README_FILES = {
    "a tag that names code": "configs: !!python/object/apply:os.system ['touch /tmp/pwned']",
    "nested without end": "configs: " + "[" * 100_000,
    "a name for ever more": f"a0: &a0 [{'x' * 9}]\n{LAUGHS}configs: [{{config_name: *a29, data_files: *a29}}]",
    "not what is expected": "configs: [{data_files: {train: [[1], {2: 3}, null]}}, 4, {config_name: [], data_dir: 5}]",
    "out of the directory": "configs: [{data_files: '../../**/*.jsonl'}, {config_name: b, data_dir: ../..}]",
    "very long": "configs: []\n# " + "x" * 3_000_000,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("head", README_FILES.values(), ids=README_FILES)
def test_hostile_readme_of_a_dataset_is_no_trouble(head: str, tmp_path: Path, tried: Tried) -> None:
    directory = tmp_path / "dataset"
    directory.mkdir()
    for place in (tmp_path, directory):
        (place / "rows.jsonl").write_text('{"text": "a"}\n' * 2)
    (directory / "README.md").write_text(f"---\n{head}\n---\n# A dataset\n")
    try:
        files = files_of(directory, DataSpec(str(directory)))
    except LoratuiError:
        files = ()
    tried("S10", "README.md of a dataset made to choke on", 1, 0)
    assert files in ((), (directory / "rows.jsonl",))
