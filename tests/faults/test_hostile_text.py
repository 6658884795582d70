"""Hostile text in every field of every screen: none of it steers the terminal, and none of it is taken for markup."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from textual.screen import Screen

import tui.screens
from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.round_store import RoundStore
from tests.support.faults.tried import Tried
from tests.support.hostile import (
    HARMFUL,
    HIDING,
    MARKUP,
    STEERING,
    TEXTS,
    captured,
    clickable,
    interpreted,
    leaks,
)
from tests.support.hostile_rounds import hostile_round
from tests.support.hostile_screens import (
    CASES,
    Show,
)
from tests.support.terminal import ENTER, ESCAPE, Terminal, ctrl

LORATUI = str(Path(sys.executable).with_name("loratui"))
Times = Callable[[int, int], int]

WIDTH, HEIGHT = 150, 60
pytestmark = pytest.mark.usefixtures("forked_workers")
WHAT = "texts in the fields of the screens"


def all_screens() -> set[str]:
    """The names of the screens that there are, those left out that only others are made from."""
    for module in pkgutil.iter_modules(tui.screens.__path__, "tui.screens."):
        importlib.import_module(module.name)
    found: set[str] = set()
    rest: list[Any] = [Screen]
    while rest:
        screen = rest.pop()
        ours = [kind for kind in screen.__subclasses__() if kind.__module__.startswith("tui.")]
        if screen.__module__.startswith("tui.") and not ours:
            found.add(screen.__name__)
        rest += screen.__subclasses__()
    return found


def test_each_screen_is_shown_hostile_text() -> None:
    """A screen that is new gets a case above."""
    assert all_screens() == set(CASES)


async def look(cockpit: Cockpit, directory: Path, shows: Sequence[tuple[Show, str]], texts: Sequence[str]) -> list[Any]:
    """Show each of `texts` in turn with each of `shows`; return what came through, each behind its text."""
    leaked: list[Any] = []
    async with captured(cockpit, directory, (WIDTH, HEIGHT)) as app:
        await app.drawn()
        for (show, fields), text in itertools.product(shows, texts):
            base = len(app.screen_stack)
            app.take()
            await show(app, text)
            await app.drawn()
            app.action_repaint()  # what stood there before too, which is not written twice by itself
            await app.drawn()
            written = app.take()
            leaked += [(text, leak) for leak in leaks(written)]
            leaked += [(text, "clickable", what) for what in clickable(app)]
            leaked += [(text, "taken for markup")] if interpreted(written) else []
            leaked += [(text, "not drawn", field) for field in fields.split() if f"{field}=" not in written]
            while len(app.screen_stack) > base:
                await app.pop_screen()
            app.clear_notifications()
            await app.drawn()
        leaked += [(texts, "defect", app.defect)] if app.defect else []
    return leaked


@pytest.mark.parametrize(
    ("show", "fields"),
    [case for cases in CASES.values() for case in cases],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_text_is_drawn_and_does_nothing(
    idle_cockpit: Cockpit, tmp_path: Path, show: Show, fields: str, tried: Tried, times: Times
) -> None:
    """The worst texts there are, and some that Hypothesis makes up; all in one app, which takes a while to start."""
    parts = range(times(1, 4))
    worst = {
        " ".join(texts[start :: len(parts)]): (fault, len(texts[start :: len(parts)]))
        for fault, texts in (("S1", STEERING), ("S2", MARKUP), ("S3", HIDING))
        for start in parts
    }
    to_show, number, leaked = list(worst), 0, []

    @settings(max_examples=times(1, 3), phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.lists(TEXTS, min_size=times(2, 4), max_size=times(2, 5)))
    def shown(texts: list[str]) -> None:
        nonlocal number
        leaked.extend(asyncio.run(look(idle_cockpit, tmp_path, [(show, fields)], [*to_show, *texts])))
        number += len(texts)
        to_show.clear()

    shown()
    count = len(fields.split())
    for text, (fault, pieces) in worst.items():
        tried(fault, f"{WHAT}, the worst there are", pieces * count, sum(leak[0] == text for leak in leaked))
    made_up = sum(leak[0] not in worst for leak in leaked)
    tried("S1", f"{WHAT}, made up by Hypothesis", number * count, made_up)
    assert leaked == []


def test_judge_knows_harmful_output() -> None:
    """The captured output of a screen that is shown no hostile text is clean, and each hostile text alone is not."""
    drawing = "\x1b[?2026h\x1b[1;1H\x1b[1;38;2;224;224;224;48;2;18;18;18mtext\x1b[0m\n\x1b[2;1H\x1b[?2026l"
    assert leaks(drawing) == []
    for text in STEERING + HIDING:
        assert leaks(drawing + text), text


@pytest.mark.long
def test_gate_holds_alone(
    idle_cockpit: Cockpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, times: Times
) -> None:
    """Were every screen to forget `clean`, the last gate before the terminal would do."""

    def forgetful(text: str) -> str:
        return text

    for module in [*pkgutil.walk_packages(tui.__path__, "tui.")]:
        loaded = importlib.import_module(module.name)
        if module.name not in ("tui.terminal.console", "tui.terminal.filters"):
            for name in ("clean", "clean_line", "shown"):
                if hasattr(loaded, name):
                    monkeypatch.setattr(loaded, name, forgetful)
    text = " ".join(STEERING[::2] + HIDING[1::2])
    shows = [case for cases in CASES.values() for case in cases][:: times(4, 1)]
    leaked = [leak for leak in asyncio.run(look(idle_cockpit, tmp_path, shows, [text])) if "not drawn" not in str(leak)]
    tried("S1", "every clean() of the screens left out: the gate before the terminal alone", len(shows), len(leaked))
    assert leaked == []


# All that Textual tells a terminal from its start to its end; the numbers of the hostile texts have five digits.
SESSION = regex.compile(r"\x1b\[[?><]?[0-9]{0,4}(?:;[0-9]{1,3})*\$?[a-zA-Z]|\x1b\]22;[a-z-]*\x07|\r?\n")
HOSTILE_NAME = b"\x1b]0;31337\x07\x9b31337m\xff[red]Q7[\xe2\x80\xaeend"


def without(words: str, screen: str) -> bool:
    return words not in screen


def test_terminal_is_sent_nothing_hostile_by_the_program_itself(tmp_path: Path, tried: Tried) -> None:
    """From a directory whose name is no better than what lies in it, on a real terminal."""
    directory = os.fsdecode(os.fsencode(tmp_path) + b"/" + HOSTILE_NAME)
    os.mkdir(directory)
    workspace = Workspace(Path(directory))
    texts = [text.encode("utf-8", "replace").decode() for text in STEERING + HIDING + MARKUP]
    RoundStore(workspace).create(
        tuple(hostile_round(text, number, Status.FAILED) for number, text in enumerate(texts, 1))
    )
    screens = 0
    with Terminal([LORATUI], Path(directory), columns=150, rows=60) as terminal:
        terminal.wait_for(f"{len(texts)} rounds")
        for keys, words, back in (
            (ENTER, "learning rate", ESCAPE), ("d", "deleted: press z to undo", ""), ("z", "is restored", ""),
            ("e", "comparison is in", ""),
            ("e", "Overwrite (y)", ESCAPE), ("?", "Most used", ESCAPE),
            ("n", "Start the new round from", ESCAPE),
        ):  # fmt: skip
            terminal.type(keys)
            terminal.wait_for(words)
            screens += 1
            if back:
                terminal.type(back)
                terminal.wait_until(partial(without, words), f"the end of {words!r}")
        terminal.type("G")  # the round that came back is selected or the one before it, as the table is read again
        terminal.type("n")
        terminal.wait_for("Start the new round from", f"clone of round {len(texts)}")
        terminal.type(ENTER)
        terminal.wait_for("New round")
        terminal.type(ctrl("q"))
        terminal.wait_for_end()
    rest = SESSION.sub("", terminal.written.decode("utf-8", "surrogateescape"))
    lost = [rest[max(0, found.start() - 30) : found.end() + 30] for found in HARMFUL.finditer(rest)]
    tried("S1", "the program itself on a real terminal, every text and its directory hostile", screens + 1, len(lost))
    assert lost == []
