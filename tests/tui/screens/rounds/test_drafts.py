"""What is typed into the line of the table outlives Esc and the app, and is never applied by itself."""

from __future__ import annotations

import pytest
from textual.app import ComposeResult
from textual.events import Paste

from engine.api import Cockpit
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round
from tui.screens.rounds.screen import RoundsScreen
from tui.screens.rounds.table import RoundTable
from tui.widgets.line_editor import LineEditor

FIELDS = pytest.mark.parametrize(("key", "field"), [("i", "note"), ("R", "name"), ("number_sign", "tags")])


@pytest.fixture
def two(idle_cockpit: Cockpit) -> Cockpit:
    """Rounds 1 and 2, of which the last is under the cursor."""
    for _ in range(2):
        idle_cockpit.store.add(lambda number: make_round(number, name="old", note="first\nsecond", tags=("base",)))
    return idle_cockpit


def editor(pilot: AppPilot) -> LineEditor | None:
    screen = pilot.app.screen
    assert isinstance(screen, RoundsScreen)
    return screen.line.current


def text(pilot: AppPilot) -> str:
    line = editor(pilot)
    assert line is not None
    return line.text


def numbers(pilot: AppPilot) -> list[object]:
    return list(pilot.app.screen.query_one(RoundTable).rows)


async def until_rounds(pilot: AppPilot) -> None:
    await until(pilot, lambda: numbers(pilot) == [1, 2], "the rounds")


async def until_closed(pilot: AppPilot) -> None:
    await until(pilot, lambda: editor(pilot) is None, "the line's end")


async def until_open(pilot: AppPilot) -> None:
    await until(pilot, lambda: editor(pilot) is not None, "the line")


async def paste(pilot: AppPilot, pasted: str) -> None:
    pilot.app.post_message(Paste(pasted))
    await pilot.pause()


@FIELDS
async def test_text_left_with_escape_is_offered_for_the_same_field_of_the_same_round(
    open_app: OpenApp, two: Cockpit, key: str, field: str
) -> None:
    stored = getattr(two.store.get(2), field)
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press(key, *" more", "escape")
        await until_closed(pilot)
        await pilot.press("k", key)
        await until_open(pilot)
        assert not text(pilot).endswith("more")
        await pilot.press("escape", "j", key)
        await until(pilot, lambda: editor(pilot) is not None and text(pilot).endswith(" more"), "the draft")
        assert "your draft of" in shown(pilot, ".line-hint")
    assert getattr(two.store.get(2), field) == stored


async def test_draft_is_offered_by_the_next_app_and_gone_once_it_is_saved(open_app: OpenApp, two: Cockpit) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press("i")
        await paste(pilot, " שלום 👩‍🚀")
        two.drafts.flush()
    for ending in ("escape", "enter"):
        later = Cockpit(two.workspace, lambda _: None)
        async with open_app(later) as pilot:
            await until_rounds(pilot)
            await pilot.press("i")
            await until_open(pilot)
            assert text(pilot) == "first\nsecond שלום 👩‍🚀"
            await pilot.press(ending)
            await until_closed(pilot)
            later.drafts.flush()
    assert two.store.get(2).note == "first\nsecond שלום 👩‍🚀"
    assert two.drafts.offered(f"note of {two.store.get(2).id}") == []


async def test_a_key_shows_the_stored_text_and_the_draft_in_turn(open_app: OpenApp, two: Cockpit) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press("i", *" more", "escape")
        await until_closed(pilot)
        await pilot.press("i", "ctrl+r")
        assert text(pilot) == "first\nsecond"
        assert "ctrl+r your draft" in shown(pilot, ".line-hint")
        await pilot.press("ctrl+r")
        assert text(pilot) == "first\nsecond more"
        await pilot.press("ctrl+r", *"!", "escape")  # another text: the draft is not lost for it
        await until_closed(pilot)
        await pilot.press("i")
        assert text(pilot) == "first\nsecond!"
        await pilot.press("ctrl+r")
        assert text(pilot) == "first\nsecond more"
        await pilot.press("ctrl+r")
        assert text(pilot) == "first\nsecond"
        await pilot.press("enter")  # the stored text is wanted
        await until_closed(pilot)
        await pilot.press("i")
        assert text(pilot) == "first\nsecond"
        assert "draft of" not in shown(pilot, ".line-hint")


async def test_filter_left_with_escape_filters_nothing_until_it_is_wanted(open_app: OpenApp, two: Cockpit) -> None:
    two.annotate(1, note="other")
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press("slash", *"other")
        assert numbers(pilot) == [1]
        await pilot.press("escape")
        await until_closed(pilot)
        await pilot.press("slash")
        assert (text(pilot), numbers(pilot)) == ("", [1, 2])
        await pilot.press("ctrl+r")
        await until(pilot, lambda: numbers(pilot) == [1], "the filter")


async def test_leaving_asks_nothing_where_the_draft_is_kept(open_app: OpenApp, two: Cockpit) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press("i", "x", "tab", "q")
        await until(pilot, lambda: not pilot.app.is_running, "the end")
    assert [draft.texts for draft in two.drafts.offered(f"note of {two.store.get(2).id}")] == [{"0": "first\nsecondx"}]


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [("i", "note", "first\nsecond one\n\ttwo\nthree"), ("R", "name", "old one two three")],
)
async def test_pasted_lines_arrive_whole(open_app: OpenApp, two: Cockpit, key: str, field: str, value: str) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press(key)
        await paste(pilot, " one\r\n\ttwo\rthree\n")
        joined = [notice.message for notice in pilot.app._notifications if "3 pasted lines" in notice.message]
        assert len(joined) == (field == "name")
        await pilot.press("enter")
        await until_closed(pilot)
        assert getattr(two.store.get(2), field) == value


@pytest.mark.parametrize(("pasted", "word"), [("a\x1b[31mb", "U+001B"), ("x" * 1_000_000, "1,000,000 characters")])
async def test_paste_that_cannot_be_used_is_refused_in_a_sentence(
    open_app: OpenApp, two: Cockpit, pasted: str, word: str
) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press("R")
        await paste(pilot, pasted)
        assert text(pilot) == "old"
        assert any(word in notice.message for notice in pilot.app._notifications)


async def test_command_is_pasted_as_text_into_a_note(open_app: OpenApp, two: Cockpit) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await pilot.press("R", "ctrl+u")
        await paste(pilot, "loratui new --set lora.r=16")
        assert text(pilot) == "loratui new --set lora.r=16"


async def test_paste_without_a_field_says_so(open_app: OpenApp, two: Cockpit) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        await paste(pilot, "one two")
        assert any("no field" in notice.message for notice in pilot.app._notifications)
        assert on_screen(pilot, "RoundsScreen")


async def test_text_copied_in_the_app_is_pasted_whole_too(open_app: OpenApp, two: Cockpit) -> None:
    async with open_app(two) as pilot:
        await until_rounds(pilot)
        pilot.app.copy_to_clipboard(" a\nb")
        await pilot.press("R", "ctrl+v")
        assert text(pilot) == "old a b"


async def test_line_without_its_field_yet_is_no_trouble(open_app: OpenApp, two: Cockpit) -> None:
    """The footer may ask which keys apply between the two."""

    class WithoutField(LineEditor):
        def compose(self) -> ComposeResult:
            return iter(())

    async with open_app(two) as pilot:
        await until_rounds(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, RoundsScreen)
        await screen.mount(WithoutField("note", "", hint="", purpose="note", number=1))
        assert not screen.line.has_focus and not screen.line.unsaved
        screen.refresh_bindings()
        await pilot.pause()
