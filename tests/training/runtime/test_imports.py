"""The settings that the libraries see when they are imported, in a new interpreter each time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.spec.presets import EMBEDDED
from tests.support.processes import ROOT

CODE = """
import gc, json, sys
from engine.spec.schema import ModelSpec
from engine.training.runtime.imports import importing, quieten

quieten()
with importing(ModelSpec(sys.argv[1], load_in_4bit=json.loads(sys.argv[2]))):
    from huggingface_hub import constants
    collecting = gc.isenabled()
left_out = [name for name, module in sys.modules.items() if module is None and name in ("bitsandbytes", "kernels")]
print(json.dumps([sorted(left_out), constants.HF_HUB_OFFLINE, collecting, gc.isenabled()]))
"""
FETCHING = """
import json, sys, threading
from engine.spec.schema import ModelSpec
from engine.training.runtime.imports import importing

opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
with importing(ModelSpec(sys.argv[1]), weights=json.loads(sys.argv[2])):
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join()
print(any(name.endswith(".safetensors") for name in opened))
"""
READING = """
import sys
from engine.spec.schema import ModelSpec
from engine.training.runtime.imports import importing

opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
with importing(ModelSpec(sys.argv[1])):
    import transformers.models
    from transformers import MambaConfig
    from transformers.models import mamba
assert MambaConfig is mamba.MambaConfig is transformers.models.MambaConfig
print(sum(name.endswith("modeling_zamba2.py") for name in opened))
"""
NOWHERE = "http://127.0.0.1:1"


def state_after_import(
    model: str, in_4_bits: bool = False, environment: Mapping[str, str] = {}
) -> tuple[list[str], bool]:
    """Return the packages that cannot be imported, and whether the hub is offline."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE, model, json.dumps(in_4_bits)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "", **environment},
    )
    left_out, offline, collecting_then, collecting_now = json.loads(done.stdout)
    assert (collecting_then, collecting_now) == (False, True)
    return left_out, offline


def test_local_model_needs_neither_hub_nor_quantisation() -> None:
    assert state_after_import(EMBEDDED) == (["bitsandbytes", "kernels"], True)


@pytest.mark.skipif(sys.platform != "linux", reason="prefetch needs Linux")
@pytest.mark.parametrize("weights", [True, False], ids=["weights", "tokenizer alone"])
def test_weights_are_prefetched_if_they_are_needed(tiny_model: Path, weights: bool) -> None:
    command = [sys.executable, "-P", "-c", FETCHING, str(tiny_model), json.dumps(weights)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert json.loads(done.stdout.lower()) is weights


def test_every_model_of_the_library_is_read_once_at_most(tiny_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", READING, str(tiny_model)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert int(done.stdout) <= 1


def test_model_in_4_bits_gets_bitsandbytes() -> None:
    assert state_after_import(EMBEDDED, in_4_bits=True) == (["kernels"], True)


def test_model_that_is_quantised_already_gets_it_too(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}}))
    assert state_after_import(str(model)) == (["kernels"], True)
    (model / "config.json").write_text("{")
    assert state_after_import(str(model)) == (["kernels"], True)


@pytest.mark.parametrize(("proxy", "offline"), [("", True), (NOWHERE, False)], ids=["direct", "behind a proxy"])
def test_hub_that_does_not_answer_is_not_used(tmp_path: Path, proxy: str, offline: bool) -> None:
    """A model of the hub may be quantised, and a proxy may reach the hub where this process cannot."""
    names = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    environment = {"HF_ENDPOINT": NOWHERE, "HF_HOME": str(tmp_path), **dict.fromkeys(names, proxy)}
    assert state_after_import("somebody/something", environment=environment) == (["kernels"], offline)
