"""A cache of tokenised rows across rounds, in files named by a hash of everything that determines the tokens.

The files lie in the user's cache directory, without pickle, each written whole or not at all. If a file cannot be read,
the rows are tokenised again; if it cannot be written, the round goes on without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import tokenizers
import torch
import transformers
from msgspec import Struct
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from engine.dataset.rows import Row
from engine.spec.data import DataSpec
from engine.training.data.chat_template import give_plain_template
from engine.training.data.tokenize import Example, TokenisedRows, tokenise

VERSION = 2  # increase it when the same rows give other tokens
MAX_BYTES = 2 * 1024**3
SUFFIX = ".safetensors"
PARTS = ("tokens", "supervised", "lengths")


class CacheMetadata(Struct, frozen=True):
    """The metadata of a file."""

    warnings: tuple[str, ...]
    plain_template: bool


def tokenise_cached(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    data: DataSpec,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> TokenisedRows:
    """Tokenise as `tokenise` does, from the cache where the same rows were tokenised before."""
    file = cache_directory() / f"{cache_key(rows, tokenizer, data)}{SUFFIX}"
    cached = _load(file)
    if cached is None:
        tokenised = tokenise(rows, tokenizer, data, progress)
        with contextlib.suppress(OSError, SafetensorError):
            _store(file, tokenised)
        return tokenised
    progress(len(rows), len(rows))
    if cached.plain_template:
        give_plain_template(tokenizer)
    return cached


def cache_directory() -> Path:
    """Return the directory of the cached files."""
    return user_cache_path("loratui") / "tokenised"


def cache_key(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, data: DataSpec) -> str:
    """Return a hash of the rows, of the way they are rendered, and of the tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    settings = (
        VERSION,
        (transformers.__version__, tokenizers.__version__),
        (data.prompt_template, data.supervised_tokens, data.reasoning, data.chat_template),
        (tokenizer.chat_template, tokenizer.special_tokens_map),
        backend.to_str() if backend is not None else tokenizer.name_or_path,
    )
    digest = hashlib.blake2b(msgspec.msgpack.encode(settings), digest_size=24)
    for row in rows:
        digest.update(msgspec.msgpack.encode(row))
    return digest.hexdigest()


def _load(file: Path) -> TokenisedRows | None:
    """Read `file`; None if it is missing or damaged."""
    try:
        with safe_open(file, "pt") as source:
            metadata = source.metadata() or {}
            tensors = {name: source.get_tensor(name) for name in PARTS}
        if metadata["digest"] != _digest(tensors, metadata["about"]):
            return None
        about = msgspec.json.decode(metadata["about"], type=CacheMetadata)
        os.utime(file)  # the oldest files are removed first
    except (OSError, SafetensorError, KeyError, msgspec.DecodeError):
        return None
    lengths = tensors["lengths"].tolist()
    examples = map(Example, tensors["tokens"].split(lengths), tensors["supervised"].split(lengths))
    return TokenisedRows(list(examples), about.warnings, about.plain_template)


def _store(file: Path, tokenised: TokenisedRows) -> None:
    examples = tokenised.examples
    tensors = {
        "tokens": torch.cat([example.tokens for example in examples]),
        "supervised": torch.cat([example.supervised for example in examples]),
        "lengths": torch.tensor([len(example) for example in examples]),
    }
    about = msgspec.json.encode(CacheMetadata(tokenised.warnings, tokenised.plain_template)).decode()
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    os.close(descriptor)
    try:
        save_file(tensors, name, {"about": about, "digest": _digest(tensors, about)})
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
    _remove_oldest(file.parent)


def _digest(tensors: dict[str, torch.Tensor], about: str) -> str:
    digest = hashlib.blake2b(about.encode())
    for name in PARTS:
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()


def _remove_oldest(directory: Path) -> None:
    """Keep the newest files up to `MAX_BYTES` in all; half-written files of a crash are removed by age too."""
    remaining = MAX_BYTES
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.stat().st_mtime_ns, reverse=True):
        remaining -= entry.stat().st_size
        if remaining < 0:
            os.unlink(entry)
