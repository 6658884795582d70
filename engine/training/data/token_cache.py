"""Tokenised rows kept from round to round, in files named by a hash of all that decides them.

They lie in the user's cache directory, without pickle, written whole or not at all. What cannot be read is made anew,
and what cannot be written is not kept: no round ends for it.
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
from engine.spec.schema import DataSpec
from engine.training.data.chat_template import give_plain_template
from engine.training.data.tokenize import Example, TokenisedRows, tokenise

VERSION = 1  # one more whenever the same rows become other tokens
MAX_BYTES = 2 * 1024**3
SUFFIX = ".safetensors"
PARTS = ("tokens", "supervised", "lengths")


class About(Struct, frozen=True):
    """What a file says besides its tensors."""

    warnings: tuple[str, ...]
    plain_template: bool


def tokenise_cached(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    data: DataSpec,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> TokenisedRows:
    """As `tokenise`, from the cache where the same rows were tokenised before."""
    file = cache_directory() / f"{cache_key(rows, tokenizer, data)}{SUFFIX}"
    kept = _load(file)
    if kept is None:
        tokenised = tokenise(rows, tokenizer, data, progress)
        with contextlib.suppress(OSError, SafetensorError):
            _store(file, tokenised)
        return tokenised
    progress(len(rows), len(rows))
    if kept.plain_template:
        give_plain_template(tokenizer)
    return kept


def cache_directory() -> Path:
    """Where tokenised rows are kept."""
    return user_cache_path("loratui") / "tokenised"


def cache_key(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, data: DataSpec) -> str:
    """A hash of the rows' content, of how they are rendered, and of the tokenizer's own."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decides = (
        VERSION,
        (transformers.__version__, tokenizers.__version__),
        (data.prompt_template, data.supervised_tokens),
        (tokenizer.chat_template, tokenizer.special_tokens_map),
        backend.to_str() if backend is not None else tokenizer.name_or_path,
    )
    digest = hashlib.blake2b(msgspec.msgpack.encode(decides), digest_size=24)
    for row in rows:
        digest.update(msgspec.msgpack.encode(row))
    return digest.hexdigest()


def _load(file: Path) -> TokenisedRows | None:
    """What is kept in `file`; None if it is not there, or not as it was written."""
    try:
        with safe_open(file, "pt") as source:
            told = source.metadata() or {}
            tensors = {name: source.get_tensor(name) for name in PARTS}
        if told["digest"] != _digest(tensors, told["about"]):
            return None
        about = msgspec.json.decode(told["about"], type=About)
        os.utime(file)  # what is used is not the oldest
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
    about = msgspec.json.encode(About(tokenised.warnings, tokenised.plain_template)).decode()
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
    """Keep the newest files that are `MAX_BYTES` together; what a crash left half written goes with its age too."""
    left = MAX_BYTES
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.stat().st_mtime_ns, reverse=True):
        left -= entry.stat().st_size
        if left < 0:
            os.unlink(entry)
