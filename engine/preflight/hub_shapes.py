"""The config of a model on the hub and the shapes of its weights, asked for without the weights, in a cache on disk.

The process that asks is `engine.training.workers.hub_shapes`: it reads the model of a spec, and replies with
`HubShapes`.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec
from msgspec import Struct
from platformdirs import user_cache_path

from engine.errors import LoratuiError, ModelError, ProcessEnded
from engine.files.atomic import NoPlainFile, read_plain
from engine.preflight.base_model import (
    HUB_NAME,
    MAIN,
    MAX_HEADER_BYTES,
    REVISION,
    find_model_dir,
    local_model_dir,
    tensor_shapes,
)
from engine.spec.schema import ModelSpec
from engine.system.worker_process import Refusal, WorkerProcess, WorkerSlot

ANSWER_SECONDS = 30.0  # one request for each file of the weights
INDEX = "model.safetensors.index.json"
COMMIT = re.compile(r"[0-9a-f]{40}")
COMMIT_FILE = "commit"  # beside the shapes: the commit that they are of


class HubShapes(Struct, frozen=True, tag="shapes"):
    """The hub has answered; the files are in `directory`."""

    directory: str


_answers: msgspec.json.Decoder[HubShapes | Refusal] = msgspec.json.Decoder(HubShapes | Refusal)


def directory_with_shapes(model: ModelSpec) -> Path | None:
    """Return a directory on this machine with the config and the shapes of all weights of a model; None without one.

    It is that of the model, or the one that `fetch_shapes` wrote.

    Raises:
        ModelError: a weights file is damaged.
    """
    return _downloaded(model) or shapes_of_hub(model)


def shapes_of_hub(model: ModelSpec) -> Path | None:
    """Return the directory that `fetch_shapes` wrote for a model, None if it has not.

    Raises:
        ModelError: the file is damaged.
    """
    asked = cache_directory(model)
    return asked if asked is not None and (asked / "config.json").is_file() and tensor_shapes(asked) else None


def cache_directory(model: ModelSpec) -> Path | None:
    """Return where the shapes of a model of the hub are written, None for what is no name on the hub."""
    revision = model.revision or MAIN
    if not HUB_NAME.fullmatch(model.path) or not REVISION.fullmatch(revision) or ".." in model.path + revision:
        return None
    name = f"{model.path}@{revision}".replace("/", "--")
    return user_cache_path("loratui") / "shapes" / name


def fetch_shapes(model: ModelSpec, slot: WorkerSlot | None = None) -> None:
    """Ask the hub for the config and the shapes of a model, by a process in `slot`; this may take some seconds.

    Those that are there are left as they are if the revision still names the same commit.

    Raises:
        LoratuiError: the hub does not have it, or has not answered within `ANSWER_SECONDS`.
    """

    def start() -> WorkerProcess:
        return WorkerProcess("engine.training.workers.hub_shapes", "the question to the hub")

    with (slot or WorkerSlot()).running(start, ANSWER_SECONDS) as process:
        process.send(model)
        try:
            process.receive(_answers)
        except ProcessEnded as error:
            raise ModelError(
                f"model.path is {model.path!r}: the hub has not told the shapes of its weights ({error.message}): try "
                f"again, or give a directory"
            ) from error


def update_shapes(model: ModelSpec, slot: WorkerSlot | None = None) -> str:
    """Have the newest shapes of a model of the hub on this machine, as `fetch_shapes`; return why that fails, or "".

    A model that is on this machine needs none, and those of a commit never change.

    Raises:
        ModelError: a weights file is damaged.
    """
    if local_model_dir(model.path) is not None or _downloaded(model) is not None:
        return ""
    old = shapes_of_hub(model)
    if old is not None and COMMIT.fullmatch(model.revision or ""):
        return ""
    try:
        fetch_shapes(model, slot)
    except LoratuiError as error:
        if old is None:
            return error.message
        day = time.strftime("%Y-%m-%d", time.localtime((old / "config.json").stat().st_mtime))
        return f"{error.message}; the plan has the shapes that the hub told on {day}, and may be out of date"
    return ""


def _downloaded(model: ModelSpec) -> Path | None:
    """Return the directory of a model that is on this machine as a whole."""
    directory = find_model_dir(model.path, revision=model.revision)
    return directory if directory is not None and _is_whole(directory) else None


def _is_whole(directory: Path) -> bool:
    """Return whether all files of the weights are there, of which a download may have left some out."""
    files = {file.name for file in directory.glob("*.safetensors") if file.exists()}  # a link may lead nowhere
    try:
        text = read_plain(directory / INDEX, max_bytes=MAX_HEADER_BYTES, follow_link=True)
        index = msgspec.json.decode(text, type=dict[str, object])
    except (OSError, NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bool(files)
    parts = index.get("weight_map")
    return bool(files) and (not isinstance(parts, dict) or files.issuperset(map(str, parts.values())))
