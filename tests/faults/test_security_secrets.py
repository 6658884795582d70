"""Secrets and permissions: what is written down holds no token, and is for its owner alone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

import psutil
import pytest

from engine.api import Cockpit
from engine.errors import SpecError
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.text.redact import REDACTED, holds_secret, redact
from tests.support.disks import ENVIRONMENT
from tests.support.faults.tried import Tried
from tests.support.processes import end_processes_of, processes_of
from tests.support.rounds import change_spec, write_model, write_rows
from tests.support.waiting import await_true

TOKEN = "hf_CANARYcanaryCANARYcanaryCANARYcanary"
WANDB = "0123456789abcdef0123456789abcdef01234567"
SECRETS = {"HF_TOKEN": TOKEN, "WANDB_API_KEY": WANDB}


@pytest.mark.parametrize(
    "text",
    [
        f"note {TOKEN}", f"Authorization: Bearer {TOKEN}", f"https://me:{TOKEN}@huggingface.co/x", f'{{"t":"{TOKEN}"}}',
        "https://me:hunter2hunter2@host/x", "sk-abcdefghijklmnopqrstuvwx", "ghp_abcdefghijklmnopqrstuvwx",
        "AKIAABCDEFGHIJKLMNOP", "authorization: bearer abcdef.ghijkl", "xoxb-1234567890-abc",
    ],
)  # fmt: skip
def test_tokens_are_known_by_their_looks(text: str, tried: Tried) -> None:
    tried("S8", "a token or password in a text", 1, not holds_secret(text))
    assert holds_secret(text) and TOKEN not in redact(text) and "hunter2" not in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text", ["hf_hub_download failed", "hf_", "task-based", "q_proj, v_proj", "TOKENIZERS_PARALLELISM=true", "a://b@c"]
)
def test_what_is_no_token_stays(text: str) -> None:
    assert redact(text) == text


def test_values_of_secret_variables_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    monkeypatch.setenv("SHORT_TOKEN", "1")
    assert redact(f"wandb says {WANDB}1") == f"wandb says {REDACTED}1"


@pytest.mark.parametrize("field", ["name", "note", "model.path", "data.path", "data.prompt_template"])
def test_round_that_holds_a_token_is_refused(
    idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path, tried: Tried, field: str
) -> None:
    spec, told = nano_spec, {"name": "", "note": ""}
    if field in told:
        told[field] = f"see {TOKEN}"
    else:
        value = {"model.path": tmp_path / TOKEN, "data.path": tmp_path / TOKEN / "rows.jsonl"}.get(field)
        if field == "model.path":
            write_model(tmp_path / TOKEN)
        if field == "data.path":
            (tmp_path / TOKEN).mkdir()
            write_rows(tmp_path / TOKEN / "rows.jsonl")
        spec = change_spec(spec, **{field.replace(".", "__"): str(value) if value else f"{TOKEN} {{prompt}}"})
    with pytest.raises(SpecError, match="the spec, the name or the note contains a token or a password") as caught:
        idle_cockpit.queue(spec, name=told["name"], note=told["note"])
    kept = [path for path in idle_cockpit.workspace.root.rglob("*") if path.is_file() and TOKEN in path.read_text()]
    tried("S8", "a token in a spec, name or note", 1, len(kept))
    assert not kept and TOKEN not in caught.value.message
    assert idle_cockpit.store.rounds() == []


def test_note_that_holds_a_token_is_refused_later_too(idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.queue(nano_spec, note="why", hold=True)
    with pytest.raises(SpecError):
        idle_cockpit.annotate(1, note=f"see {TOKEN}")
    assert idle_cockpit.store.get(1).note == "why"


class _Hub(BaseHTTPRequestHandler):
    """A hub whose refusals say the token that it was shown."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        shown = self.headers.get("Authorization", "")
        self.seen.append(shown)
        body = f"access denied for {shown}".encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Error-Message", f"access denied for {shown}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def command_lines() -> str:
    """Of every process that can be seen."""
    found = []
    for process in psutil.process_iter():
        try:
            found += process.cmdline()
        except psutil.Error:
            continue
    return "\n".join(found)


class RealWorkspace(NamedTuple):
    """What the real command line, runner, engine and preview left, under umask 0 and with secrets around them."""

    root: Path
    cache: Path
    output: str
    command_lines: str


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, hub: str) -> RealWorkspace:
    """A round that is trained, one that the hub refuses, and every way to print them."""
    directory = tmp_path_factory.mktemp("real")
    root, cache, rows = directory / "workspace", directory / "cache", write_rows(directory / "rows.jsonl", 12)
    root.mkdir(mode=0o700)
    direct = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "")
    environment = {
        **ENVIRONMENT, **SECRETS, **direct, "HF_ENDPOINT": hub, "HF_HOME": str(directory / "home"),
        "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    program = "import sys; from tui.cli.main import main; sys.exit(main())"
    shared = ["--set", f"data.path={rows}", "--set", "train.num_train_epochs=0.2", "--set", "data.max_length=100"]
    commands = [
        ["new", "--set", f"model.path={tiny_model}", *shared],
        ["run", "--set", "model.path=somebody/gated", *shared],
        ["preview", "--from", "1"],
        *(["ls", "--json"], ["show", "1"], ["show", "2", "--json"], ["export", "-o", "table.md"]),
        *(["export", "--format", "csv"], ["rebuild"]),
    ]
    output, lines = "", ""
    try:
        for words in commands:
            done = subprocess.run(
                ["sh", "-c", 'umask 0; exec "$@"', "sh", sys.executable, "-P", "-c", program, *words],
                cwd=root, env=environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == (words[0] == "run"), (words, done.stderr)
            output += done.stdout + done.stderr
            lines += command_lines()
        await_true(lambda: not processes_of(root), "the runner's end")
    finally:
        end_processes_of(root)
    rounds = {round_.number: round_ for round_ in RoundStore(Workspace(root)).rounds()}
    assert (rounds[1].status, rounds[2].status) == (Status.FINISHED, Status.FAILED)
    return RealWorkspace(root, cache, output, lines)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_token_of_the_environment_is_nowhere_to_be_found(real: RealWorkspace, tried: Tried) -> None:
    """Though the engine has it, shows it to the hub, and is told it back in an error."""
    assert any(TOKEN in shown for shown in _Hub.seen), "the engine has lost the token that it needs"
    logs = "".join(path.read_text() for path in real.root.rglob("train.log"))
    assert "access denied" in logs and REDACTED in logs
    files = [path for where in (real.root, real.cache) for path in where.rglob("*") if path.is_file()]
    places = {str(path): path.read_bytes() for path in files}
    places |= {"the command lines": real.command_lines.encode(), "what was printed": real.output.encode()}
    found = [name for name, data in places.items() for secret in SECRETS.values() if secret.encode() in data]
    tried("S8", "files, outputs and command lines of real rounds with a token around them", len(places), len(found))
    assert found == []


@pytest.mark.long
@pytest.mark.timeout(240)
def test_everything_made_under_umask_0_is_its_owners_alone(real: RealWorkspace, tried: Tried) -> None:
    made = [path for where in (real.root, real.cache) for path in where.rglob("*")]
    assert {"experiments.json", "events.jsonl", "train.log", "runner.log", "adapter", "checkpoints", "engine.lock"} <= {
        path.name for path in made
    }
    assert any(path.suffix == ".safetensors" for path in real.cache.rglob("*"))
    loose = [f"{path} {path.lstat().st_mode:o}" for path in made if path.lstat().st_mode & 0o077]
    strange = [path for path in made if not (path.is_file() or path.is_dir())]  # a socket, for one
    tried("S9", "files and directories of real rounds under umask 0", len(made), len(loose) + len(strange))
    assert loose == [] and strange == []
