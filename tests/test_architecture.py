"""The house rules that no single module can keep alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from engine.files.paths import Workspace
from engine.store.round_store import RoundStore
from tests.support.processes import ROOT

HEAVY = frozenset(
    {"torch", "transformers", "peft", "datasets", "numpy", "pandas", "pyarrow", "tokenizers", "matplotlib"}
)
# What the first painted table does not wait for, as it shows nothing of theirs.
LATER = frozenset({"psutil", "filelock", "engine.preflight.checks", "engine.report.chart_client"})
# Imported only where they are used.
NUMERIC = (
    "engine.sweeps.answer",
    "engine.compare.bootstrap",
    "engine.compare.paired_bootstrap",
    "engine.compare.significance",
    "engine.preference.ranking",
    "engine.report.answers_section",
    "engine.report.write_up",
    "engine.runs.chart_series",
)
PROGRAMS = Path(sys.executable).parent
SHADOWED = "a module of the current directory was taken for ours"


def modules_of(package: str) -> list[str]:
    """Every module under a package by its dotted name, `engine.training` left out."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not name.startswith("engine.training")]


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=120)


def packages() -> list[Path]:
    return sorted(file.parent for name in ("engine", "tui") for file in (ROOT / name).rglob("__init__.py"))


def test_folder_has_at_most_fifteen_modules() -> None:
    sizes = {str(folder): len([*folder.glob("*.py")]) - 1 for folder in packages()}
    assert {folder: size for folder, size in sizes.items() if size > 15} == {}


def test_folder_says_its_purpose_in_a_sentence() -> None:
    purposes = {folder: ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) for folder in packages()}
    assert [str(folder) for folder, purpose in purposes.items() if not purpose or not purpose.endswith(".")] == []


def trees() -> dict[str, ast.Module]:
    """Every module of ours by its path from the root."""
    files = sorted(file for name in ("engine", "tui") for file in (ROOT / name).rglob("*.py"))
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text()) for file in files}


def test_what_may_be_made_in_a_workspace_is_made_in_one_place() -> None:
    elsewhere = {  # the person's own directories, and temporary ones
        "engine/files/drafts.py", "engine/spec/presets.py", "engine/system/user.py", "engine/runs/provenance.py",
        "engine/training/data/token_cache.py", "engine/files/ownership.py",
    }  # fmt: skip
    makers = {
        path
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if path.startswith("engine/")
        and isinstance(node, ast.Attribute)
        and node.attr in {"mkdir", "makedirs", "O_CREAT", "touch"}
    }
    assert makers - elsewhere == {"engine/files/atomic.py"}  # which gives a new file its owner too


def test_no_name_is_a_participle_that_hides_what_the_value_is() -> None:
    bound = [
        (path, getattr(node, "lineno", 0), name)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if (name := _bound_name(node)).strip("_") in {"told", "found", "kept", "given", "said", "taken", "left"}
    ]
    assert bound == []


def _bound_name(node: ast.AST) -> str:
    """The name that a node binds, "" if it binds none."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
    return ""


def test_no_class_name_occurs_twice() -> None:
    places: dict[str, list[str]] = {}
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    openings = {"What", "Whether", "How", "Of", "As", "Who", "Whose", "Where", "Why", "That", "Which", "So"}
    opened = [
        (path, getattr(node, "lineno", 1), text.partition("\n")[0])
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node)) is not None
        and text.partition(" ")[0] in openings
    ]
    assert opened == []


def test_no_test_module_imports_another() -> None:
    imported = {
        (str(file.relative_to(ROOT)), node.module)
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    strangers = {
        (file, module)
        for file, module in imported
        if module.startswith("tests.") and module.rpartition(".")[2].startswith(("test_", "conftest"))
    }
    assert strangers == set()


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ([name for name in modules_of("engine") if name not in (*NUMERIC, "engine.report.chart_drawing")], HEAVY),
        ([*NUMERIC, "engine.runs.curve"], HEAVY - {"numpy"}),
        (["engine.report.chart_client", "engine.report.chart_drawing"], HEAVY - {"numpy", "matplotlib"}),
        (modules_of("tui"), HEAVY - {"numpy"}),  # a chart brings numpy in, once it is opened
        (["tui.cli.main", "tui.app", "tui.screens.rounds.screen"], HEAVY | LATER),
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


@pytest.mark.long
def test_engine_does_not_wait_for_what_few_rounds_need() -> None:
    done = run(sys.executable, "-P", "-c", "import sys, engine.training.loop.recipe; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert {"sacrebleu", "rouge_score", "nltk"}.isdisjoint(done.stdout.split())


def test_command_line_does_not_wait_for_textual() -> None:
    done = run(sys.executable, "-P", "-c", "import sys, tui.cli.main, tui.cli.commands; print(*sys.modules)")
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
    assert "this is not a run directory" in done.stderr
    found = run(sys.executable, "-P", "-c", "import engine.training as found; print(found.__file__)", cwd=place)
    assert Path(found.stdout.strip()).is_relative_to(ROOT / "engine")
