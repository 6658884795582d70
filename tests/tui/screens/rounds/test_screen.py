from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.report.export import to_markdown
from engine.spec.round import Prediction, Result, Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from scripts.scenes import lines_of
from tests.support.pilot import AppPilot, OpenApp, cells, on_screen, shown, until
from tests.support.recorded_runs import add_scored
from tests.support.rounds import make_round
from tui.screens.dialogs.help import HelpScreen
from tui.screens.rounds.detail import RoundDetail
from tui.screens.rounds.table import RoundTable
from tui.widgets.key_footer import KeyFooter


async def until_rows(pilot: AppPilot, count: int) -> None:
    await until(pilot, lambda: len(cells(pilot)) == count, f"{count} rows")


@pytest.fixture
def reference(reference_workspace: Workspace) -> Cockpit:
    return Cockpit(reference_workspace, lambda _: None)


async def test_rounds_on_a_slow_disk_are_not_said_to_be_none(
    open_app: OpenApp, reference: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, is_answering = RoundStore.rounds, Event()

    def wait_and_read(store: RoundStore) -> list[Round]:
        assert is_answering.wait(60)
        return read(store)

    monkeypatch.setattr(RoundStore, "rounds", wait_and_read)
    async with open_app(reference) as pilot:
        assert "Reading the rounds" in shown(pilot, "#empty")
        assert "0 rounds" not in shown(pilot, "#title")
        await pilot.press("c")
        await until(
            pilot, lambda: "still being read" in shown(pilot, "#message-line"), "why there is nothing to compare"
        )
        is_answering.set()
        await until_rows(pilot, 5)
        assert "5 rounds" in shown(pilot, "#title")


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_reference_rounds_stand_with_settings_and_results(
    open_app: OpenApp, reference: Cockpit, size: tuple[int, int]
) -> None:
    expected = [
        ("1", "2e-4", "4×8", "3", "100", "7m1s", "1.5667", "4.79", "First round"),
        ("2", "5e-5", "8×4", "4", "100", "8m54s", "★1.1518", "★3.16", "The GPU sat"),
        ("3", "2e-5", "8×4", "5", "300", "11m23s", "1.1614", "3.19", "It converges"),
        ("4", "5e-5", "8×4", "3", "50", "★6m39s", "1.2872", "3.62", "The loss rose"),
        ("5", "3e-5", "8×4", "3", "100", "6m45s", "1.2167", "3.38", "Round 4 came"),
    ]
    async with open_app(reference, size=size) as pilot:
        await until_rows(pilot, 5)
        for row, texts in zip(cells(pilot), expected, strict=True):
            assert {"tinyllama-alpaca", *texts[:-1]} - {texts[4]} <= set(row)  # the warmup gives way to the name
            assert size == (80, 24) or (row[-1].startswith(texts[-1]) and texts[4] in row)


@pytest.mark.parametrize("name", ["short", "a name that is longer than its column", "日本語のとても長い名前です" * 3])
async def test_name_stands_at_80_columns_and_cuts_no_number(
    open_app: OpenApp, idle_cockpit: Cockpit, name: str
) -> None:
    result = Result(perplexity=3.1234, eval_loss=1.1388, train_seconds=45_296.0)
    for _ in range(2):
        idle_cockpit.store.add(partial(make_round, name=name, result=result))
    async with open_app(idle_cockpit, size=(80, 24)) as pilot:
        await until_rows(pilot, 2)
        table = pilot.app.screen.query_one(RoundTable)
        assert table.virtual_size.width <= 80
        line = table.render_line(1).text
        assert all(text in line for text in (name[:5], "finished", "1.1388", "3.12", "12h34m"))


@pytest.mark.parametrize("width", [60, 66, 72, 79])
@pytest.mark.parametrize("name", ["short", "a name that is longer than its column", "日本語のとても長い名前です" * 3])
async def test_numbers_give_way_to_name_status_and_perplexity(
    open_app: OpenApp, idle_cockpit: Cockpit, name: str, width: int
) -> None:
    result = Result(perplexity=3.1234, eval_loss=1.1388, train_seconds=45_296.0)
    for status in (Status.INTERRUPTED, Status.RUNNING):
        idle_cockpit.store.add(partial(make_round, status=status, name=name, result=result))
    async with open_app(idle_cockpit, size=(width, 16)) as pilot:
        await until_rows(pilot, 2)
        table = pilot.app.screen.query_one(RoundTable)
        assert table.virtual_size.width <= width
        for row, status in enumerate((Status.INTERRUPTED, Status.RUNNING), 1):
            line = table.render_line(row).text
            assert all(text in line for text in (f" {row} ", name[:4], status, "3.12"))


@pytest.mark.parametrize("width", [60, 72, 80, 130])
async def test_why_a_filter_is_wrong_is_not_cut_off(open_app: OpenApp, reference: Cockpit, width: int) -> None:
    """The sentence lists more columns than a narrow screen has room for."""
    async with open_app(reference, size=(width, 24)) as pilot:
        await until_rows(pilot, 5)
        await pilot.press("slash", *"nosuch=3")
        await until(pilot, lambda: "there is no column 'nosuch'" in shown(pilot, ".line-hint"), "what is wrong")
        await pilot.pause()
        assert shown(pilot, ".line-hint") in " ".join(" ".join(lines_of(pilot)).split())


async def test_chosen_column_gives_way_to_none(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference, size=(60, 16)) as pilot:
        await until_rows(pilot, 5)
        table = pilot.app.screen.query_one(RoundTable)
        assert "eval_loss" not in table.shown_keys
        table.set_layout(table.column_layout.with_shown("eval_loss", True))
        assert "eval_loss" in table.shown_keys


async def test_column_is_wide_enough_for_words_that_come_later(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference) as pilot:
        await until_rows(pilot, 5)
        assert any("imported  " in line for line in lines_of(pilot))
        pilot.app.screen.query_one(RoundTable).show_progress({2: "62 %"})
        await until(
            pilot, lambda: any("imported 62 %" in line for line in lines_of(pilot)), "the words beside the status"
        )


async def test_detail_is_whole_again_after_it_was_hidden(open_app: OpenApp, reference: Cockpit) -> None:
    """Its scrollbar would narrow the text, which would then need it."""
    async with open_app(reference, size=(79, 22)) as pilot:
        await until_rows(pilot, 5)
        await pilot.press("k")
        detail = pilot.app.screen.query_one(RoundDetail)
        for size, has_detail in (((60, 16), False), ((79, 22), True), ((79, 16), False), ((79, 22), True)):
            await pilot.resize_terminal(*size)
            await until(pilot, partial(is_whole_or_hidden, detail, has_detail), f"the detail at {size}")


def is_whole_or_hidden(detail: RoundDetail, has_room: bool) -> bool:
    return detail.max_scroll_y == 0 if has_room and detail.is_on_screen else detail.is_on_screen is has_room


async def test_detail_tells_note_and_changes_of_the_round_under_the_cursor(
    open_app: OpenApp, reference: Cockpit
) -> None:
    async with open_app(reference) as pilot:
        await until_rows(pilot, 5)
        await pilot.press("k", "k", "k")
        detail = shown(pilot, "#detail")
        assert "Round 2" in detail
        assert "a lower learning rate and one more epoch." in detail
        assert "against round 1: learning_rate 2e-4 → 5e-5, per_device_train_batch_size 4 → 8" in detail


async def test_detail_tells_the_energy_of_a_card(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    result = Result(train_seconds=421.0, energy_kwh=0.125)
    idle_cockpit.store.add(lambda number: make_round(number, result=result))
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: "trained 7m1s · 0.12 kWh" in shown(pilot, "#detail"), "the energy")


async def test_detail_has_what_was_predicted_beside_what_came(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    """3 of 4 GiB are a quarter too little, and 110 s for 100 are a tenth too much."""
    predicted = Prediction(device="Tesla T4", is_gpu=True, peak_memory_bytes=3 * 2**30, seconds=110.0)
    result = Result(peak_memory_bytes=4 * 2**30)
    fields: dict[str, Any] = {
        "device": "cuda",
        "started": 0.0,
        "ended": 100.0,
        "result": result,
        "predicted": predicted,
    }
    idle_cockpit.store.add(lambda number: make_round(number, Status.QUEUED, predicted=predicted))
    idle_cockpit.store.add(lambda number: make_round(number, **fields))
    async with open_app(idle_cockpit) as pilot:
        line = "predicted → actual: peak memory 3.0 GiB → 4.0 GiB (-25.0 %) · time 1m50s → 1m40s (+10.0 %)"
        await until(pilot, lambda: line in shown(pilot, "#detail").splitlines(), line)
        await pilot.press("up")
        waiting = "predicted: peak memory 3.0 GiB · time 1m50s"
        await until(pilot, lambda: waiting in shown(pilot, "#detail").splitlines(), waiting)


async def test_detail_of_a_round_has_them_once_the_cursor_rests_on_it(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    add_scored(idle_cockpit)
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: shown(pilot, "#detail").startswith("Round 3"), "the last round")
        await pilot.press("up")
        line = "on a.jsonl: perplexity 3.40 (95 %: 2.86–3.19, eval loss 1.1000) · base model 5.47 · 1,200 rows"
        await until(pilot, lambda: line in shown(pilot, "#detail").splitlines(), line)
        await pilot.press("down")
        assert "a.jsonl" not in shown(pilot, "#detail")


async def test_cursor_stays_with_its_round_when_others_come_and_go(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    store = idle_cockpit.store
    for _ in range(3):
        store.add(lambda number: make_round(number))
    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 3)
        await pilot.press("k")
        table = pilot.app.screen.query_one(RoundTable)
        assert table.selected_number == 2
        idle_cockpit.remove(1)
        store.add(lambda number: make_round(number))
        await until(pilot, lambda: [row[0] for row in cells(pilot)] == ["2", "3", "4"], "the new rows")
        assert table.selected_number == 2


async def test_empty_table_says_what_to_press(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one("#empty").display, "the empty table's word")
        assert "press n" in shown(pilot, "#empty")


@pytest.mark.parametrize(("key", "created"), [("enter", True), ("y", True), ("n", False), ("q", False)])
async def test_missing_store_is_created_if_the_person_wants_it(
    open_app: OpenApp, empty_directory: Path, key: str, created: bool
) -> None:
    cockpit = Cockpit(Workspace(empty_directory), lambda _: None)
    async with open_app(cockpit) as pilot:
        await until(pilot, lambda: on_screen(pilot, "WelcomeScreen"), "the offer")
        text = shown(pilot, "#welcome-places")
        assert str(empty_directory) in text and "experiments.json" in text and "runs/" in text
        assert "a new round: the preset nano" in shown(pilot, "#welcome-keys")
        await pilot.press(key)
        await pilot.pause()
        assert cockpit.store.exists() is created
        assert pilot.app.is_running is created


async def test_damaged_store_is_reported_and_left_alone(open_app: OpenApp, empty_directory: Path) -> None:
    cockpit = Cockpit(Workspace(empty_directory), lambda _: None)
    cockpit.workspace.store_path.write_bytes(b'{"rounds": {"1": ')
    async with open_app(cockpit) as pilot:
        await until(pilot, lambda: "damaged and was left as it is" in shown(pilot, "#banner"), "the damage")
        assert shown(pilot, "#empty") == "experiments.json is damaged"
        await pilot.press("n", "down", "enter")
        await pilot.pause()
    assert cockpit.workspace.store_path.read_bytes() == b'{"rounds": {"1": '


async def test_export_writes_the_comparison_and_asks_before_it_overwrites(
    open_app: OpenApp, reference: Cockpit
) -> None:
    path = reference.workspace.root / "comparison.md"
    async with open_app(reference) as pilot:
        await until_rows(pilot, 5)
        await pilot.press("e")
        await until(pilot, path.exists, "the export")
        assert path.read_text() == to_markdown(reference.store.rounds())
        path.write_text("mine")
        await pilot.press("e")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("n")
        assert path.read_text() == "mine"
        await pilot.press("e")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("y")
        await until(pilot, lambda: path.read_text() == to_markdown(reference.store.rounds()), "the export")


async def test_export_has_what_is_marked_or_else_what_is_shown(open_app: OpenApp, reference: Cockpit) -> None:
    path = reference.workspace.root / "comparison.md"
    first, second, third, *_ = reference.store.rounds()
    async with open_app(reference) as pilot:
        await until_rows(pilot, 5)
        await pilot.press("slash", *"#<=3", "enter", "e")
        await until(pilot, path.exists, "the export")
        assert path.read_text() == to_markdown([first, second, third])
        path.unlink()
        await pilot.press("g", "space", "e")
        await until(pilot, path.exists, "the export")
        assert path.read_text() == to_markdown([first])


async def test_queued_round_is_held_released_stopped_resumed_and_deleted(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    store = idle_cockpit.store
    number = idle_cockpit.queue(nano_spec).number

    def is_(status: Status) -> bool:
        place = " 1" if status is Status.QUEUED else ""
        return store.get(number).status is status and status + place in cells(pilot)[0]

    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 1)
        await pilot.press("w")
        await until(pilot, lambda: is_(Status.HELD), "held")
        await pilot.press("w")
        await until(pilot, lambda: is_(Status.QUEUED), "queued")
        await pilot.press("x", "y")
        await until(pilot, lambda: is_(Status.STOPPED), "stopped")
        await pilot.press("r")
        await until(pilot, lambda: is_(Status.QUEUED), "queued again")
        await pilot.press("d")
        await until_rows(pilot, 0)
        await pilot.press("z")
        await until_rows(pilot, 1)
        await pilot.press("d")
        await until_rows(pilot, 0)


async def test_round_that_was_deleted_in_an_earlier_session_comes_back(
    open_app: OpenApp, idle_cockpit: Cockpit
) -> None:
    for status in (Status.FINISHED, Status.FAILED, Status.STOPPED):
        idle_cockpit.store.add(partial(make_round, status=status))
    for number in (1, 3):
        idle_cockpit.remove(number)
    async with open_app(Cockpit(idle_cockpit.workspace, lambda _: None)) as pilot:
        await until_rows(pilot, 1)
        await pilot.press("z")
        await until_rows(pilot, 2)
        assert {round_.number for round_ in idle_cockpit.store.rounds()} == {2, 3}
        await pilot.press("z")
        await until_rows(pilot, 3)
        await pilot.press("z")
        await until(pilot, lambda: bool(pilot.app._notifications), "the message that there is no more")
        assert "the trash is empty" in [notice.message for notice in pilot.app._notifications][-1]


async def test_footer_shows_what_can_be_done_to_the_round_under_the_cursor(
    open_app: OpenApp, idle_cockpit: Cockpit
) -> None:
    for status in (Status.QUEUED, Status.FINISHED, Status.FAILED):
        idle_cockpit.store.add(partial(make_round, status=status))
    async with open_app(idle_cockpit, size=(200, 40)) as pilot:

        def allowed() -> set[str]:
            keys = pilot.app.screen.query_one(KeyFooter).fitting(200)
            return {key.word for key in keys if key.enabled} & {"Stop", "Resume", "Hold"}

        await until(pilot, lambda: allowed() == {"Resume"}, "the keys of a failed round")
        await pilot.press("k")
        await until(pilot, lambda: allowed() == set(), "the keys of a finished round")
        await pilot.press("k")
        await until(pilot, lambda: allowed() == {"Stop", "Hold"}, "the keys of a queued round")


async def test_failed_round_says_why_in_its_row(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, Status.FAILED, message="out of rows", note="my note"))
    async with open_app(idle_cockpit) as pilot:
        await until_rows(pilot, 1)
        assert cells(pilot)[0][-1].startswith("out of rows")
        assert "my note" in shown(pilot, "#detail")


async def test_hostile_text_is_shown_letter_by_letter(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    hostile = "[@click=app.quit]press[/] \x1b]52;c;cm0=\x07 \u202egnp"
    idle_cockpit.store.add(lambda number: make_round(number, name=hostile, note=hostile))
    async with open_app(idle_cockpit, size=(160, 48)) as pilot:
        await until_rows(pilot, 1)
        note, detail = cells(pilot)[0][-1], shown(pilot, "#detail")
        for text in (note, detail):
            assert "[@click=app.quit]press[/] ␛]52;c;cm0=␇" in text
            assert not {"\x1b", "\x07", "\u202e"} & set(text)


async def test_help_begins_with_the_keys_of_the_footer(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference) as pilot:
        await until_rows(pilot, 5)
        await until(pilot, lambda: bool(pilot.app.screen.query_one(KeyFooter).all_keys), "the footer")
        footer = [key.key for key in pilot.app.screen.query_one(KeyFooter).all_keys]
        await pilot.press("question_mark")
        await until(pilot, lambda: on_screen(pilot, "HelpScreen"), "the help")
        screen = pilot.app.screen
        assert isinstance(screen, HelpScreen)
        title, rows = screen._groups[0]
        assert title == "Most used" and [keys.split()[0] for keys, _ in rows] == footer
        lines = pilot.app.export_screenshot().replace("&#160;", " ")
        for words in ("Watch the selected round", "Start a new round", "Show only rounds that match"):
            assert words in lines  # without scrolling, at 80x24


async def test_help_lists_every_key_with_what_it_does(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference, size=(100, 120)) as pilot:
        await until_rows(pilot, 5)
        await pilot.pause()  # until detail and footer show the selected round
        svg_before = pilot.app.export_screenshot()
        await pilot.press("question_mark")
        await until(pilot, lambda: on_screen(pilot, "HelpScreen"), "the help")
        screen = pilot.app.export_screenshot().replace("&#160;", " ")
        for words in ("Write the marked rounds, or those shown", "Watch the selected round", "Leave loratui"):
            assert words in screen
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.export_screenshot() == svg_before, "the screen as it was")
