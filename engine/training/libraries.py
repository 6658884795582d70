"""How the heavy libraries are imported: without code from the hub, and without waiting for it.

They read their settings, and decide what they can do, when they are imported, so nothing here imports them.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from engine.dataset import local_data_file
from engine.preflight import local_model_dir
from engine.spec import DataSpec, ModelSpec
from engine.training.hub import ENDPOINT

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
def importing(model: ModelSpec, data: DataSpec | None = None) -> Iterator[None]:
    """Import inside what works on `model`, and on `data` if any. Once that is imported it is too late for any of it."""
    if "peft" in sys.modules:
        yield
        return
    _go_offline_if_unreachable(model, data)
    yield


def _leave_out(package: str) -> None:
    """Have Python say that `package` is not installed."""
    sys.modules[package] = None  # type: ignore[assignment]


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
