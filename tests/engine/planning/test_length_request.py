"""Lengths of rows are asked for once, and again when a file has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.errors import LoratuiError
from engine.planning.length_request import LengthRequest
from engine.planning.row_lengths import RowLengths
from engine.spec.presets import EMBEDDED
from engine.spec.schema import Spec
from engine.system.worker_process import WorkerProcess, WorkerSlot
from tests.support.rounds import change_spec, make_spec

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A spec of three rows with the tokenizer that comes with loratui."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"instruction": "Count.", "output": "one " * number} for number in (1, 5, 9)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make_spec(
        model__path=EMBEDDED, data__path=str(tmp_path / "rows.jsonl"), data__samples=None, data__eval_fraction=0.0
    )


def lengths_of(outcome: object) -> tuple[int, ...]:
    assert isinstance(outcome, RowLengths)
    (measured,) = outcome.sets
    assert measured.rows == len(measured.lengths)
    return measured.lengths


def test_answer_is_remembered_until_a_file_changes(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    request = LengthRequest()
    assert request.known(spec) is None
    first = lengths_of(request.measure(spec))
    assert len(first) == 3 and first[0] < first[1] < first[2]
    assert lengths_of(request.known(spec)) == first
    with Path(spec.data.path).open("a") as file:
        file.write(json.dumps({"instruction": "Count.", "output": "one"}) + "\n")
    assert request.known(spec) is None
    assert len(lengths_of(request.measure(spec))) == 4
    monkeypatch.setattr("engine.planning.length_request.WorkerProcess", None)  # another request reads what is on disk
    assert len(lengths_of(LengthRequest().measure(spec))) == 4


@pytest.mark.parametrize(
    "changes",
    [{"data__max_length": 8}, {"data__eval_fraction": 0.5}, {"data__seed": 7}, {"lora__r": 3}],
    ids=lambda changes: "".join(changes),
)
def test_settings_that_change_no_length_ask_no_question(spec: Spec, changes: dict[str, Any]) -> None:
    request = LengthRequest()
    request.measure(spec)
    assert request.known(change_spec(spec, **changes)) is not None
    assert request.known(change_spec(spec, data__prompt_template="{instruction}: ")) is None


@pytest.mark.parametrize(
    "text", ["", "{", '{"type":"lengths","sets":[{"rows":1,"lengths":[]}]}', '{"type":"lengths","sets":[{"rows":-1}]}']
)
def test_damaged_file_is_measured_again(spec: Spec, tmp_path: Path, text: str) -> None:
    expected = lengths_of(LengthRequest().measure(spec))
    (file,) = (tmp_path / "cache" / "loratui" / "row_lengths").iterdir()
    file.write_text(text)
    assert LengthRequest().known(spec) is None
    assert lengths_of(LengthRequest().measure(spec)) == expected


def test_model_that_is_not_here_is_said_and_not_asked_for(spec: Spec) -> None:
    outcome = LengthRequest().measure(change_spec(spec, model__path="nobody/nothing"))
    assert isinstance(outcome, LoratuiError)
    assert outcome.message == "the tokenizer of 'nobody/nothing' is not on this machine"


def test_refusal_is_the_answer_until_a_file_changes(spec: Spec) -> None:
    """The template leaves out all rows, which the process finds out."""
    template = Path(spec.data.path).with_name("refuse.jinja")
    template.write_text("{{ raise_exception('no') }}")
    refused = change_spec(spec, data__prompt_template="chat_template", data__chat_template=str(template))
    request = LengthRequest()
    outcome = request.measure(refused)
    assert isinstance(outcome, LoratuiError) and "3 of 3 rows" in outcome.message
    assert request.known(refused) is outcome
    template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    assert request.known(refused) is None


def test_no_code_of_a_model_runs(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Spec] = []
    send = WorkerProcess.send

    def record(process: WorkerProcess, *requests: Any) -> None:
        sent.extend(requests)
        send(process, *requests)

    monkeypatch.setattr(WorkerProcess, "send", record)
    LengthRequest().measure(change_spec(spec, model__trust_remote_code=True))
    assert [request.model.trust_remote_code for request in sent] == [False]


def test_closed_request_starts_nothing(spec: Spec) -> None:
    slot = WorkerSlot()
    request = LengthRequest(slot)
    slot.close()
    assert isinstance(request.measure(spec), LoratuiError)
    assert request.known(spec) is None


def test_remembered_lengths_are_those_that_were_measured(spec: Spec, tmp_path: Path) -> None:
    measured = LengthRequest().measure(spec)
    (file,) = (tmp_path / "cache" / "loratui" / "row_lengths").iterdir()
    assert msgspec.json.decode(file.read_bytes(), type=RowLengths) == measured
