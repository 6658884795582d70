"""What the libraries find when they are imported, each time by a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.presets import EMBEDDED
from tests.conftest import ROOT

CODE = """
import json, sys
from engine.spec import ModelSpec
from engine.training.libraries import importing, quieten

quieten()
with importing(ModelSpec(sys.argv[1])):
    from huggingface_hub import constants
left_out = [name for name, module in sys.modules.items() if module is None and name in ("bitsandbytes", "kernels")]
print(json.dumps([sorted(left_out), constants.HF_HUB_OFFLINE]))
"""
NOWHERE = "http://127.0.0.1:1"


def found(model: str, environment: Mapping[str, str] = {}) -> tuple[list[str], bool]:
    """Packages that are left out, and whether the hub is."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE, model],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "", **environment},
    )
    left_out, offline = json.loads(done.stdout)
    return left_out, offline


def test_nothing_of_a_local_model_is_looked_for_on_the_hub() -> None:
    assert found(EMBEDDED) == (["kernels"], True)


@pytest.mark.parametrize(("proxy", "offline"), [("", True), (NOWHERE, False)], ids=["direct", "behind a proxy"])
def test_hub_that_does_not_answer_is_left_alone(tmp_path: Path, proxy: str, offline: bool) -> None:
    """A proxy may reach what this cannot."""
    names = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    environment = {"HF_ENDPOINT": NOWHERE, "HF_HOME": str(tmp_path), **dict.fromkeys(names, proxy)}
    assert found("somebody/something", environment=environment) == (["kernels"], offline)
