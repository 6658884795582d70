"""The scripts of `loratui completion`, read by the shells themselves."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.files.paths import Workspace
from tui.cli.arguments import COMMANDS, SHELLS
from tui.cli.main import main


@pytest.fixture
def script(request: pytest.FixtureRequest, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> str:
    """The script for a shell, which is there to read it."""
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    assert main(["completion", request.param, "--workspace", str(workspace.root)], lambda _: None) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("loratui re", {"reproduce", "resume", "release", "report", "rebuild"}),
        ("loratui --read", {"--readonly"}),
        ("loratui ls --f", {"--filter"}),
        ("loratui export --format ", {"markdown", "csv", "json"}),
        ("loratui export -o no", {"notes.md"}),
        ("loratui --workspace no", {"notes"}),
        ("loratui completion ", set(SHELLS)),
    ],
)
def test_bash_completes(script: str, typed: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    (tmp_path / "notes").mkdir()
    words = typed.split(" ")
    program = (
        f"{script}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        f'_shtab_loratui loratui "$COMP_WORDS[COMP_CWORD]"\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert offered <= set(done.stdout.split()), done


@pytest.mark.parametrize("script", SHELLS, indirect=True)
def test_shell_reads_its_script(script: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    shell = request.node.callspec.params["script"]
    file = tmp_path / "script"
    file.write_text(script)
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in COMMANDS if name not in script] == []
