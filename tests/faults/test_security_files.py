"""Paths and links that lead out of the workspace, secrets, permissions, and files made to choke on."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest

from engine import preflight
from engine.dataset import count_rows
from engine.errors import DatasetError, LoratuiError, ModelError, RoundError, SpecError
from engine.events import Failed, Saved, decode_event
from engine.fields import parse_value
from engine.operations import Cockpit
from engine.presets import presets
from engine.redaction import REDACTED, holds_secret, redact
from engine.rounds import Status
from engine.runlog import read_events
from engine.snapshot import RunSnapshot, result_of
from engine.spec import Spec, decode_spec
from engine.store import RoundStore
from engine.workspace import RunDir, Workspace
from tests.conftest import (
    ROOT,
    await_true,
    change_spec,
    end_processes_of,
    make_round,
    make_spec,
    processes_of,
    write_model,
    write_rows,
)
from tests.faults.conftest import Tried
from tests.faults.disks import ENVIRONMENT

LEADING_OUT = [
    *("..", ".", "", "../..", "/etc", "/", "a/b", "a/../..", "..\\..", "a\0b", "\0", "-rf", ".hidden", "~", "~root"),
    *("*", "a\nb", "a b", "runs\r", "\u202e0001", "0001\u2215x", "CON/..", "%2e%2e", "$HOME", "`id`", "a;b"),
    "a" * 5000 + "/",
]


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """What lies beside the workspace and is to stay as it is."""
    directory = tmp_path / "precious"
    directory.mkdir()
    (directory / "thesis.tex").write_text("years of work")
    (directory / "checkpoint-1").mkdir()
    (directory / "checkpoint-1" / "thesis.tex").write_text("years of work")
    return directory


def is_whole(precious: Path) -> bool:
    files = sorted(path for path in precious.rglob("*") if path.is_file())
    return len(files) == 2 and all(file.read_text() == "years of work" for file in files)


@pytest.mark.parametrize("round_id", LEADING_OUT)
def test_round_id_that_leads_out_names_no_directory(
    workspace: Workspace, precious: Path, tried: Tried, round_id: str
) -> None:
    """As a store from somewhere else may have it."""
    store = RoundStore(workspace)
    store.add(lambda number: make_round(number, Status.STOPPED, id=round_id))
    with pytest.raises(RoundError):
        workspace.run_dir(round_id)
    with pytest.raises(RoundError):
        Cockpit(workspace, lambda _: None).remove(1)
    tried("S7", "a round id that leads out of the workspace", 1, not is_whole(precious))
    assert is_whole(precious) and workspace.root.is_dir()


def link_runs(workspace: Workspace, run: RunDir, to: Path) -> None:
    shutil.move(workspace.runs_dir, to / "runs")
    workspace.runs_dir.symlink_to(to / "runs")


def link_run(workspace: Workspace, run: RunDir, to: Path) -> None:
    shutil.rmtree(run.path)
    run.path.symlink_to(to)


LINKS: dict[str, Callable[[Workspace, RunDir, Path], object]] = {
    "runs": link_runs,
    "run directory": link_run,
    "file in it": lambda _, run, to: (run.path / "thesis.tex").symlink_to(to / "thesis.tex"),
    "directory in it": lambda _, run, to: run.adapter.symlink_to(to),
    "link to the root": lambda _, run, to: (run.path / "root").symlink_to("/"),
    "link to itself": lambda _, run, to: (run.path / "loop").symlink_to(run.path),
    "dangling": lambda _, run, to: run.checkpoints.symlink_to("/nowhere"),
    "hard link": lambda _, run, to: os.link(to / "thesis.tex", run.path / "thesis.tex"),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_deleting_a_round_follows_no_link(
    idle_cockpit: Cockpit, nano_spec: Spec, precious: Path, tried: Tried, link: Callable[..., object]
) -> None:
    round_ = idle_cockpit.queue(nano_spec, hold=True)
    workspace = idle_cockpit.workspace
    run = workspace.run_dir(round_.id)
    link(workspace, run, precious)
    files = sorted(path for path in precious.rglob("*") if path.is_file())
    refused = workspace.runs_dir.is_symlink() or run.path.is_symlink()
    if refused:
        with pytest.raises(RoundError, match="is a link, which is never followed"):
            idle_cockpit.remove(1)
    else:
        idle_cockpit.remove(1)
        assert not run.path.exists()
    lost = files != sorted(path for path in precious.rglob("*") if path.is_file())
    tried("S7", "a link where a round is deleted", 1, lost)
    assert not lost and (precious / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["checkpoints", "adapter", "events.jsonl", "spec.json"])
def test_engine_neither_writes_nor_deletes_through_a_link(
    tiny_model: Path, precious: Path, tmp_path: Path, tried: Tried, name: str
) -> None:
    from tests.integration.rounds_to_train import make_run, start_engine

    run = make_run(tmp_path / "run", tiny_model, train__save_total_limit=1)
    if name == "spec.json":
        run.spec.rename(tmp_path / "spec.json")
        run.spec.symlink_to(tmp_path / "spec.json")
    else:
        (run.path / name).symlink_to(precious / "thesis.tex" if "." in name else precious)
    code = start_engine(run).wait(120)
    tried("S7", "the real engine with a link where it writes", 1, not is_whole(precious))
    assert is_whole(precious)
    if name == "events.jsonl":
        assert code == 4
    else:
        last = read_events(run.events)[-1]
        assert code == 1 and isinstance(last, Failed)
        assert (
            last.message == f"{run.path / name} is a link, which is never followed: put what it leads to in its place"
        )


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "adapter/../..", "", ".", "..", "a\0b", "~/x", "a//b"]
)
def test_saved_path_that_leads_out_is_no_event(tmp_path: Path, tried: Tried, path: str) -> None:
    line = msgspec.json.encode({"event": "saved", "time": 1.0, "step": 1, "path": path, "final": True})
    event = decode_event(line)
    result = result_of(RunSnapshot([event] if event else []), RunDir(tmp_path / "runs" / "0001-x"))
    tried("S7", "a saved path that leads out", 1, result.adapter_dir is not None)
    assert (event, result.adapter_dir) == (None, None)
    assert isinstance(decode_event(line.replace(json.dumps(path).encode(), b'"checkpoints/checkpoint-6"')), Saved)


# --- secrets

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
    with pytest.raises(SpecError, match="a token or a password stands in the spec") as caught:
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

    seen: list[str] = []  # noqa: RUF012, shared on purpose

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
    program = "import sys; from tui.cli import main; sys.exit(main())"
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


# --- files made to choke on

DEEP = b'{"a":' * 100_000
BOMBS = [
    DEEP, b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"1" * 100_000, b"1e999999", b"-1e-999999", b"NaN",
    b"Infinity",
    b'{"spec": NaN}', b'{"spec": {"model": {"path": "x"}, "data": {"path": "y"}, "train": {"learning_rate": 1e400}}}',
    b'{"spec": {"model": {"path": "x"}, "data": {"path": "y"}, "lora": {"r": ' + b"9" * 5000 + b"}}}",
    b'{"spec": {"model": {"path": "x"}, "model": {"path": 7}, "data": {"path": "y"}}}', b"\xff\xfe", b"\0" * 1000, b"",
    b'{"spec": {"model": {"path": "\\ud800"}, "data": {"path": "y"}}}', b'"' + b"x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_hostile_spec_is_a_sentence_for_the_engine_and_nothing_for_rebuild(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tried: Tried, bomb: bytes
) -> None:
    from engine.training.__main__ import read_spec

    run = workspace.run_dir("0001-bomb")
    run.path.mkdir(parents=True)
    run.spec.write_bytes(bomb)
    with pytest.raises(LoratuiError) as caught:
        read_spec(run)
    assert "\n" not in caught.value.message
    count, _ = Cockpit(workspace, lambda _: None).rebuild()
    tried("S10", "a spec.json made to choke on", 1, count)
    assert count == 0


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "link", "directory", "huge", "endless"])
def test_spec_that_is_no_plain_file_is_not_read(workspace: Workspace, tried: Tried, kind: str) -> None:
    from engine.training.__main__ import read_spec

    run = workspace.run_dir("0001-odd")
    run.path.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(run.spec)
    elif kind == "link":
        run.spec.symlink_to("/etc/passwd")
    elif kind == "endless":
        run.spec.symlink_to("/dev/zero")
    elif kind == "directory":
        run.spec.mkdir()
    else:
        with run.spec.open("wb") as file:
            file.truncate(10 * 2**30)  # a hole
    with pytest.raises(SpecError, match=r"spec\.json cannot be read"):
        read_spec(run)
    assert Cockpit(workspace, lambda _: None).rebuild()[0] == 0
    tried("S10", "a pipe, link or endless file in the place of spec.json", 1)


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_hostile_model_and_data_files_are_refused_in_a_sentence(tmp_path: Path, tried: Tried, bomb: bytes) -> None:
    model, rows = write_model(tmp_path / "model"), tmp_path / "rows.jsonl"
    rows.write_bytes(bomb)
    spec = make_spec(model__path=str(model), data__path=str(rows), data__samples=None)
    with pytest.raises(DatasetError) as refused:
        count_rows(rows, spec.data)
    assert len(refused.value.message) < 2000 and "\n" not in refused.value.message
    write_rows(rows)
    (model / "config.json").write_bytes(bomb)
    begun = time.monotonic()
    try:
        preflight.check(spec)
    except LoratuiError as error:
        assert isinstance(error, ModelError) and "\n" not in error.message
    tried("S10", "config.json and data files made to choke on", 2, time.monotonic() - begun > 10)


HEADERS = {
    "longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "longest there is": struct.pack("<Q", 2**64 - 1) + b"{}",
    "negative as signed": struct.pack("<Q", 2**63) + b"{}",
    "deep": struct.pack("<Q", len(DEEP)) + DEEP,
    "no JSON": struct.pack("<Q", 8) + b"xxxxxxxx",
    "shape is no list": struct.pack("<Q", 36) + b'{"a.weight":{"shape":{"x":[1,2,3]}}}',
    "cut": b"\x01\x02",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_hostile_safetensors_header_is_refused_by_preflight(tmp_path: Path, tried: Tried, header: bytes) -> None:
    model, rows = write_model(tmp_path / "model"), write_rows(tmp_path / "rows.jsonl")
    (model / "model.safetensors").write_bytes(header)
    with pytest.raises(LoratuiError) as caught:
        preflight.check(make_spec(model__path=str(model), data__path=str(rows), data__samples=None))
    tried("S10", "a safetensors header made to choke on", 1)
    assert "\n" not in caught.value.message


def test_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path, tried: Tried) -> None:
    model, rows = write_model(tmp_path / "model"), write_rows(tmp_path / "rows.jsonl")
    with (model / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 100 * 2**20))
        file.truncate(200 * 2**20)
    begun = time.monotonic()
    with pytest.raises(ModelError, match="cut off or no safetensors file"):
        preflight.check(make_spec(model__path=str(model), data__path=str(rows), data__samples=None))
    tried("S10", "a safetensors header of 100 MiB", 1, time.monotonic() - begun > 5)


VALUES: list[tuple[str, str]] = [
    ("lora.r", "9" * 5000), ("lora.r", "1e999"), ("lora.r", "nan"), ("lora.r", "0x10"), ("train.learning_rate", "nan"),
    ("train.learning_rate", "inf"), ("train.learning_rate", "1e400"), ("train.num_train_epochs", "-0.0"),
    ("data.max_length", "٣٣٣" * 2000), ("data.samples", "-1"), ("train.seed", str(2**64)), ("model.dtype", "__class__"),
    ("data.prompt_template", "{prompt.__class__}"), ("data.prompt_template", "{prompt!r:>99999999}"),
    ("lora.target_modules", ""), ("model.path", ""),
]  # fmt: skip


@pytest.mark.parametrize(("key", "text"), VALUES)
def test_hostile_value_is_refused(tried: Tried, key: str, text: str) -> None:
    with pytest.raises(SpecError):
        parse_value(key, text)
    tried("S10", "a value of a field made to choke on", 1)


def test_spec_with_a_field_of_nobody_is_refused(tried: Tried) -> None:
    nested: dict[str, Any] = msgspec.to_builtins(make_spec())
    for place in (nested, nested["model"], nested["train"]):
        place["__class__"] = "x"
        with pytest.raises(SpecError):
            decode_spec(nested)
        del place["__class__"]
    tried("S10", "a field that no spec has", 3)
    assert decode_spec(nested) == make_spec()


def test_presets_come_from_the_package_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried) -> None:
    """No preset of the directory one happens to be in is taken for one of ours."""
    (tmp_path / "evil.json").write_text(json.dumps({"description": "x", "spec": msgspec.to_builtins(make_spec())}))
    (tmp_path / "presets").mkdir()
    shutil.copy(tmp_path / "evil.json", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    presets.cache_clear()
    tried("S10", "presets lying about", 1, "evil" in presets())
    assert set(presets()) == {path.stem for path in (ROOT / "engine" / "presets").glob("*.json")}


def test_nothing_reads_yaml(tried: Tried) -> None:
    """Whose loader is where config files turn into code: there is none in the program."""
    sources = [path for folder in ("engine", "tui") for path in (ROOT / folder).rglob("*.py")]
    found = [path for path in sources if "import yaml" in path.read_text() or "from yaml" in path.read_text()]
    tried("S10", "YAML in the sources", len(sources), len(found))
    assert found == []
