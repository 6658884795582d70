"""Specs, rounds, models and data files that tests start from."""

from __future__ import annotations

import io
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from engine.files.paths import Workspace
from engine.spec.fields import build_spec, flatten
from engine.spec.plan import make_plan
from engine.spec.round import Result, Round, Status
from engine.spec.schema import Spec

LINEAR_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NO_STORES = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "cut": b'{"rounds": {"1": {}',
    "table that is none": b'{"rounds": 5}',
    "other keys": b'{"rounds": {"x": {}}}',
    "huge key": b'{"rounds": {"%s": {}}}' % (b"9" * 5000),
    "key that is no ASCII digit": '{"rounds": {"٣": {}}}'.encode(),
    "record that is none": b'{"rounds": {"1": 5}}',
    "meta that is none": b'{"rounds": {}, "meta": {"1": 5}}',
    "other JSON": b'{"name": "my-package", "version": "1.0.0"}',
    "nothing in it": b"{}",
    "not UTF-8": b"\xff\xfe{}",
    "not UTF-8 in a record": b'{"rounds": {"1": {"note": "\xff"}}}',
    "UTF-16": '{"rounds": {}}'.encode("utf-16"),
    "zeros": b"\0" * 4096,
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "deep record": b'{"rounds": {"1": ' + b'{"a":' * 100_000,
    "merge conflict": b"<<<<<<< HEAD\n{}",
    "rounds twice": b'{"rounds": {"1": {"number": 1}}, "rounds": {}}',
    "round twice": b'{"rounds": {"1": {"number": 1}, "1": {"number": 2}}}',
    "field twice": b'{"rounds": {"1": {"number": 1, "number": 2}}}',
    "not a number": b'{"rounds": {"1": {"x": NaN}}}',
}


def make_spec(**settings: object) -> Spec:
    """A spec with its defaults; settings by dotted key with `__` for the dot: `lora__r=16`."""
    values: dict[str, Any] = {"model.path": "some/model", "data.path": "some/data", "data.samples": 100}
    return build_spec(values | {key.replace("__", "."): value for key, value in settings.items()})


def make_round(number: int = 1, status: Status = Status.FINISHED, *, spec: Spec | None = None, **fields: Any) -> Round:
    """A round as the store holds it; a finished one has a result unless told otherwise."""
    spec = spec or make_spec()
    fields.setdefault("id", f"{number:04d}-00c0ffee")
    fields.setdefault("plan", make_plan(spec, spec.data.samples))
    if status is Status.FINISHED:
        fields.setdefault("result", Result(eval_loss=1.2, perplexity=3.32, train_seconds=421.0))
    return Round(number=number, status=status, spec=spec, **fields)


def measured_on(number: int, rows: str | None, perplexity: float = 3.0, **settings: object) -> Round:
    """Make a finished round whose result names the held-out rows it was measured on."""
    return make_round(number, spec=make_spec(**settings), result=Result(perplexity=perplexity, held_out_rows=rows))


def give_adapter(workspace: Workspace, round_: Round) -> Round:
    """`round_`, with a run directory in which there is an adapter, as far as can be seen without torch."""
    run = workspace.run_dir(round_.id)
    run.adapter.mkdir(parents=True)
    (run.adapter / "adapter_config.json").write_text("{}")
    return round_


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of half-precision zeros: header length, header, data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(end))


def write_model(directory: Path) -> Path:
    """A directory that looks like a one-layer Llama to everything but torch."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 1}))
    (directory / "tokenizer.json").write_text("{}")
    layer = {f"model.layers.0.block.{name}.weight": [4, 4] for name in LINEAR_MODULES}
    others = {
        "model.embed_tokens.weight": [8, 4],
        "model.layers.0.input_layernorm.weight": [4],
        "lm_head.weight": [8, 4],
    }
    write_safetensors(directory / "model.safetensors", layer | others)
    return directory


def write_rows(file: Path, count: int = 40) -> Path:
    """Alpaca rows, one JSON object per line."""
    rows = [{"instruction": f"Count to {n}.", "input": "", "output": f"Done: {n}."} for n in range(1, count + 1)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_nano_spec(directory: Path, **settings: object) -> Spec:
    """A spec that passes preflight, its tiny model and data written under `directory`; settings as for `make_spec`."""
    directory.mkdir(parents=True, exist_ok=True)
    own = {"model.path": str(write_model(directory / "model")), "data.path": str(write_rows(directory / "rows.jsonl"))}
    values: dict[str, Any] = {
        "data.max_length": 64,
        "train.per_device_train_batch_size": 4,
        "train.gradient_accumulation_steps": 1,
        "train.num_train_epochs": 1.0,
        "train.save_strategy": "steps",
        "train.save_steps": 4,
    }
    return build_spec(own | values | {key.replace("__", "."): value for key, value in settings.items()})


def change_spec(spec: Spec, **settings: object) -> Spec:
    """`spec` with settings as for `make_spec`."""
    return build_spec(flatten(spec) | {key.replace("__", "."): value for key, value in settings.items()})


def damage(path: Path, content: bytes) -> None:
    """Overwrite a file in place, as of a while ago, so that nobody is taken to be still writing it."""
    path.write_bytes(content)
    os.utime(path, (time.time() - 60, time.time() - 60))


def as_parquet(records: list[Any]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(records), sink)
    return sink.getvalue()
