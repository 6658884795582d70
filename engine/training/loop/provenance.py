"""The provenance of a round's results that only the engine knows: weights, rows, device."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from engine.dataset.data_files import files_of
from engine.dataset.load import local_data_path
from engine.dataset.rows import Rows
from engine.errors import LoratuiError
from engine.files.atomic import NoPlainFile, open_plain
from engine.files.paths import RunDir
from engine.preflight.base_model import find_model_dir, local_model_dir
from engine.preflight.initial_adapter import WEIGHTS, adapter_dir
from engine.runs.events import Provenance
from engine.runs.provenance import command_of, git_state, library_versions
from engine.spec.data import DataSpec
from engine.spec.held_out import held_out_set
from engine.spec.mix import as_data, sources_of
from engine.spec.schema import Spec
from engine.system.telemetry import sample_gpus
from engine.training.data.tokenize import Example
from engine.training.evaluation.perplexity import example_hash
from engine.training.runtime.device import device_name


def provenance_of(
    spec: Spec,
    run: RunDir,
    device: torch.device,
    train: Sequence[Example],
    held_out: Sequence[Example],
    sets: Sequence[Rows],
) -> tuple[Provenance, int]:
    """Collect the provenance, and count the held-out rows that are among the training rows too.

    `sets` are the rows as they were read, as `load_sets` returns them. It reads weights and data once more, so it is
    best run in the background.
    """
    model = find_model_dir(spec.model.path, revision=spec.model.revision)
    own_set, initial = held_out_set(spec.data), adapter_dir(spec.lora)
    train_hashes, held_out_hashes = (list(map(example_hash, rows)) for rows in (train, held_out))
    provenance = Provenance(
        time=time.time(),
        model_revision=None if model is None or local_model_dir(spec.model.path) is not None else model.name,
        weights=None if model is None else _weights_hash(model),
        data=data_hash(spec.data),
        held_out_data=None if own_set is None else data_hash(own_set),
        initial_adapter=None if initial is None else file_hash(initial / WEIGHTS),
        data_revision=sets[0].revision,
        held_out_revision=sets[-1].revision if own_set is not None else None,
        mixed=tuple(
            f"{source} {rows.revision or data_hash(as_data(source, spec.data))}"
            for source, rows in zip(sources_of(spec.data), sets[1:], strict=False)
        ),
        train_rows=_hash_of(train_hashes),
        held_out_rows=_hash_of(held_out_hashes) if held_out else "",
        libraries=library_versions(),
        device=device_name(device),
        driver=_driver(device),
        git=git_state(run.workspace_root),
        command=command_of(spec),
    )
    seen = set(train_hashes)
    return provenance, sum(digest in seen for digest in held_out_hashes)


def _weights_hash(directory: Path) -> str | None:
    """Return a hash of the model's safetensors files, None if there are none or they cannot be read."""
    files = sorted(directory.glob("*.safetensors"))
    hashes = {file.name: file_hash(file) for file in files}
    return _hash_of(f"{name} {digest}" for name, digest in hashes.items()) if hashes and all(hashes.values()) else None


def data_hash(data: DataSpec) -> str | None:
    """Return the hash of a local data file, or of the names and hashes of several; None for a dataset of the hub."""
    path = local_data_path(data.path)
    try:
        files = files_of(path, data) if path is not None else ()
    except LoratuiError:
        return None
    hashes = [(file.name, file_hash(file)) for file in files]
    if len(hashes) == 1:
        return hashes[0][1]
    return _hash_of(f"{name} {digest}" for name, digest in hashes) if hashes else None


def file_hash(file: Path) -> str | None:
    """Return the SHA-256 of a file, None if it cannot be read."""
    try:
        with open_plain(file, follow_link=True) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, NoPlainFile):
        return None


def _hash_of(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _driver(device: torch.device) -> str | None:
    """Return the versions of driver and CUDA, None for a CPU."""
    if device.type != "cuda":
        return None
    gpus, _ = sample_gpus()
    return f"{next((gpu.driver for gpu in gpus if gpu.driver), 'unknown')}, CUDA {torch.version.cuda}"
