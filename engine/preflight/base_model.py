"""Read a base model without torch: its directory, config, tokenizer files and weight shapes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from engine.dataset.load import local_path
from engine.errors import ModelError, SpecError, reason_of
from engine.files.atomic import NoPlainFile, open_plain, read_plain
from engine.spec.presets import EMBEDDED, embedded_model
from engine.spec.schema import Spec

MAX_HEADER_BYTES = 25_000_000  # as huggingface_hub has it (SAFETENSORS_MAX_HEADER_LENGTH)
MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_LAYERS = 10_000  # transformers makes an object for each before it looks at the weights
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
ALSO_TARGETS = frozenset({"lm_head", "embed_tokens"})  # peft accepts them by name; `all-linear` leaves them out
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
REVISION = re.compile(r"\w[\w./-]*")
MAIN = "main"
MAX_REF_BYTES = 1024
# Endings of the names of classes that have no head for the next token, as transformers has them.
NO_DECODERS = (
    "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice",
    "ForNextSentencePrediction", "ForImageClassification",
)  # fmt: skip


def local_model_dir(path: str) -> Path | None:
    """Return the local directory that `model.path` means, None for a name on the hub."""
    if path == EMBEDDED:
        return embedded_model()
    return local_path(path)


def find_model_dir(path: str, environment: Mapping[str, str] = os.environ, revision: str | None = None) -> Path | None:
    """Return the directory of a model on this machine, in the hub's cache too; None for one that is not there."""
    return local_model_dir(path) or _cached_model_dir(path, revision or MAIN, environment)


def _cached_model_dir(path: str, revision: str, environment: Mapping[str, str]) -> Path | None:
    """Return the directory of a commit, tag or branch of a model in the hub's cache
    (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).

    huggingface_hub itself reads its settings when it is imported, and an engine has yet to choose them.
    """
    if not HUB_NAME.fullmatch(path):
        return None
    home = environment.get("HF_HOME") or os.path.join(
        environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    hub = Path(environment.get("HF_HUB_CACHE") or os.path.join(home, "hub"))
    model = hub / f"models--{path.replace('/', '--')}"
    if COMMIT.fullmatch(revision):
        commit = revision
    elif not REVISION.fullmatch(revision) or ".." in revision:  # as git has it, too
        return None
    else:
        try:
            commit = read_plain(model / "refs" / revision, max_bytes=MAX_REF_BYTES, follow_link=True).decode()
        except (OSError, ValueError):  # NoPlainFile and UnicodeDecodeError are ValueErrors
            return None
    snapshot = model / "snapshots" / commit
    return snapshot if COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def read_config(directory: Path) -> dict[str, object]:
    """Return the config.json of the model in `directory`; raises ModelError if it cannot be read."""
    file = directory / "config.json"
    try:
        return msgspec.json.decode(
            read_plain(file, max_bytes=MAX_CONFIG_BYTES, follow_link=True), type=dict[str, object]
        )
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {reason_of(error)}") from error
    except NoPlainFile as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{file} is not a JSON object: {error}") from error


def check_model(spec: Spec) -> None:
    """Check that a local base model is complete and fits `spec`; a model of the hub is not looked at.

    Raises:
        ModelError: a file is missing or cannot be read, or the directory holds an adapter.
        SpecError: rows longer than the model allows, token ids that it does not have, or a revision.
    """
    directory = local_model_dir(spec.model.path)
    if directory is None:
        return
    if spec.model.revision is not None:
        raise SpecError(
            f"model.revision is {spec.model.revision}, but only a model of the hub has one: leave it empty",
            "model.revision",
        )
    if not os.path.isfile(directory / "config.json"):
        raise ModelError(f"model.path is {str(directory)!r}: there is no config.json in it, so it is not a model")
    if not any(os.path.isfile(directory / name) for name in TOKENIZER_FILES):
        raise ModelError(f"model.path is {str(directory)!r}: there is no tokenizer in it: save the tokenizer there")
    if next(directory.glob("*.safetensors"), None) is None:
        raise ModelError(
            f"model.path is {str(directory)!r}: there are no .safetensors weights in it, and no others are loaded: "
            f"save the model as safetensors"
        )
    if os.path.isfile(directory / "adapter_config.json"):
        raise ModelError(
            f"model.path is {str(directory)!r}: there is an adapter_config.json in it, so it holds an adapter: name "
            f"its base model, and the adapter in lora.initial_adapter to train it on"
        )
    config = read_config(directory)
    check_layers(config, spec.model.path)
    check_kind(config, spec.model.path)
    check_positions(spec, positions_in(config))
    check_token_ids(spec.lora.trainable_token_indices or (), _vocabulary_size(config))


def check_kind(config: Mapping[str, object], path: str) -> None:
    """Raise ModelError if a model's config names an encoder, a classifier or an encoder with a decoder."""
    classes = config.get("architectures")
    names = [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    encodes = config.get("is_encoder_decoder") is True
    if names and (encodes or all(name.endswith(NO_DECODERS) for name in names)):
        raise not_causal(path, names)


def not_causal(path: str, classes: Sequence[str]) -> ModelError:
    """Return the sentence on a model of these classes, which predict no next token."""
    return ModelError(
        f"model.path is {path!r}: it is a {', '.join(classes)}, and only causal language models can be trained: choose "
        f"another"
    )


def check_layers(config: Mapping[str, object], path: str) -> None:
    """Raise ModelError if a model's config asks for so many layers that building them would never end."""
    for key, value in config.items():
        if key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") and isinstance(value, int | float):
            if value > MAX_LAYERS:
                raise ModelError(
                    f"model.path is {path!r}: {key} in its config.json is above {MAX_LAYERS:,}, and no model has so "
                    f"many layers: correct it"
                )
        elif key == "text_config" and isinstance(value, dict):
            check_layers(value, path)


def positions_in(config: Mapping[str, object]) -> int | None:
    """Return the number of positions of a model, by its config; None where that does not say it."""
    positions = config.get("max_position_embeddings")
    return positions if isinstance(positions, int) else None


def check_positions(spec: Spec, positions: int | None) -> None:
    """Raise SpecError if rows may be longer than the model's number of positions."""
    if positions is not None and spec.data.max_length > positions:
        raise SpecError(
            f"data.max_length is {spec.data.max_length}, but this model has {positions} positions: "
            f"set it to at most {positions}",
            "data.max_length",
        )


def _vocabulary_size(config: Mapping[str, object]) -> int | None:
    text = config.get("text_config")
    size = config.get("vocab_size") or (text.get("vocab_size") if isinstance(text, dict) else None)
    return size if isinstance(size, int) else None


def check_token_ids(tokens: Sequence[int | str], rows: int | None) -> None:
    """Raise SpecError if an id of `lora.trainable_token_indices` is beyond the `rows` of a model's embedding."""
    for token in tokens:
        if isinstance(token, int) and (token < 0 or (rows is not None and token >= rows)):
            raise SpecError(
                f"lora.trainable_token_indices has {token}, and "
                + ("an id is at least 0" if rows is None else f"this model embeds the ids from 0 to {rows - 1}"),
                "lora.trainable_token_indices",
            )


def tensor_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in the weights of a local model by its name, in file order.

    Raises:
        ModelError: a weights file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(directory.glob("*.safetensors")):
        try:
            status = file.stat()
        except OSError as error:  # a link into a cache that was cleaned up
            raise ModelError(f"{file}: {reason_of(error)}") from error
        shapes |= _shapes_in(file, status.st_mtime_ns, status.st_size)
    return shapes


@lru_cache(maxsize=64)
def _shapes_in(file: Path, mtime_ns: int, size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in one file by its name.

    The format: 8 bytes little-endian header length, then a JSON object of tensors with their shapes
    (https://github.com/huggingface/safetensors#format). `safetensors.safe_open` would import numpy, and map the file
    into memory, where a file that is cut short meanwhile kills the process.
    """
    damaged = f"{file} is cut off or not a safetensors file: copy the model again"
    try:
        with open_plain(file, follow_link=True) as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size, MAX_HEADER_BYTES):
                raise ModelError(damaged)
            header = msgspec.json.decode(stream.read(length), type=dict[str, dict[str, object]])
    except OSError as error:
        raise ModelError(f"{file}: {reason_of(error)}") from error
    except NoPlainFile as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(damaged) from error
    return {
        name: tuple(shape)
        for name, tensor in header.items()
        if isinstance(shape := tensor.get("shape"), list) and all(isinstance(size, int) for size in shape)
    }
