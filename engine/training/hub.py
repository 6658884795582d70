"""The Hugging Face hub: whether it answers, and what its many errors mean to a person."""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import urlsplit

from engine.dataset import local_data_file
from engine.preflight import local_model_dir
from engine.spec import Spec

ENDPOINT = "https://huggingface.co"
PROBE_SECONDS = 5.0
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def quieten() -> None:
    """Have the libraries keep to themselves, and load no code from the hub; call before they are imported."""
    os.environ["USE_HUB_KERNELS"] = "NO"  # transformers
    sys.modules["kernels"] = None  # type: ignore[assignment]  # bitsandbytes, which asks for it without being told
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the log is read as lines
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # no bot is asked to convert somebody's model


def go_offline_if_unreachable(spec: Spec) -> None:
    """Have the libraries read their cache alone when the hub does not answer; call before they are imported.

    Each of them would retry every file for some twenty seconds first. Behind a proxy only they can tell.
    """
    if local_model_dir(spec.model.path) is not None and local_data_file(spec.data.path) is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing of the round is on the hub
    elif not any(os.environ.get(name) for name in PROXIES) and not _answers():
        os.environ["HF_HUB_OFFLINE"] = "1"


def _answers() -> bool:
    url = urlsplit(os.environ.get("HF_ENDPOINT", ENDPOINT))
    try:
        with socket.create_connection((url.hostname, url.port or 443), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def explain(error: BaseException, name: str, instead: str) -> str:
    """Why `name` could not be had from the hub, in a clause; `instead` is the local way out, such as "a directory"."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    chain = _chain(error)
    if any(isinstance(item, errors.GatedRepoError) for item in chain):
        return f"access to it must be granted: accept its terms at {ENDPOINT}/{name} and log in with `hf auth login`"
    if any(isinstance(item, (errors.RepositoryNotFoundError, DatasetNotFoundError)) for item in chain):
        return f"the hub has nothing public of that name: check the spelling, log in, or give {instead}"
    unreachable = (ConnectionError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    if any(isinstance(item, unreachable) for item in chain):
        return f"the Hugging Face hub cannot be reached and the cache lacks it: check the network, or give {instead}"
    return first_line(error)


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its class where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
