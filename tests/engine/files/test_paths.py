from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import RoundError
from engine.files.paths import Workspace


def test_paths_lie_under_the_root(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    run = workspace.run_dir("0007-abcdef01")
    assert run.path == tmp_path / "runs" / "0007-abcdef01"
    paths = [workspace.store_path, workspace.runs_dir, workspace.runner_lock, workspace.runner_log]
    paths += [run.spec, run.events, run.log, run.adapter, run.checkpoints, run.lock]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert list(tmp_path.iterdir()) == []


def test_root_is_absolute_and_home_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace(Path(".")).root == Workspace(Path("~")).root == tmp_path.resolve()


@pytest.mark.parametrize("round_id", ["", ".", "..", "-rf", "a/b", "/", "../x", "a\0", "a\n", "é", "x" + "/.." * 3])
def test_id_that_is_no_plain_name_is_refused(tmp_path: Path, round_id: str) -> None:
    with pytest.raises(RoundError, match="is not a directory name for"):
        Workspace(tmp_path).run_dir(round_id)
