from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from tui.widgets.scroll_text import ScrollText


class Page(App[None]):
    def compose(self) -> ComposeResult:
        with ScrollText(can_focus=True):
            yield Static("line\n" * 200)


@pytest.mark.parametrize(
    ("keys", "rows"),
    [
        (["j"] * 5, 5),
        (["down", "j", "down", "k"], 2),
        (["pagedown"] * 3, 60),
        (["pagedown", "pagedown", "pageup", "j"], 21),
        (["k"], 0),
        (["G", "k", "k"], 179),
    ],
)
async def test_each_key_of_a_burst_scrolls(keys: list[str], rows: int) -> None:
    app = Page()
    async with app.run_test(size=(40, 20)) as pilot:
        app.query_one(ScrollText).focus()
        await pilot.pause()
        for key in keys:
            app.simulate_key(key)
        await pilot.pause()
        assert app.query_one(ScrollText).scroll_y == rows
