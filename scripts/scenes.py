"""Every screen of the app over the sample workspace, opened by keys as a person would, and the same at every run."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, chdir, contextmanager
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PosixPath
from typing import Any, ClassVar, NamedTuple
from unittest.mock import patch

from rich.style import Style
from textual._context import visible_screen_stack
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input, TextArea

from engine.api import Cockpit
from engine.files.paths import Workspace
from scripts.sample_workspace import ANSWERS, NOW, SamplePreviewer, make_workspace, sample_device, sample_machine
from scripts.scripted_talk import ScriptedTalk
from tui.app import LoratuiApp
from tui.messages import MachineSampled
from tui.settings.config import Config
from tui.settings.themes import DARK

AppPilot = Pilot[str | None]
Size = tuple[int, int]

PLACE = "~/rounds"  # where the workspace is said to lie
SECONDS = 60.0
SETTLED_LOOKS = 3
LOOK_SECONDS = 0.02


class Scene(NamedTuple):
    """Keys to press from the table of rounds on, and text that the screen then shows; `empty`: no sample rounds.

    If the keys open something slow, `more` keys are pressed when the screen shows `opened`.
    """

    keys: tuple[str, ...]
    shows: str
    empty: bool = False
    opened: str = ""
    more: tuple[str, ...] = ()


UP_TO_MODULES = 2  # from where a form starts, past the line of the folded fields
TALK = ("g", "t")

SCENES: Mapping[str, Scene] = {
    "rounds": Scene((), "rank-32"),
    "grouped": Scene(("right", "right", "right", "o"), "grouped by"),
    "marked": Scene(("space", "up", "up", "space"), "2 marked"),
    "filter": Scene(("/", *"ppl<5.6"), "ppl<5.6"),
    "columns": Scene(("v",), "shows or hides"),
    "tags": Scene(("#",), "tags"),
    "copy": Scene(("y",), "enter copy"),
    "help": Scene(("?",), "Most used"),
    "commands": Scene((":",), "What do you want to do?"),
    "queue": Scene(("u",), "all done about"),
    "lineage": Scene(("a",), "Lineage"),
    "compare": Scene(("g", "space", "space", "c", "m"), "fields differ"),
    "talk": Scene(TALK, "tokens/s", opened="temperature", more=("ctrl+b", *ANSWERS[0].instruction, "enter")),
    "asking": Scene(TALK, "Chat settings", opened="temperature", more=("ctrl+o",)),
    "live": Scene(("enter",), "tokens/s"),
    "chart": Scene(("enter", "f", "left"), "step"),
    "samples": Scene(("enter", "s"), "capital of Portugal"),
    "judge": Scene(("b", "r"), "which answer is better?"),
    "judged": Scene(("g", "b", "enter"), "All rounds that were judged"),
    "stop": Scene(("x",), "Stop round 5?"),
    "start": Scene(("n",), "Start the new round from"),
    "form": Scene(("n", "enter", *"3e-4"), "train.learning_rate=3e-4"),
    "find": Scene(("n", "enter", "ctrl+k", *"warm"), "fields"),
    "folds": Scene(("n", "enter", "up", "enter"), "use_dora"),
    "modules": Scene(
        ("n", "down", "enter"),
        "Modules that get an adapter",
        opened="rows to train on",
        more=(*["up"] * UP_TO_MODULES, "enter"),
    ),
    "remarks": Scene(("n", "enter"), "esc back", opened="says why", more=("ctrl+x",)),
    "keep": Scene(("n", "enter", "ctrl+f"), "Save these settings"),
    "row": Scene(("n", "enter", "ctrl+o"), "20 supervised"),
    "welcome": Scene((), "experiments.json", empty=True),
}


class ShownPath(PosixPath):
    """A path whose text is the same on every machine; system calls use the real path."""

    real: ClassVar[str] = ""

    def __str__(self) -> str:
        path = super().__str__()
        return PLACE + path.removeprefix(self.real) if self.real and path.startswith(self.real) else path

    def __fspath__(self) -> str:
        return super().__str__()


@contextmanager
def stage(directory: Path) -> Iterator[None]:
    """Stop the clock, replace the machine by one that is always the same, and show `directory` as `PLACE`."""

    def follow_machine(cockpit: Cockpit, current: Callable[[], Any], post: Callable[[MachineSampled], object]) -> None:
        sample, share = sample_machine()
        for second in range(0, 60, 2):
            post(MachineSampled(sample, share, float(second)))

    with (
        patch.object(ShownPath, "real", os.fspath(directory.resolve())),
        patch("tui.screens.run.screen.follow_machine", follow_machine),
        patch("tui.screens.form.forecaster.device_here", lambda engines: sample_device()),
        patch("engine.runner.queue_outlook.sample_gpus", lambda: ((), sample_machine()[0].gpu_absence)),
        patch("engine.runner.workspace_runner.WorkspaceRunner.is_at_work", lambda runner: True),
        patch("tui.screens.form.forecaster.Forecaster.measure", lambda forecaster, spec: False),
        patch("tui.app.has_shell_to_continue_it", lambda: True),
        patch("engine.preference.blind_test.new_seed", lambda: "0"),
        patch("tui.screens.form.preview_screen.Previewer", SamplePreviewer),
        patch("tui.screens.chat.connection.ChatClient", ScriptedTalk),
        patch("engine.api.with_absolute_paths", lambda spec, directory: spec),  # it names a directory of this machine
        patch("time.time", lambda: NOW),
        patch.dict(
            os.environ,
            {
                "TZ": "UTC",
                "HF_HUB_OFFLINE": "1",
                "HF_HOME": os.fspath(directory / "hub"),
                "XDG_CACHE_HOME": os.fspath(directory / "cache"),  # or lengths of rows that somebody measured are used
                "XDG_STATE_HOME": os.fspath(directory / "state"),
            },
        ),
    ):
        os.environ.pop("NO_COLOR", None)
        time.tzset()
        yield
    time.tzset()


@asynccontextmanager
async def play(scene: Scene, directory: Path, size: Size, theme: str = DARK.name) -> AsyncIterator[AppPilot]:
    """Run the app with a scene on a terminal of `size`; use it within a `stage` of `directory`."""
    if not scene.empty and not (directory / "experiments.json").exists():
        make_workspace(directory)
    # What earlier plays left: conversations have numbered names, and the form offers its drafts.
    for remains in (directory / "conversations", directory / "state"):
        shutil.rmtree(remains, ignore_errors=True)
    workspace = Workspace(directory)
    workspace.root = ShownPath(workspace.root)
    app = LoratuiApp(Cockpit(workspace, lambda _: None), workspace.root, Config(theme=theme))
    app.animation_level = "none"
    with chdir(directory):  # where a spec finds its data
        async with app.run_test(size=size) as pilot:
            await settle(pilot, "" if scene.empty else "62 %")  # the progress appears a moment after the table
            await press(pilot, scene.keys)
            if scene.more:
                await settle(pilot, scene.opened)
                await press(pilot, scene.more)
            await settle(pilot, scene.shows)
            yield pilot


async def press(pilot: AppPilot, keys: tuple[str, ...]) -> None:
    """Press keys as a person does, one after the other."""
    for key in keys:
        await pilot.press(KEY_NAMES.get(key, key))
        # Enter may open something slow, and where a form has scrolled to depends on each step of the way up.
        await (settle(pilot) if key in ("enter", "up") else pilot.pause(LOOK_SECONDS))


KEY_NAMES = {
    " ": "space", "/": "slash", "#": "number_sign", "?": "question_mark", ":": "colon", "<": "less_than_sign",
    ".": "full_stop", "-": "minus",
}  # fmt: skip


async def settle(pilot: AppPilot, text: str = "") -> None:
    """Wait until the screen shows `text` and no longer changes.

    Raises:
        TimeoutError: that did not happen within `SECONDS`.
    """
    async with asyncio.timeout(SECONDS):
        before, still = Picture([], []), 0
        while still < SETTLED_LOOKS:
            await pilot.pause(LOOK_SECONDS)
            for field in pilot.app.screen.query(Input):
                field.cursor_blink = False
            for area in pilot.app.screen.query(TextArea):
                area.cursor_blink = False
            now = picture(pilot)
            still = still + 1 if now == before and any(text in line for line in now.lines) else 0
            before = now


class Picture(NamedTuple):
    """The picture on a terminal: the text of each line, and its runs of cells as (number of cells, style name)."""

    lines: list[str]
    styles: list[list[tuple[int, str]]]


def lines_of(pilot: AppPilot) -> list[str]:
    """Return the lines of the screen on top, with the visible parts of the screens below."""
    return [strip.text for strip in _strips(pilot)]


def _strips(pilot: AppPilot) -> list[Strip]:
    visible_screen_stack.set(pilot.app._background_screens)
    return pilot.app.screen._compositor.render_strips()


def picture(pilot: AppPilot) -> Picture:
    """Return the lines as `lines_of` does, with their styles."""
    strips = _strips(pilot)
    styles = [
        [
            (sum(segment.cell_length for segment in run), name)
            for name, run in groupby(strip, key=lambda segment: style_name(segment.style))
        ]
        for strip in strips
    ]
    return Picture([strip.text for strip in strips], styles)


@lru_cache(maxsize=4096)
def style_name(style: Style | None) -> str:
    """Describe a style in words; styles that look the same have the same words."""
    if style is None:
        return "plain"
    colours = [colour.get_truecolor().hex if colour is not None else "-" for colour in (style.color, style.bgcolor)]
    looks = ("bold", "dim", "italic", "underline", "reverse", "strike")
    return " ".join([f"{colours[0]} on {colours[1]}", *(name for name in looks if getattr(style, name))])
