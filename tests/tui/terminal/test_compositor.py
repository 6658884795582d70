"""What is painted in parts is what a whole painting shows, and no more is rendered for it than has changed."""

from __future__ import annotations

import pytest
from textual._compositor import ChopsUpdate
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets import Static

from tui.terminal.compositor import ChangesCompositor

pytestmark = pytest.mark.painted
SIZE = (40, 12)


class Lines(Static):
    """A text that notes which of its lines are asked for."""

    def __init__(self, id: str) -> None:
        super().__init__("\n".join(f"{id} {number}" for number in range(20)), id=id)
        self.asked: list[int] = []

    def render_line(self, y: int) -> Strip:
        self.asked.append(y)
        return super().render_line(y)


class Panes(Screen[None]):
    def __init__(self) -> None:
        super().__init__()
        self._compositor = ChangesCompositor()

    def compose(self) -> ComposeResult:
        yield Lines("top")
        with Horizontal():
            with Vertical():
                yield Lines("left")
            yield Lines("right")


class PanesApp(App[None]):
    CSS = """
    #top { height: 2; }
    #left, #right { width: 1fr; height: 20; border: round red; }
    Vertical { overflow-y: auto; }
    """

    def get_default_screen(self) -> Screen[None]:
        return Panes()


def painted(lines: list[str], update: ChopsUpdate) -> list[str]:
    """The lines of the screen after the cells of `update` were written on it."""
    rows = [list(line) for line in lines]
    for y, first, last in update.spans:
        for x, chop in update.chops[y].items():
            for at, character in enumerate(chop.text if chop is not None else "", x):
                if first <= at < last:
                    rows[y][at] = character
    return ["".join(row) for row in rows]


async def test_parts_are_painted_as_the_whole_is_and_nothing_else_is_rendered() -> None:
    async with PanesApp().run_test(size=SIZE) as pilot:
        screen = pilot.app.screen
        compositor = screen._compositor
        for change in ("top", "left", "right"):
            await pilot.pause()
            before = [strip.text for strip in compositor.render_strips()]
            for pane in pilot.app.query(Lines):
                pane.asked.clear()
            with pilot.app.batch_update():
                changed = pilot.app.query_one(f"#{change}", Lines)
                changed.update("\n".join(f"{change} is new {number}" for number in range(20)), layout=False)
                compositor.update_widgets({changed})
                update = compositor.render_update()
                assert isinstance(update, ChopsUpdate)
                assert {pane.id for pane in pilot.app.query(Lines) if pane.asked} == {change}
                assert set(changed.asked) <= set(range(SIZE[1]))
                after = painted(before, update)
                assert after != before
                assert after == [strip.text for strip in compositor.render_strips()]
