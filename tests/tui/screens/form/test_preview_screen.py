from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from rich.text import Text
from textual.widgets import Static

from engine.api import Cockpit
from engine.spec.presets import EMBEDDED
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, enter, on_screen, open_form, shown, until
from tests.support.processes import is_running
from tests.support.rounds import make_round, make_spec
from tui.views.preview import SUPERVISED

ROWS = [
    {"prompt": "Say one\n", "completion": "one \x1b[31mred\x07"},
    {"prompt": "Say two\n", "completion": ""},
    {"prompt": "Say three\n", "completion": "[b]three[/b]"},
    {"prompt": "Say four\n", "completion": "four"},
]


def spec_of_rows(directory: Path) -> Spec:
    file = directory / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return make_spec(model__path=EMBEDDED, data__path=str(file), data__samples=None, lora__target_modules="all-linear")


@asynccontextmanager
async def previewing(open_app: OpenApp, cockpit: Cockpit, spec: Spec) -> AsyncIterator[AppPilot]:
    """The preview of a clone of round 1, which has `spec`."""
    cockpit.store.add(lambda number: make_round(number, spec=spec))
    async with open_app(cockpit) as pilot:
        await open_form(pilot)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: on_screen(pilot, "PreviewScreen"), "the preview")
        yield pilot


def marked(pilot: AppPilot) -> list[str]:
    """What is in the colour of supervised text."""
    content = pilot.app.screen.query_one("#preview-text", Static).content
    assert isinstance(content, Text)
    return [content.plain[span.start : span.end] for span in content.spans if span.style == SUPERVISED]


def preview_processes() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if is_running(child) and "engine.training.workers.preview" in child.cmdline()]


async def test_rows_are_gone_through_with_what_is_supervised_marked(
    open_app: OpenApp, idle_cockpit: Cockpit, tmp_path: Path
) -> None:
    async with previewing(open_app, idle_cockpit, spec_of_rows(tmp_path)) as pilot:
        await until(pilot, lambda: "row 1 of 4: " in shown(pilot, "#preview-facts"), "the first row")
        assert "prompt-completion rows (prompt, completion)" in shown(pilot, "#preview-facts")
        assert "! 1 row was left out; the first is row 2" in shown(pilot, "#preview-facts")
        assert shown(pilot, "#preview-text") == "<s>Say one\none ␛[31mred␇</s>"
        assert marked(pilot) == ["one ␛[31mred␇</s>"]
        await pilot.press("n")
        await until(pilot, lambda: "row 2 is left out: its completion is empty" in shown(pilot, "#preview-facts"), "2")
        await pilot.press("right")
        await until(pilot, lambda: marked(pilot) == ["[b]three[/b]</s>"], "the third row")
        await pilot.press("n")
        await until(pilot, lambda: marked(pilot) == ["four</s>"], "the last row")
        await pilot.press("n", "p")
        await until(pilot, lambda: marked(pilot) == ["[b]three[/b]</s>"], "the row before the last")
        assert len(preview_processes()) == 1
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        await until(pilot, lambda: not preview_processes(), "the end of the process")


async def test_form_as_it_stands_is_previewed(open_app: OpenApp, idle_cockpit: Cockpit, tmp_path: Path) -> None:
    async with previewing(open_app, idle_cockpit, spec_of_rows(tmp_path)) as pilot:
        await pilot.press("escape")
        await until(pilot, lambda: not preview_processes(), "the end of the process that was still loading")
        await enter(pilot, "data.prompt_template", r"Q: {prompt}\nA:")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "row 1 of 4: " in shown(pilot, "#preview-facts"), "the first row")
        assert shown(pilot, "#preview-text").startswith("<s>Q: Say one\n\nA:one")
        await pilot.press("escape")
        await enter(pilot, "data.prompt_template", "{question}")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: bool(pilot.app._notifications), "the refusal")
        assert on_screen(pilot, "EditScreen")


async def test_what_cannot_be_previewed_is_told(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    """Its tokenizer is an empty object."""
    async with previewing(open_app, idle_cockpit, nano_spec) as pilot:
        await until(pilot, lambda: "its tokenizer cannot be loaded" in shown(pilot, "#preview-facts"), "the reason")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")


async def test_form_tells_what_was_found(open_app: OpenApp, idle_cockpit: Cockpit, tmp_path: Path) -> None:
    async with previewing(open_app, idle_cockpit, spec_of_rows(tmp_path)) as pilot:
        await pilot.press("escape")
        found = "prompt-completion rows (prompt, completion): 3"
        await until(pilot, lambda: found in shown(pilot, "#plan"), found)
        await enter(pilot, "data.format", "messages")
        await until(pilot, lambda: "set data.format to auto" in shown(pilot, "#plan"), "the refusal")
