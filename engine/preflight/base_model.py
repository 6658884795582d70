"""What can be read of a base model without torch: its directory, config, tokenizer files and weight shapes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from engine.dataset.load import local_path
from engine.errors import ModelError, SpecError, reason_of
from engine.files.atomic import NoPlainFile, read_plain
from engine.spec.presets import EMBEDDED, embedded_model
from engine.spec.schema import Spec

MAX_HEADER_BYTES = 25_000_000  # as huggingface_hub has it (SAFETENSORS_MAX_HEADER_LENGTH)
MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_LAYERS = 10_000  # and the library makes an object for each before it looks at the weights
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
ALSO_TARGETS = frozenset({"lm_head", "embed_tokens"})  # peft takes them by name, though `all-linear` leaves them out
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")


def local_model_dir(path: str) -> Path | None:
    """The local directory that `model.path` means, None for a name on the hub."""
    if path == EMBEDDED:
        return embedded_model()
    return local_path(path)


def _check_model(spec: Spec) -> None:
    directory = local_model_dir(spec.model.path)
    if directory is None:
        return
    if not os.path.isfile(directory / "config.json"):
        raise ModelError(f"model.path is {str(directory)!r}: there is no config.json in it, so it holds no model")
    if not any(os.path.isfile(directory / name) for name in TOKENIZER_FILES):
        raise ModelError(f"model.path is {str(directory)!r}: there is no tokenizer in it: save the tokenizer beside it")
    if next(directory.glob("*.safetensors"), None) is None:
        raise ModelError(
            f"model.path is {str(directory)!r}: there are no .safetensors weights in it, and no others are loaded: "
            f"save the model as safetensors"
        )
    if os.path.isfile(directory / "adapter_config.json"):
        raise ModelError(
            f"model.path is {str(directory)!r}: there is an adapter_config.json in it, so it holds an adapter: name "
            f"its base model, or merge the two"
        )
    config = _read_config(directory / "config.json")
    check_layers(config, spec.model.path)
    positions = config.get("max_position_embeddings")
    check_positions(spec, positions if isinstance(positions, int) else None)
    if spec.lora.target_modules != "all-linear":
        check_target_modules(spec.lora.target_modules, linear_modules(directory))


def _read_config(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(stream.read(MAX_CONFIG_BYTES), type=dict[str, object])
    except OSError as error:
        raise ModelError(f"{file}: {reason_of(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{file} is no JSON object: {error}") from error


def check_layers(config: Mapping[str, object], path: str) -> None:
    """Raise ModelError if a model's config asks for so many layers that making them would never end."""
    for key, value in config.items():
        if key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") and isinstance(value, int | float):
            if value > MAX_LAYERS:
                raise ModelError(
                    f"model.path is {path!r}: its config.json has more than {MAX_LAYERS:,} as {key}: no model has"
                )
        elif key == "text_config" and isinstance(value, dict):
            check_layers(value, path)


def check_positions(spec: Spec, positions: int | None) -> None:
    """Raise SpecError if rows may be longer than the model has positions for."""
    if positions is not None and spec.data.max_length > positions:
        raise SpecError(
            f"data.max_length is {spec.data.max_length}, but this model has {positions} positions: "
            f"set it to at most {positions}",
            "data.max_length",
        )


def check_target_modules(wanted: tuple[str, ...], modules: frozenset[str]) -> None:
    """Raise SpecError if one of `wanted` is none of the model's `modules`, and name those."""
    for name in wanted:
        if name.rpartition(".")[2] not in modules | ALSO_TARGETS:
            raise SpecError(
                f"lora.target_modules has {name!r}, which this model lacks: it has {', '.join(sorted(modules))}",
                "lora.target_modules",
            )


def linear_modules(directory: Path) -> frozenset[str]:
    """Names of the modules of a local model that can take an adapter, read from its safetensors headers.

    A module is known by its weight matrix; embeddings and the output head are left out, as peft's `all-linear` does.

    Raises:
        ModelError: a weights file that is broken.
    """
    return frozenset(name for name in module_counts(directory) if "embed" not in name and name != "lm_head")


def module_counts(directory: Path) -> dict[str, int]:
    """How many modules with a weight matrix a local model has, by the last part of their names, as they come.

    Raises:
        ModelError: a weights file that is broken.
    """
    counts: Counter[str] = Counter()
    for file in sorted(directory.glob("*.safetensors")):
        try:
            status = file.stat()
        except OSError as error:  # a link into a cache that was cleaned up
            raise ModelError(f"{file}: {reason_of(error)}") from error
        counts.update(_matrix_modules(file, status.st_mtime_ns, status.st_size))
    return dict(counts)


@lru_cache(maxsize=64)
def _matrix_modules(file: Path, mtime_ns: int, size: int) -> tuple[str, ...]:
    """Last names of the modules with a two-dimensional weight in one file, one for each module.

    The format: 8 bytes little-endian header length, then a JSON object of tensors with their shapes
    (https://github.com/huggingface/safetensors#format).
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size, MAX_HEADER_BYTES):
                raise ModelError(f"{file} is cut off or no safetensors file: copy the model again")
            header = msgspec.json.decode(stream.read(length), type=dict[str, dict[str, object]])
    except OSError as error:
        raise ModelError(f"{file}: {reason_of(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{file} is cut off or no safetensors file: copy the model again") from error
    matrices = (
        key.removesuffix(".weight")
        for key, tensor in header.items()
        if key.endswith(".weight") and len(shape if isinstance(shape := tensor.get("shape"), list) else ()) == 2
    )
    return tuple(key.rpartition(".")[2] for key in matrices)


def model_dir_here(path: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where the model that `model.path` means lies, None for one of the hub that is not in its cache here."""
    return local_model_dir(path) or _cached(path, environment)


def read_config(directory: Path) -> dict[str, object]:
    """The config.json of the model in `directory`; raises ModelError if it cannot be read."""
    file = directory / "config.json"
    try:
        return msgspec.json.decode(
            read_plain(file, max_bytes=MAX_CONFIG_BYTES, follow_link=True), type=dict[str, object]
        )
    except (OSError, NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def _cached(path: str, environment: Mapping[str, str]) -> Path | None:
    """The newest snapshot of a model in huggingface_hub's cache, laid out as
    https://huggingface.co/docs/huggingface_hub/guides/manage-cache describes.
    """
    if not HUB_NAME.fullmatch(path):
        return None
    home = environment.get("HF_HOME") or os.path.join(
        environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    hub = Path(environment.get("HF_HUB_CACHE") or os.path.join(home, "hub"))
    snapshots = hub / f"models--{path.replace('/', '--')}" / "snapshots"
    try:
        found = [entry for entry in snapshots.iterdir() if COMMIT.fullmatch(entry.name) and entry.is_dir()]
        return max(found, key=lambda entry: entry.stat().st_mtime) if found else None
    except OSError:
        return None
