"""Imports of the heavy libraries: without code from the hub, without waiting for it, and no more than is needed.

The libraries read their settings when they are imported, so this module imports none of them.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from engine.dataset.load import local_data_path
from engine.errors import ModelError
from engine.preflight.base_model import find_model_dir, local_model_dir, read_config
from engine.spec.data import DataSpec
from engine.spec.mix import sources_of
from engine.spec.schema import ModelSpec
from engine.training.runtime.hub_errors import ENDPOINT
from engine.training.runtime.prefetch import prefetch_weights

PROBE_SECONDS = 5.0
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def quieten() -> None:
    """Turn off the libraries' telemetry, progress bars and code from the hub; call before they are imported."""
    os.environ["USE_HUB_KERNELS"] = "NO"  # transformers
    _block_import("kernels")  # bitsandbytes imports it whatever the settings
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the log is read as lines
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler, which measures memory
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # no request to convert somebody's model
    warnings.filterwarnings("ignore", category=FutureWarning)  # what one library tells another that calls it


@contextmanager
def importing(
    model: ModelSpec, data: DataSpec | None = None, *, weights: bool = True, bitsandbytes: bool = False
) -> Iterator[None]:
    """Prepare imports within the block for `model`, without `weights` only its tokenizer, and for `data` if any.

    It has no effect once the libraries are imported. `bitsandbytes` says that more than the weights needs it.
    """
    if "peft" in sys.modules:
        yield
        return
    if weights:
        prefetch_weights(model)
    go_offline_if_unreachable(model, data)
    if not bitsandbytes and not _needs_bitsandbytes(model):
        _block_import("bitsandbytes")
    gc.disable()  # it would traverse half a million objects a dozen times and free none
    try:
        _read_models_once()
        yield
    finally:
        gc.freeze()
        gc.enable()


def _read_models_once() -> None:
    """Import transformers, and have it find again what it has found in its two thousand files of models.

    It reads them once for itself and once for its package of models, whose path it gives in another form: a tenth of
    all imports. It caches the results by path, though only the last 128 of a thousand.
    """
    import transformers.utils.import_utils as library

    read = getattr(library, "create_import_structure_from_path", None)
    if read is not None:
        library.create_import_structure_from_path = lru_cache(
            lambda path: read(Path(path).parent if os.path.isfile(path) else path)
        )


def _block_import(package: str) -> None:
    """Make imports of `package` fail as if it were not installed."""
    sys.modules[package] = None  # type: ignore[assignment]  # the import system's own way, which typeshed leaves out


def _needs_bitsandbytes(model: ModelSpec) -> bool:
    """Return whether weights are, or may be, quantised; peft would always import it, which takes over a second."""
    directory = find_model_dir(model.path, revision=model.revision)
    if model.load_in_4bit or model.load_in_8bit or directory is None:
        return True
    try:
        return "quantization_config" in read_config(directory)
    except ModelError:  # the loading reports it
        return True


def go_offline_if_unreachable(model: ModelSpec, data: DataSpec | None) -> None:
    """Have the libraries read only their cache if the hub does not answer.

    They would retry each file for some twenty seconds. Behind a proxy only they can find out.
    """
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return
    mixed = () if data is None else [source.path for source in sources_of(data)]
    paths = () if data is None else (data.path, data.eval_path or data.path, *mixed)
    if local_model_dir(model.path) is not None and all(local_data_path(path) is not None for path in paths):
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is needed from the hub
    elif not any(os.environ.get(name) for name in PROXIES) and not _answers():
        os.environ["HF_HUB_OFFLINE"] = "1"


def _answers() -> bool:
    url = urlsplit(os.environ.get("HF_ENDPOINT", ENDPOINT))
    try:
        with socket.create_connection((url.hostname, url.port or 443), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False
