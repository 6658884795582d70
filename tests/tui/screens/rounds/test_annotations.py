"""`Annotations` on a screen without a table: what it writes to the store, and what undoes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.api import Cockpit
from engine.errors import StoreError
from engine.spec.round import Round
from tests.support.pilot import AppPilot, shown, until
from tests.support.rounds import make_round
from tests.support.stand_in import StandInApp, StandInScreen
from tui.screens.rounds.annotate import Annotated, Annotations
from tui.screens.rounds.editor_line import EditorLine


class AnnotatedScreen(StandInScreen):
    """A screen that does with `Annotations` only what a screen must."""

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__(cockpit)
        self.line = EditorLine(self, lambda: self.query_one("#rows").focus())
        self.annotations = Annotations(self, self.line, self.round_of)

    def on_annotated(self, event: Annotated) -> None:
        self.annotations.after_saving(event)


@pytest.fixture
def cockpit(idle_cockpit: Cockpit) -> Cockpit:
    """Two rounds."""
    for _ in range(2):
        idle_cockpit.store.add(lambda number: make_round(number, note="stored", tags=("base",)))
    return idle_cockpit


@pytest.fixture
def screen(cockpit: Cockpit) -> AnnotatedScreen:
    return AnnotatedScreen(cockpit)


@pytest.fixture
async def pilot(screen: AnnotatedScreen) -> AsyncIterator[AppPilot]:
    async with StandInApp(screen).run_test() as pilot:
        yield pilot


async def edit(pilot: AppPilot, screen: AnnotatedScreen, field: str, text: str) -> None:
    """Open the line on a field of round 1, put `text` into it, and submit it."""
    await screen.annotations.edit(field, screen.cockpit.store.get(1))
    assert screen.line.current is not None
    screen.line.current.field.value = text
    await pilot.pause()
    screen.annotations.submit(screen.line.current)


async def closed(pilot: AppPilot, screen: AnnotatedScreen) -> None:
    await until(pilot, lambda: screen.line.current is None, "the end of the line")


async def test_tags_are_the_words_each_once_in_their_order(pilot: AppPilot, screen: AnnotatedScreen) -> None:
    await edit(pilot, screen, "tags", "  fast base\tfast  r16 ")
    await closed(pilot, screen)
    assert screen.cockpit.store.get(1).tags == ("fast", "base", "r16")


async def test_undo_restores_the_field_of_that_round_alone(pilot: AppPilot, screen: AnnotatedScreen) -> None:
    before = screen.cockpit.store.rounds()
    await edit(pilot, screen, "note", "another note")
    await closed(pilot, screen)
    (change,) = screen.undoable
    assert list(change.rounds) == before[:1]
    change.undo(before[0])
    assert screen.cockpit.store.rounds() == before


async def test_unchanged_text_is_not_written(pilot: AppPilot, screen: AnnotatedScreen) -> None:
    written = screen.cockpit.store.signature()
    await edit(pilot, screen, "note", "stored")
    await closed(pilot, screen)
    assert screen.cockpit.store.signature() == written
    assert not screen.undoable


async def test_round_that_was_deleted_meanwhile_is_named_in_the_line(pilot: AppPilot, screen: AnnotatedScreen) -> None:
    await screen.annotations.edit("note", screen.cockpit.store.get(1))
    screen.cockpit.remove(1)
    assert screen.line.current is not None
    screen.annotations.submit(screen.line.current)
    assert shown(pilot, ".line-hint") == "round 1 was deleted: press esc"


async def test_text_stays_in_the_line_while_it_cannot_be_saved(
    pilot: AppPilot, screen: AnnotatedScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Round:
        raise StoreError("the disk is full")

    monkeypatch.setattr(screen.cockpit, "annotate", refuse)
    await edit(pilot, screen, "note", "another note")
    await until(pilot, lambda: "the disk is full" in shown(pilot, ".line-hint"), "the reason")
    assert screen.line.current is not None
    assert screen.line.current.text == "another note"
    assert not screen.undoable


async def test_text_typed_during_saving_keeps_the_line_open(pilot: AppPilot, screen: AnnotatedScreen) -> None:
    await screen.annotations.edit("note", screen.cockpit.store.get(1))
    editor = screen.line.current
    assert editor is not None
    screen.annotations.after_saving(Annotated(editor, "what was saved"))
    await pilot.pause()
    assert screen.line.current is editor


async def test_pin_pins_those_that_are_not_and_its_undo_unpins_only_these(
    pilot: AppPilot, screen: AnnotatedScreen
) -> None:
    store = screen.cockpit.store
    store.update(1, pinned=True)
    screen.annotations.pin(store.rounds())
    await until(pilot, lambda: all(round_.pinned for round_ in store.rounds()), "two pinned rounds")
    await until(pilot, lambda: bool(screen.undoable), "what undoes it")
    screen.action_undo()
    await until(pilot, lambda: not store.get(2).pinned, "the undo")
    assert store.get(1).pinned


async def test_pin_unpins_rounds_that_are_all_pinned(pilot: AppPilot, screen: AnnotatedScreen) -> None:
    store = screen.cockpit.store
    for number in (1, 2):
        store.update(number, pinned=True)
    screen.annotations.pin(store.rounds())
    await until(pilot, lambda: not any(round_.pinned for round_ in store.rounds()), "two unpinned rounds")
