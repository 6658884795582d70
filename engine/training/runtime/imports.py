"""How the heavy libraries are imported: without code from the hub, without waiting for it, and no more than is needed.

They read their settings, and decide what they can do, when they are imported, so nothing here imports them.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from engine.dataset.load import local_data_file
from engine.errors import ModelError
from engine.preflight.base_model import find_model_dir, local_model_dir, read_config
from engine.spec.schema import DataSpec, ModelSpec
from engine.training.runtime.hub_errors import ENDPOINT
from engine.training.runtime.prefetch import prefetch_weights

PROBE_SECONDS = 5.0
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def quieten() -> None:
    """Have the libraries keep to themselves, and load no code from the hub; call before they are imported."""
    os.environ["USE_HUB_KERNELS"] = "NO"  # transformers
    _leave_out("kernels")  # bitsandbytes asks for it without being told
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the log is read as lines
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # no bot is asked to convert somebody's model


@contextmanager
def importing(model: ModelSpec, data: DataSpec | None = None, *, weights: bool = True) -> Iterator[None]:
    """Import inside what works on `model`, its tokenizer alone without `weights`, and on `data` if any.

    Once that is imported it is too late for any of it.
    """
    if "peft" in sys.modules:
        yield
        return
    if weights:
        prefetch_weights(model)
    _go_offline_if_unreachable(model, data)
    if not _needs_bitsandbytes(model):
        _leave_out("bitsandbytes")
    gc.disable()  # it would look a dozen times through half a million objects, of which none goes
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _leave_out(package: str) -> None:
    """Have Python say that `package` is not installed."""
    sys.modules[package] = None  # type: ignore[assignment]  # the import system's own way, which typeshed leaves out


def _needs_bitsandbytes(model: ModelSpec) -> bool:
    """Whether weights are to be quantised, or may be already. Peft imports it for any, which takes a second or more."""
    directory = find_model_dir(model.path)
    if model.load_in_4bit or directory is None:
        return True
    try:
        return "quantization_config" in read_config(directory)
    except ModelError:  # which whoever loads it will tell
        return True


def _go_offline_if_unreachable(model: ModelSpec, data: DataSpec | None) -> None:
    """Have the libraries read their cache alone when the hub does not answer.

    Each of them would retry every file for some twenty seconds first. Behind a proxy only they can tell.
    """
    if local_model_dir(model.path) is not None and (data is None or local_data_file(data.path) is not None):
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing that is needed is on the hub
    elif not any(os.environ.get(name) for name in PROXIES) and not _answers():
        os.environ["HF_HUB_OFFLINE"] = "1"


def _answers() -> bool:
    url = urlsplit(os.environ.get("HF_ENDPOINT", ENDPOINT))
    try:
        with socket.create_connection((url.hostname, url.port or 443), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False
