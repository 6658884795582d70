"""The question to the hub before a round is queued: what it answers, and a hub that does not answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from engine.dataset import hub_parts
from engine.dataset.hub_parts import check_hub_data
from engine.errors import LoratuiError
from engine.spec.data import DataSpec
from tests.support.rounds_to_train import DIRECT


class EmptyHub(BaseHTTPRequestHandler):
    """A hub that has nothing."""

    def do_HEAD(self) -> None:
        body = json.dumps({"error": "Repository not found"}).encode()
        self.send_response(401)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in (DIRECT | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def empty_hub(environment: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyHub) as server:
        Thread(target=server.serve_forever).start()
        environment.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


@pytest.mark.long
@pytest.mark.usefixtures("empty_hub")
@pytest.mark.parametrize(
    ("data", "place"),
    [
        (DataSpec("nobody/none"), "data.path is 'nobody/none'"),
        (DataSpec("rows.jsonl", mix="2*nobody/none"), "data.mix has 'nobody/none'"),
        (DataSpec("rows.jsonl", eval_path="nobody/none"), "data.eval_path is 'nobody/none'"),
    ],
)
def test_dataset_that_the_hub_does_not_have_is_refused_by_the_field_that_names_it(data: DataSpec, place: str) -> None:
    with pytest.raises(LoratuiError, match=f"{place}: the hub has nothing public with that name: check the spelling"):
        check_hub_data(data)


@pytest.mark.long
@pytest.mark.usefixtures("environment")
def test_hub_that_cannot_be_reached_is_a_warning_for_each_dataset() -> None:
    first, second = check_hub_data(DataSpec("nobody/none", "main", mix="nobody/other"))
    assert first.startswith("data.path is 'nobody/none': the Hugging Face hub cannot be reached")
    assert second.startswith("data.mix has 'nobody/other': the Hugging Face hub cannot be reached")


@pytest.mark.long
def test_hub_that_does_not_answer_is_a_warning(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(hub_parts, "CHECK_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as hub:
        environment.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        (warning,) = check_hub_data(DataSpec("nobody/none"))
    assert warning == "the hub has not said whether it has nobody/none: that is known when the round runs"
