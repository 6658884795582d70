"""Record what a round's numbers depend on besides its spec: libraries, driver, git commit, command line."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.runs.events import Provenance
from engine.spec.fields import flatten, format_value
from engine.spec.schema import Spec

LIBRARIES = (
    "loratui", "torch", "transformers", "peft", "datasets", "tokenizers", "safetensors", "accelerate", "bitsandbytes",
    "numpy",
)  # fmt: skip
GIT_SECONDS = 10.0
REQUIRED = ("model.path", "data.path")


def library_versions() -> dict[str, str]:
    """Return Python's version and those of the installed libraries that the numbers depend on."""
    versions = {"python": sys.version.split()[0]}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def command_of(spec: Spec) -> str:
    """Return the command line that trains `spec` again, with every field that is not at its default."""
    values, defaults = flatten(spec), flatten(Spec(spec.model.__class__("-"), spec.data.__class__("-")))
    changed = [key for key in values if key in REQUIRED or values[key] != defaults[key]]
    settings = [f"--set {shlex.quote(f'{key}={format_value(values[key])}')}" for key in changed]
    return " ".join(["loratui run", *settings])


def git_state(directory: Path) -> str | None:
    """Return the commit that `directory` has checked out, and if its files were changed; None outside of git.

    A repository's own configuration may name programs that git runs. So git works on an empty configuration, with the
    same objects and a copy of the index.
    """
    output = _git(directory, "rev-parse", "HEAD", "--show-toplevel", "--git-path", "index", "--git-path", "objects")
    if output is None or len(lines := output.splitlines()) != 4:
        return None
    commit, top, index, objects = lines[0], *(Path(directory, line).resolve() for line in lines[1:])
    try:
        with tempfile.TemporaryDirectory(prefix="loratui-git-", ignore_cleanup_errors=True) as temporary:
            bare = Path(temporary)
            (bare / "objects" / "info").mkdir(parents=True)
            (bare / "refs").mkdir()
            (bare / "objects" / "info" / "alternates").write_text(f"{objects}\n")
            (bare / "HEAD").write_text(f"{commit}\n")
            (bare / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
            shutil.copy(index, bare / "index")
            changed = _git(top, f"--git-dir={bare}", f"--work-tree={top}", "diff", "--name-only", "HEAD")
    except OSError:  # such as a full temporary directory, or a repository without an index
        return commit
    return commit if changed == "" else f"{commit} with changes" if changed else f"{commit}, changes unknown"


def _git(directory: Path, *words: str) -> str | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *words],
            cwd=directory, env=environment | {"GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, text=True,
            errors="replace", stdin=subprocess.DEVNULL, timeout=GIT_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def provenance_lines(provenance: Provenance) -> list[tuple[str, str]]:
    """Return (name, value) of everything that is known, for people."""
    values = {
        "model revision": provenance.model_revision,
        "weights": provenance.weights,
        "data": provenance.data,
        "data revision": provenance.data_revision,
        "mixed data": ", ".join(provenance.mixed),
        "initial adapter": provenance.initial_adapter,
        "held-out data": provenance.held_out_data,
        "held-out revision": provenance.held_out_revision,
        "training rows": provenance.train_rows,
        "held-out rows": provenance.held_out_rows,
        "device": provenance.device,
        "driver": provenance.driver,
        "git": provenance.git,
    }
    libraries = [(name, number) for name, number in provenance.libraries.items()]
    return [*((name, value) for name, value in values.items() if value), *libraries, ("command", provenance.command)]


def differences(first: Provenance, second: Provenance) -> list[tuple[str, str, str]]:
    """Return (name, first value, second value) of everything in which two rounds differ, except the command."""
    ours, theirs = dict(provenance_lines(first)), dict(provenance_lines(second))
    names: Sequence[str] = [*ours, *(name for name in theirs if name not in ours)]
    return [
        (name, ours.get(name, "unknown"), theirs.get(name, "unknown"))
        for name in names
        if name != "command" and ours.get(name) != theirs.get(name)
    ]
