"""The shapes of a model on the hub: `python -P -m engine.training.workers.hub_shapes`, for `preflight.hub_shapes`.

It reads the model of a spec as a line of JSON, and asks for the config and, by requests for parts of the files, for the
headers of the weights. It writes a safetensors file that is a header alone, which is read as any other.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from engine.errors import ModelError, reason_at
from engine.files.atomic import NoPlainFile, read_plain, write_atomically
from engine.files.ownership import make_directory
from engine.preflight.base_model import read_config
from engine.preflight.hub_shapes import COMMIT_FILE, HubShapes, cache_directory, shapes_of_hub
from engine.spec.schema import ModelSpec
from engine.training.runtime.hub_errors import explain_hub_error
from engine.training.runtime.imports import go_offline_if_unreachable
from engine.training.workers.start import start_worker


def main() -> None:
    replies = start_worker()
    model = msgspec.json.decode(sys.stdin.buffer.readline(), type=ModelSpec)
    with replies.errors_as_refusals():
        replies.send(HubShapes(str(fetch(model))))


def fetch(model: ModelSpec) -> Path:
    """Ask the hub, unless the answer that is there is of the same commit, and return the directory of the answer.

    Raises:
        ModelError: the hub does not have the model, or its weights are not safetensors.
    """
    go_offline_if_unreachable(model, None)
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url

    directory = cache_directory(model)
    if directory is None:
        raise ModelError(f"model.path is {model.path!r}, which is no directory here and no name on the hub")
    with tempfile.TemporaryDirectory() as place:
        try:
            url = hf_hub_url(model.path, "config.json", revision=model.revision)
            commit = get_hf_file_metadata(url).commit_hash or ""
            if commit and commit == _commit_of(directory) and shapes_of_hub(model) is not None:
                return directory
            # Not into the hub's cache, where a config alone would look like a model.
            hf_hub_download(model.path, "config.json", revision=model.revision, local_dir=place)
            weights = HfApi().get_safetensors_metadata(model.path, revision=model.revision)
        except Exception as error:  # the errors have no common class: of the hub, its files, or the network
            raise _refusal(model, error) from error
        read_config(Path(place))
        config = (Path(place) / "config.json").read_bytes()
    tensors = {name: tensor for file in weights.files_metadata.values() for name, tensor in file.tensors.items()}
    header = msgspec.json.encode(
        {name: {"dtype": each.dtype, "shape": each.shape, "data_offsets": (0, 0)} for name, each in tensors.items()}
    )
    try:
        make_directory(directory, parents=True)
        write_atomically(directory / "model.safetensors", len(header).to_bytes(8, "little") + header)
        write_atomically(directory / "config.json", config)
        write_atomically(directory / COMMIT_FILE, commit.encode())
    except OSError as error:
        raise ModelError(f"the shapes of {model.path!r} cannot be written: {reason_at(error)}") from error
    return directory


def _commit_of(directory: Path) -> str | None:
    """Return the commit that shapes are of, None where that is not known, as of those of earlier versions."""
    try:
        return read_plain(directory / COMMIT_FILE, max_bytes=100).decode()
    except (OSError, NoPlainFile, UnicodeDecodeError):
        return None


def _refusal(model: ModelSpec, error: Exception) -> ModelError:
    """Say why the hub has no shapes of a model."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):  # the latter: offline
        reason = "there is no config.json in it, so it is not a model"
    else:
        reason = explain_hub_error(error, model.path, "a directory")
    return ModelError(f"model.path is {model.path!r}: {reason}")


if __name__ == "__main__":
    main()
