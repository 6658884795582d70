"""The keys that change order, filter, groups, columns and marks of the table."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
from textual.events import MouseScrollDown

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.spec.round import Result, Status
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import make_round, make_spec
from tui.screens.rounds.column_layout import layout_path, read_layout
from tui.screens.rounds.columns_dialog import ColumnList
from tui.screens.rounds.table import RoundTable

WIDE = (160, 40)


@pytest.fixture(autouse=True)
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with no columns remembered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def reference(reference_workspace: Workspace) -> Cockpit:
    return Cockpit(reference_workspace, lambda _: None)


@pytest.fixture
def varied(idle_cockpit: Cockpit) -> Cockpit:
    """Four rounds: two ranks, perplexities out of order, one that failed."""
    outcomes = (
        (16, Result(perplexity=3.0, eval_loss=1.1, train_seconds=60.0), Status.FINISHED, "wide oscillation"),
        (8, Result(perplexity=2.0, eval_loss=0.7, train_seconds=90.0), Status.FINISHED, "narrow"),
        (16, Result(perplexity=4.0, eval_loss=1.4, train_seconds=30.0), Status.FINISHED, "wide again"),
        (8, Result(), Status.FAILED, ""),
    )
    for parent, (rank, result, status, note) in enumerate(outcomes):
        spec = make_spec(lora__r=rank)
        add = partial(make_round, status=status, spec=spec, result=result, note=note, parent=parent or None)
        idle_cockpit.store.add(add)
    return idle_cockpit


def table_of(pilot: AppPilot) -> RoundTable:
    return pilot.app.screen.query_one(RoundTable)


def column(pilot: AppPilot, key: str) -> list[str]:
    """Return the texts of a column, without those of headings."""
    table = table_of(pilot)
    place = [column.key for column in table.columns].index(key)
    return [table.texts_at(row)[place] for row, number in enumerate(table.rows) if isinstance(number, int)]


def numbers(pilot: AppPilot) -> list[int]:
    return [number for number in table_of(pilot).rows if isinstance(number, int)]


async def until_numbers(pilot: AppPilot, *expected: int) -> None:
    await until(pilot, lambda: numbers(pilot) == list(expected), f"the rounds {expected}")


async def choose(pilot: AppPilot, key: str) -> None:
    """Put the cursor of the columns on one."""
    table = table_of(pilot)
    place = [column.key for column in table.columns].index(key)
    await pilot.press(*["left"] * len(table.columns), *["right"] * place)
    assert table.column is not None
    assert table.column.key == key


async def test_s_sorts_by_the_chosen_column_and_the_cursor_stays_with_its_round(
    open_app: OpenApp, varied: Cockpit
) -> None:
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.press("g")
        await choose(pilot, "perplexity")
        await pilot.press("s")
        assert numbers(pilot) == [2, 1, 3, 4]
        assert table_of(pilot).selected_number == 1
        assert "by ppl ↑" in shown(pilot, "#title")
        assert "ppl↑" in table_of(pilot).render_line(0).text
        await pilot.press("S")
        assert numbers(pilot) == [3, 1, 2, 4]
        await pilot.press("S")
        assert numbers(pilot) == [1, 2, 3, 4]
        varied.annotate(3, note="changed while sorted")
        await pilot.press("s")
        await until(pilot, lambda: "changed while sorted" in column(pilot, "note"), "the change")
        assert (numbers(pilot), table_of(pilot).selected_number) == ([2, 1, 3, 4], 1)


async def test_filter_follows_what_is_typed_and_a_wrong_one_leaves_the_table(
    open_app: OpenApp, varied: Cockpit
) -> None:
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.press("slash", *"wide")
        assert numbers(pilot) == [1, 3]
        assert "2 shown: wide" in shown(pilot, "#title")
        await pilot.press("space", *"ppl<")
        assert numbers(pilot) == [1, 3]
        assert "'' is not a number" in shown(pilot, ".line-hint")
        await pilot.press("enter")
        assert pilot.app.screen.query("LineEditor")
        await pilot.press("3", ".", "5", "enter")
        await until(pilot, lambda: not pilot.app.screen.query("LineEditor"), "the end of the line")
        assert numbers(pilot) == [1]
        await pilot.press("slash", *" nothing")
        assert numbers(pilot) == []
        assert "No round has nothing: / changes the filter" in table_of(pilot).render_line(2).text
        assert "no round has nothing" in shown(pilot, ".line-hint")
        await pilot.press("escape")
        await until_numbers(pilot, 1)
        await pilot.press("escape")
        await until_numbers(pilot, 1, 2, 3, 4)
        assert pilot.app.focused is table_of(pilot)


async def test_cursor_comes_back_to_its_round_when_the_filter_shows_it_again(
    open_app: OpenApp, varied: Cockpit
) -> None:
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.press("g", "down", "slash", *"wide")
        assert (numbers(pilot), table_of(pilot).selected_number) == ([1, 3], 3)
        await pilot.press("escape")
        assert (numbers(pilot), table_of(pilot).selected_number) == ([1, 2, 3, 4], 2)


async def test_first_round_of_an_empty_table_takes_the_keys(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one("#empty").display, "the empty table's word")
        idle_cockpit.store.add(lambda number: make_round(number))
        await until_numbers(pilot, 1)
        await pilot.press("space")
        assert table_of(pilot).marked == [1]


async def test_wheel_scrolls_and_the_cursor_stays(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    for _ in range(40):
        idle_cockpit.store.add(lambda number: make_round(number))
    async with open_app(idle_cockpit) as pilot:
        await until_numbers(pilot, *range(1, 41))
        table = table_of(pilot)
        await pilot.press("g")
        table.post_message(MouseScrollDown(table, 5, 5, 0, 1, 0, False, False, False))
        await until(pilot, lambda: table.scroll_offset.y > 0, "the scroll")
        assert table.selected_number == 1
        await pilot.press("down")
        assert (table.selected_number, table.scroll_offset.y) == (2, 1)


async def test_status_and_results_are_filtered_as_they_change(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.press("slash", *"status:failed", "enter")
        await until_numbers(pilot, 4)
        varied.store.update(3, status=Status.FAILED)
        await until_numbers(pilot, 3, 4)
        assert table_of(pilot).selected_number == 4


async def test_o_groups_with_count_and_best_and_passes_over_the_headings(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await choose(pilot, "lora.r")
        await pilot.press("o")
        table = table_of(pilot)
        headings = [table.heading_of(row) for row, key in enumerate(table.rows) if isinstance(key, str)]
        assert headings == [
            "r/alpha 8 · 2 rounds · best perplexity 2.00 (round 2)",
            "r/alpha 16 · 2 rounds · best perplexity 3.00 (round 1)",
        ]
        assert numbers(pilot) == [2, 4, 1, 3]
        assert "grouped by r/alpha" in shown(pilot, "#title")
        visited = []
        await pilot.press("g")
        for _ in range(4):
            visited.append(table.selected_number)
            await pilot.press("down")
        assert visited == [2, 4, 1, 3]
        await pilot.press("up", "up")
        assert table.selected_number == 4
        await pilot.press("o")
        assert numbers(pilot) == [1, 2, 3, 4]


async def test_grouping_by_what_each_round_has_of_its_own_is_refused(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await choose(pilot, "number")
        await pilot.press("o")
        assert table_of(pilot).view.group == ""


async def test_space_marks_and_marks_stay_with_their_rounds(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.press("g", "space", "down", "space")
        table = table_of(pilot)
        assert table.marked == [1, 3]
        assert [table.gutter_of(row)[0] for row in range(4)] == ["●", " ", "●", " "]
        assert "2 marked" in shown(pilot, "#title")
        await choose(pilot, "number")
        await pilot.press("S")
        assert [table.gutter_of(row)[0] for row in range(4)] == [" ", "●", " ", "●"]
        varied.remove(3)
        await until(pilot, lambda: table.marked == [1], "one mark")
        await pilot.press("s", "escape")
        assert table.marked == []


async def test_p_keeps_marked_rounds_on_top_in_any_order_and_z_takes_it_back(
    open_app: OpenApp, varied: Cockpit
) -> None:
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.press("G", "p")
        await until_numbers(pilot, 4, 1, 2, 3)
        assert table_of(pilot).gutter_of(0)[1] == "▲"
        await choose(pilot, "perplexity")
        await pilot.press("s")
        assert numbers(pilot) == [4, 2, 1, 3]
        await pilot.press("o")
        assert table_of(pilot).heading_of(0) is None  # each perplexity is there once: no groups
        await choose(pilot, "lora.r")
        await pilot.press("o")
        assert table_of(pilot).heading_of(0) == "▲ pinned · 1 round"
        await pilot.press("z")
        await until(pilot, lambda: not varied.store.get(4).pinned, "no pin")


async def test_minus_hides_and_the_columns_are_remembered(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await choose(pilot, "train_seconds")
        await pilot.press("minus")
        assert "train_seconds" not in [column.key for column in table_of(pilot).columns]
        await choose(pilot, "perplexity")
        await pilot.press("less_than_sign", "less_than_sign")
        keys = [column.key for column in table_of(pilot).columns]
        assert keys.index("perplexity") == keys.index("eval_loss") - 2
        await until(pilot, lambda: read_layout() == table_of(pilot).column_layout, "the file")
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        assert [column.key for column in table_of(pilot).columns] == keys


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"order": 3}', b"\xff\x00", b'{"order": ["x", "note"], "chosen": {}}']
)
async def test_foreign_state_file_harms_nothing(open_app: OpenApp, varied: Cockpit, content: bytes) -> None:
    layout_path().parent.mkdir(parents=True)
    layout_path().write_bytes(content)
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        assert {"number", "name", "status", "note", "perplexity"} <= {column.key for column in table_of(pilot).columns}


async def test_state_file_that_is_a_directory_is_reported_and_harms_nothing(open_app: OpenApp, varied: Cockpit) -> None:
    layout_path().mkdir(parents=True)
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await choose(pilot, "note")
        await pilot.press("minus")
        await until(
            pilot,
            lambda: any("columns could not be saved" in notice.message for notice in pilot.app._notifications),
            "the notice",
        )


async def test_v_shows_hides_and_moves_columns_at_once(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        rounds_table = table_of(pilot)
        await pilot.press("v")
        await until(pilot, lambda: on_screen(pilot, "ColumnsScreen"), "the columns")
        chooser = pilot.app.screen.query_one(ColumnList)
        row = list(chooser.rows).index("lora.lora_dropout")
        await pilot.press(*["down"] * row, "space")
        assert "lora.lora_dropout" in [column.key for column in rounds_table.columns]
        await pilot.press("K")
        assert chooser.cursor_key == "lora.lora_dropout"
        assert list(chooser.rows).index("lora.lora_dropout") == row - 1
        await pilot.press("g", "space")
        assert "number" in [column.key for column in rounds_table.columns]
        await pilot.press("escape")
        assert on_screen(pilot, "RoundsScreen")


async def test_equals_shows_only_columns_that_differ_among_the_rounds_shown(
    open_app: OpenApp, idle_cockpit: Cockpit
) -> None:
    for dropout, seed in ((0.0, 1), (0.1, 1), (0.1, 2)):
        spec = make_spec(lora__lora_dropout=dropout, train__seed=seed)
        idle_cockpit.store.add(partial(make_round, spec=spec))
    async with open_app(idle_cockpit) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        await pilot.press("equals_sign")

        def keys() -> set[str]:
            return {column.key for column in table_of(pilot).columns}

        assert keys() == {"number", "name", "status", "note", "lora.lora_dropout", "train.seed"}
        assert "columns that differ" in shown(pilot, "#title")
        await pilot.press("slash", *"dropout>0", "enter")
        await until_numbers(pilot, 2, 3)
        assert keys() == {"number", "name", "status", "note", "train.seed"}
        await pilot.press("equals_sign")
        assert "perplexity" in keys()


async def test_best_of_each_result_is_marked_with_a_sign(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        assert column(pilot, "perplexity") == ["3.00", "★2.00", "4.00", ""]
        assert column(pilot, "eval_loss") == ["1.1000", "★0.7000", "1.4000", ""]
        assert column(pilot, "train_seconds") == ["1m0s", "1m30s", "★30s", ""]


@pytest.mark.parametrize("size", [(80, 24), WIDE])
async def test_result_that_does_not_compare_is_marked_and_the_detail_says_why(
    open_app: OpenApp, varied: Cockpit, size: tuple[int, int]
) -> None:
    other = make_spec(data__prompt_template="{prompt}")
    varied.store.add(partial(make_round, spec=other, result=Result(perplexity=1.5, eval_loss=0.4), parent=2))
    async with open_app(varied, size=size) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4, 5)
        assert column(pilot, "perplexity") == ["3.00", "★2.00", "4.00", "", "≁1.50"]
        assert column(pilot, "eval_loss") == ["1.1000", "★0.7000", "1.4000", "", "≁0.4000"]
        reason = (
            "≁ measured on other held-out tokens than rounds 1 and 2: another prompt template (data.prompt_template)"
        )
        assert reason in shown(pilot, "#detail").splitlines()
        await pilot.press("home")
        assert "≁" not in shown(pilot, "#detail")


async def test_interval_has_a_column_where_there_is_room(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    """exp(1.1) is 3.004, exp(1.05) 2.858, exp(1.16) 3.190."""
    result = Result(eval_loss=1.1, perplexity=3.004, eval_loss_interval=(1.05, 1.16))
    idle_cockpit.store.add(partial(make_round, result=result, note="why"))
    for width, there in ((80, False), (150, True)):
        async with open_app(idle_cockpit, size=(width, 30)) as pilot:
            await until_numbers(pilot, 1)
            assert ("perplexity_interval" in [column.key for column in table_of(pilot).columns]) is there
            assert "perplexity 3.00 (95 %: 2.86–3.19, eval loss 1.1000)" in shown(pilot, "#detail")
            if there:
                assert column(pilot, "perplexity_interval") == ["2.86–3.19"]


async def test_change_against_the_parent_is_a_column(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        assert column(pilot, "against_parent") == ["", "-33.3 %", "+100.0 %", ""]
        await pilot.press("slash", *"vs_parent<0", "enter")
        await until_numbers(pilot, 2)
        assert column(pilot, "against_parent") == ["-33.3 %"]  # the parent counts though it is hidden


async def test_click_on_a_header_sorts_and_a_second_click_on_a_row_opens(open_app: OpenApp, varied: Cockpit) -> None:
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        table = table_of(pilot)
        at = table.render_line(0).text.index("ppl")
        await pilot.click(RoundTable, offset=(at, 0))
        assert numbers(pilot) == [2, 1, 3, 4]
        await pilot.click(RoundTable, offset=(at, 0))
        assert numbers(pilot) == [3, 1, 2, 4]
        await pilot.click(RoundTable, offset=(5, 2))
        assert table.selected_number == 1
        assert on_screen(pilot, "RoundsScreen")
        await pilot.click(RoundTable, offset=(5, 2))
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")


async def test_columns_that_do_not_fit_are_scrolled_to(open_app: OpenApp, reference: Cockpit) -> None:
    async with open_app(reference) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4, 5)
        table = table_of(pilot)
        layout = table.column_layout
        for key in ("name", "model.path", "data.path", "lora.target_modules", "peak_memory_bytes"):
            layout = layout.with_shown(key, True)
        table.set_layout(layout)
        await pilot.pause()
        assert table.render_line(0).text.endswith("›")
        await choose(pilot, "lora.target_modules")
        await pilot.pause()
        header, first = table.render_line(0).text, table.render_line(1).text
        assert "target_modules" in header
        assert "q_proj, v_proj" in first
        assert first.split()[0] == "1"  # the number stays
        assert "‹" in header


async def test_wide_characters_keep_the_columns_aligned(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    for name in ("plain", "学習率を下げる", "naïve🙂"):
        idle_cockpit.store.add(partial(make_round, name=name, note="END"))
    async with open_app(idle_cockpit, size=WIDE) as pilot:
        await until_numbers(pilot, 1, 2, 3)
        table = table_of(pilot)
        lines = [table.render_line(y) for y in range(1, 4)]
        assert {line.cell_length for line in lines} == {table.size.width}
        from rich.cells import cell_len

        assert len({cell_len(line.text.partition("END")[0]) for line in lines}) == 1


@pytest.mark.painted
async def test_only_rows_that_changed_are_painted_again(
    open_app: OpenApp, varied: Cockpit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(varied) as pilot:
        await until_numbers(pilot, 1, 2, 3, 4)
        await pilot.pause()
        table = table_of(pilot)
        painted: list[int] = []
        render_line = table.render_line

        def counted(y: int) -> object:
            painted.append(y)
            return render_line(y)

        monkeypatch.setattr(table, "render_line", counted)
        varied.annotate(2, note="other words")
        await until(pilot, lambda: "other words" in column(pilot, "note"), "the note")
        await pilot.pause()
        assert set(painted) == {2}


def test_layout_file_is_what_a_person_can_read(tmp_path: Path) -> None:
    from tui.screens.rounds.column_layout import ColumnLayout, write_layout

    layout = ColumnLayout(("note", "number"), {"note": False})
    write_layout(layout)
    assert read_layout() == layout
    assert msgspec.json.decode(layout_path().read_bytes()) == {"order": ["note", "number"], "chosen": {"note": False}}
