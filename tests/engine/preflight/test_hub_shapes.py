"""The shapes of a model on the hub: asked for without the weights, used from then on, and a hub that has none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from engine.errors import LoratuiError
from engine.planning.devices import Device
from engine.planning.memory import MemoryNeed, memory_need
from engine.preflight.base_model import read_config, tensor_shapes
from engine.preflight.hub_shapes import cache_directory, directory_with_shapes, fetch_shapes, update_shapes
from engine.spec.plan import make_plan
from engine.spec.schema import ModelSpec
from tests.support.rounds import make_spec
from tests.support.rounds_to_train import DIRECT
from tests.support.shapes import write_llama_shapes

NAME = "somebody/tinyllama"
WEIGHTS = 64 * 2**20  # bytes that nobody asks for
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A hub with one model, which counts the bytes that it sends of it."""

    files: Path
    sent = 0
    commit = COMMIT

    def do_GET(self) -> None:
        file = self.files / self.path.rpartition("/")[2]
        if not self.path.startswith(f"/{NAME}/resolve/") or not file.is_file():
            name = "EntryNotFound" if NAME in self.path else "RepoNotFound"
            self._answer(404 if NAME in self.path else 401, b"", {"X-Error-Code": name})
            return
        size = file.stat().st_size
        start, end = 0, size - 1
        if span := self.headers.get("Range"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or end), end)
        headers = {"ETag": '"1"', "X-Repo-Commit": self.commit, "Content-Range": f"bytes {start}-{end}/{size}"}
        with file.open("rb") as stream:
            stream.seek(start)
            self._answer(206 if span else 200, stream.read(end + 1 - start), headers)

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
            type(self).sent += len(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of the files that a hub serves, of a Llama whose weights follow their header."""
    directory = write_llama_shapes(tmp_path / "files")
    with (directory / "model.safetensors").open("r+b") as stream:
        stream.truncate(stream.seek(0, 2) + WEIGHTS)
    for name, value in (
        DIRECT | {"HF_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Hub, "files", directory, raising=False)
    monkeypatch.setattr(Hub, "sent", 0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield directory
        server.shutdown()


def need(path: str) -> MemoryNeed | None:
    spec = make_spec(model__path=path, model__dtype="auto", lora__target_modules=("q_proj",))
    device = Device("card", is_gpu=True, free=2**34, total=2**34, bfloat16=True)
    return memory_need(spec, make_plan(spec, 900), device)


def test_shapes_come_without_the_weights_and_are_used_from_then_on(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelSpec(NAME)
    assert directory_with_shapes(model) is None and need(NAME) is None
    fetch_shapes(model)
    assert Hub.sent < 2**20 < WEIGHTS
    directory = directory_with_shapes(model)
    assert directory is not None and tensor_shapes(directory) == tensor_shapes(hub)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert need(NAME) == need(str(hub)) is not None


def layers_of(model: ModelSpec) -> object:
    directory = directory_with_shapes(model)
    assert directory is not None
    return read_config(directory)["num_hidden_layers"]


def test_shapes_are_asked_for_again_once_the_revision_names_another_commit(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelSpec(NAME)
    assert update_shapes(model) == ""
    write_llama_shapes(hub, num_hidden_layers=3)
    sent = Hub.sent
    assert update_shapes(model) == ""
    assert (layers_of(model), Hub.sent) == (22, sent)
    monkeypatch.setattr(Hub, "commit", COMMIT[::-1])
    assert update_shapes(model) == ""
    assert layers_of(model) == 3


def test_old_shapes_are_used_and_said_where_the_hub_is_not_reached(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, commit = ModelSpec(NAME), ModelSpec(NAME, revision=COMMIT)
    assert (update_shapes(model), update_shapes(commit)) == ("", "")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    sentence = update_shapes(model)
    assert "the Hugging Face hub cannot be reached" in sentence
    assert re.search(r"the shapes that the hub told on \d{4}-\d\d-\d\d, and may be out of date$", sentence)
    assert layers_of(model) == 22
    assert update_shapes(commit) == ""  # which names the same shapes for ever
    assert "cannot be reached" in update_shapes(ModelSpec("nobody/none"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda files: (files / "model.safetensors").unlink(), "is not a safetensors repo"),
        (lambda files: (files / "config.json").unlink(), "there is no config.json in it"),
        (lambda files: (files / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda files: (files / "model.safetensors").write_bytes(b"\xff" * 64), "safetensors"),
    ],
)
def test_hub_without_them_is_said_in_a_sentence(hub: Path, change: Callable[[Path], object], reason: str) -> None:
    change(hub)
    with pytest.raises(LoratuiError, match=reason):
        fetch_shapes(ModelSpec(NAME))
    assert directory_with_shapes(ModelSpec(NAME)) is None


@pytest.mark.usefixtures("hub")
def test_model_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoratuiError, match="the hub has nothing public with that name"):
        fetch_shapes(ModelSpec("nobody/none"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LoratuiError, match="the Hugging Face hub cannot be reached"):
        fetch_shapes(ModelSpec(NAME))


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../b", "a/b/c", "a b", ".."])
def test_what_is_no_name_on_the_hub_has_no_place_in_the_cache(path: str) -> None:
    assert cache_directory(ModelSpec(path)) is None


@pytest.mark.parametrize("revision", ["../../x", "..", "-x"])
def test_revision_leads_nowhere_else(revision: str) -> None:
    assert cache_directory(ModelSpec("a/b", revision=revision)) is None


def test_download_that_left_files_out_is_no_model(tmp_path: Path) -> None:
    directory = write_llama_shapes(tmp_path / "model")
    assert directory_with_shapes(ModelSpec(str(directory))) == directory
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert directory_with_shapes(ModelSpec(str(directory))) is None


def test_cache_that_cannot_be_written_is_said(hub: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(LoratuiError, match="the shapes of 'somebody/tinyllama' cannot be written"):
        fetch_shapes(ModelSpec(NAME))
