"""The house rules that no single module can keep alone."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from engine.store import RoundStore
from engine.workspace import Workspace
from tests.conftest import ROOT

HEAVY = frozenset(
    {"torch", "transformers", "peft", "datasets", "numpy", "pandas", "pyarrow", "tokenizers", "matplotlib"}
)
# Imported only where they are used.
NUMERIC = (
    "engine.bootstrap", "engine.curve_numbers", "engine.paired", "engine.ranking", "engine.report",
    "engine.report_answers", "engine.verdict",
)  # fmt: skip
PROGRAMS = Path(sys.executable).parent
SHADOWED = "a module of the current directory was taken for ours"


def modules_of(package: str) -> list[str]:
    """Every module under a package by its dotted name, `engine.training` left out."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not name.startswith("engine.training")]


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_import_contracts_are_kept() -> None:
    done = run(PROGRAMS / "lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_light_module_is_forgotten_in_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (sources,) = (
        contract["source_modules"] for contract in contracts if "torch" in contract.get("forbidden_modules", ())
    )
    on_disk = {name for name in modules_of("engine") if name.count(".") == 1}
    assert {name for name in sources if name != "tui"} == on_disk
    assert "tui" in sources


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ([name for name in modules_of("engine") if name not in (*NUMERIC, "engine.figure")], HEAVY),
        ([*NUMERIC, "engine.curve"], HEAVY - {"numpy"}),
        (["engine.picture", "engine.figure"], HEAVY - {"numpy", "matplotlib"}),
        (modules_of("tui"), HEAVY - {"numpy"}),  # a chart brings numpy in, once it is opened
        (["tui.app", "tui.screens.rounds"], HEAVY),
    ],
    ids=["engine", "numeric", "picture", "tui", "first screen"],
)
def test_light_modules_bring_nothing_heavy(names: list[str], heavy: frozenset[str]) -> None:
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sorted(sys.modules))"
    done = run(sys.executable, "-P", "-c", code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert len(names) > 1 and set(names) <= loaded
    assert not loaded & heavy


def test_engine_does_not_wait_for_what_few_rounds_need() -> None:
    done = run(sys.executable, "-P", "-c", "import sys, engine.training.recipe; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert {"sacrebleu", "rouge_score", "nltk"}.isdisjoint(done.stdout.split())


def test_command_line_does_not_wait_for_textual() -> None:
    done = run(sys.executable, "-P", "-c", "import sys, tui.cli, tui.commands; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert "textual" not in done.stdout.split()


@pytest.fixture
def training_repo(empty_directory: Path) -> Path:
    """A directory whose own modules carry our packages' names; it is a workspace too."""
    for name in ("engine", "tui"):
        (empty_directory / f"{name}.py").write_text(f"raise SystemExit({SHADOWED!r})")
        (empty_directory / "runs" / "0001-00c0ffee").mkdir(parents=True, exist_ok=True)
        (empty_directory / "runs" / "0001-00c0ffee" / f"{name}.py").write_text(f"raise SystemExit({SHADOWED!r})")
    RoundStore(Workspace(empty_directory)).create()
    return empty_directory


def test_trap_would_snap(training_repo: Path) -> None:
    assert SHADOWED in run(sys.executable, "-m", "engine.runner", ".", cwd=training_repo).stderr


def test_front_end_is_ours_wherever_it_starts(training_repo: Path) -> None:
    done = run(PROGRAMS / "loratui", "ls", "--json", cwd=training_repo)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_runner_is_ours_wherever_it_starts(training_repo: Path) -> None:
    done = run(sys.executable, "-P", "-m", "engine.runner", ".", cwd=training_repo)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_engine_is_ours_wherever_it_starts(training_repo: Path) -> None:
    place = training_repo / "runs" / "0001-00c0ffee"
    done = run(sys.executable, "-P", "-m", "engine.training", "nonsense", cwd=place)
    assert (done.returncode, SHADOWED in done.stderr) == (1, False)
    assert "this is no run directory" in done.stderr
    found = run(sys.executable, "-P", "-c", "import engine.training as found; print(found.__file__)", cwd=place)
    assert Path(found.stdout.strip()).is_relative_to(ROOT / "engine")
