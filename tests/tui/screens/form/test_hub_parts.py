"""Datasets on the hub in the form: their configurations and splits, listed, and checked at the start."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Event

import pytest
from textual.widgets import OptionList

from engine.api import Cockpit
from engine.dataset.hub_parts import PartsRequest
from engine.errors import DatasetError
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, on_screen, open_form, until
from tests.support.rounds import change_spec, make_round
from tui.pollers import pause
from tui.screens.form.spec_form import SpecForm


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PartsRequest]:
    """What the hub was asked; a dataset called none is not there."""
    requests: list[PartsRequest] = []

    def list_hub_parts(request: PartsRequest) -> tuple[str, ...]:
        requests.append(request)
        if request.data.path == "somebody/none":
            raise DatasetError("data.path is 'somebody/none': it is not on the hub")
        return ("main", "socratic") if request.part == "name" else ("train", "test")

    monkeypatch.setattr("tui.screens.form.lists.hub_parts.list_hub_parts", list_hub_parts)
    return requests


def holds(form: SpecForm, key: str, text: str) -> bool:
    return form.text(key) == text


async def test_configuration_and_splits_are_chosen(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, asked: list[PartsRequest]
) -> None:
    spec = change_spec(nano_spec, data__path="openai/gsm8k", data__samples=20)
    idle_cockpit.store.add(lambda number: make_round(number, spec=spec))
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        form = pilot.app.screen.query_one(SpecForm)
        for key, choice in (("data.name", "main"), ("data.split", "train"), ("data.eval_split", "test")):
            form.focus_field(key)
            await pilot.press("enter")
            await until(pilot, lambda: on_screen(pilot, "ChooseScreen"), "the list")
            options = pilot.app.screen.query_one(OptionList)
            lines = [str(options.get_option_at_index(index).prompt) for index in range(options.option_count)]
            await pilot.press(*["down"] * lines.index(choice), "enter")
            await until(pilot, partial(holds, form, key, choice), "the choice")
    assert [(request.part, request.data.path, request.data.name) for request in asked] == [
        ("name", "openai/gsm8k", None),
        ("split", "openai/gsm8k", "main"),
        ("split", "openai/gsm8k", "main"),
    ]


async def test_split_of_a_directory_is_chosen(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, asked: list[PartsRequest], tmp_path: Path
) -> None:
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text('{"text": "a"}\n' * 2)
    spec = change_spec(nano_spec, data__path=str(tmp_path))
    idle_cockpit.store.add(lambda number: make_round(number, spec=spec))
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        form = pilot.app.screen.query_one(SpecForm)
        form.focus_field("data.eval_split")
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "ChooseScreen"), "the list")
        await pilot.press("down", "enter")
        await until(pilot, lambda: holds(form, "data.eval_split", "test"), "the choice")
    assert asked == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("./rows.jsonl", "is not a directory: only a directory, or a dataset of the hub, has splits"),
        ("somebody/none", "is not on the hub"),
    ],
)
async def test_why_there_is_no_list(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, asked: list[PartsRequest], path: str, message: str
) -> None:
    spec = change_spec(nano_spec, data__path=path)
    idle_cockpit.store.add(lambda number: make_round(number, spec=spec))
    async with open_app(idle_cockpit, size=(160, 40)) as pilot:
        await open_form(pilot)
        pilot.app.screen.query_one(SpecForm).focus_field("data.split")
        await pilot.press("enter")
        await until(pilot, lambda: any(message in note.message for note in pilot.app._notifications), "the reason")


@pytest.fixture
def hub_spec(idle_cockpit: Cockpit, nano_spec: Spec) -> Spec:
    """A spec with a dataset of the hub, whose round is there to be cloned."""
    spec = change_spec(nano_spec, data__path="openai/gsm8k", data__samples=20)
    idle_cockpit.store.add(lambda number: make_round(number, spec=spec))
    return spec


@pytest.mark.usefixtures("hub_spec")
async def test_what_the_hub_does_not_have_queues_nothing(
    open_app: OpenApp, idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(spec: Spec) -> tuple[str, ...]:
        raise DatasetError("data.name is mian, but openai/gsm8k has main, socratic")

    monkeypatch.setattr("tui.screens.form.queue_round.ask_hub", refuse)
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: any("has main, socratic" in note for note in notes(pilot)), "the reason")
        assert notes(pilot)[0] == "asking the hub for openai/gsm8k"
        assert on_screen(pilot, "EditScreen")
    assert len(idle_cockpit.store.rounds()) == 1


@pytest.mark.parametrize("leave", [False, True])
@pytest.mark.usefixtures("hub_spec")
async def test_form_can_be_used_and_left_while_the_hub_is_asked(
    open_app: OpenApp, idle_cockpit: Cockpit, monkeypatch: pytest.MonkeyPatch, leave: bool
) -> None:
    asked, answer = Event(), Event()
    wanted: list[bool] = []

    def wait(spec: Spec) -> tuple[str, ...]:
        asked.set()
        assert answer.wait(60)
        return ("the hub has not said",)

    def still_wanted(seconds: float) -> bool:
        wanted.append(pause(seconds))
        return wanted[-1]

    monkeypatch.setattr("tui.screens.form.queue_round.ask_hub", wait)
    monkeypatch.setattr("tui.screens.form.queue_round.pause", still_wanted)
    async with open_app(idle_cockpit) as pilot:
        await open_form(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, asked.is_set, "the question")
        await pilot.press("ctrl+s")  # asks and queues nothing more
        if leave:
            await pilot.press("escape")
            await until(pilot, lambda: not on_screen(pilot, "EditScreen"), "the table")
        answer.set()
        await until(pilot, lambda: bool(wanted) if leave else on_screen(pilot, "LiveScreen"), "the end of the wait")
    assert wanted == [not leave]
    queued = idle_cockpit.store.rounds()[1:]
    assert [round_.warnings[-1] for round_ in queued] == ([] if leave else ["the hub has not said"])


def notes(pilot: AppPilot) -> list[str]:
    return [note.message for note in pilot.app._notifications]
