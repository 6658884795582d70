from __future__ import annotations

import shlex
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

from engine.runs.events import Provenance
from engine.runs.provenance import command_of, differences, git_state, library_versions
from engine.spec.overrides import spec_from_settings
from tests.support.rounds import make_spec


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    directory.mkdir()
    git(directory, "init", "-q")
    (directory / "data.json").write_text("[]")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "first")
    return directory


def test_commit_of_an_unchanged_workspace(repository: Path) -> None:
    assert git_state(repository) == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("staged", [True, False])
def test_changed_file_is_reported(repository: Path, staged: bool) -> None:
    (repository / "data.json").write_text("[1]")
    if staged:
        git(repository, "add", ".")
    assert git_state(repository) == git(repository, "rev-parse", "HEAD") + " with changes"


def test_state_of_a_directory_within_and_of_a_second_worktree(repository: Path, tmp_path: Path) -> None:
    (repository / "sub").mkdir()
    git(repository, "worktree", "add", "-q", str(tmp_path / "other"))
    (tmp_path / "other" / "data.json").write_text("[2]")
    commit = git(repository, "rev-parse", "HEAD")
    assert (git_state(repository / "sub"), git_state(tmp_path / "other")) == (commit, f"{commit} with changes")


def test_directory_outside_of_git_has_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_commit_is_known_where_no_temporary_file_can_be_made(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert git_state(repository) == git(repository, "rev-parse", "HEAD")


def test_repository_without_a_commit_has_no_state(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None


def test_no_program_that_the_repository_names_is_run(repository: Path, tmp_path: Path) -> None:
    """A filter, a hook, a monitor and a differ, each of which would leave a file behind."""
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o700)
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "diff.external", "diff.evil.textconv"):
        git(repository, "config", key, str(trap))
    (repository / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (repository / ".git" / "hooks").mkdir(exist_ok=True)
    (repository / ".git" / "hooks" / "post-index-change").symlink_to(trap)
    (repository / "data.json").write_text("[1, 2]")
    assert str(git_state(repository)).endswith(" with changes")
    assert not (tmp_path / "sprung").exists()
    subprocess.run(["git", "status"], cwd=repository, capture_output=True, check=False)
    assert (tmp_path / "sprung").exists(), "the trap does not work"


def test_command_trains_the_same_spec_again() -> None:
    spec = make_spec(
        lora__r=16, train__learning_rate=3e-5, train__warmup_steps=0.03, data__samples=100, data__path="/a b/it's.json",
        data__prompt_template="Q: {prompt}\\nA: ", lora__target_modules=("q_proj", "o_proj"), model__load_in_4bit=True,
    )  # fmt: skip
    words = shlex.split(command_of(spec))
    assert words[:2] == ["loratui", "run"] and set(words[2::2]) == {"--set"}
    assert spec_from_settings(None, words[3::2]) == spec


def test_versions_are_those_installed() -> None:
    versions = library_versions()
    assert (versions["peft"], versions["numpy"]) == (version("peft"), version("numpy"))


def test_differences_name_what_differs() -> None:
    first = Provenance(time=1.0, weights="aa", libraries={"torch": "2.1", "peft": "1"}, device="T4", command="x")
    second = Provenance(time=2.0, weights="aa", libraries={"torch": "2.2"}, device="T4", git="c", command="y")
    assert differences(first, second) == [
        ("torch", "2.1", "2.2"), ("peft", "1", "unknown"), ("git", "unknown", "c"),
    ]  # fmt: skip
    assert differences(first, first) == []
