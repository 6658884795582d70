"""The compare screen: what stands side by side, which curves are drawn, and what each key does there."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from engine.api import Cockpit
from engine.compare.significance import verdict, verdicts
from engine.files.paths import Workspace
from engine.spec.round import Result, Status
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.recorded_runs import trained, write_run
from tests.support.rounds import make_round, make_spec
from tui.screens.compare.screen import CompareScreen
from tui.screens.compare.table import CompareTable, cut_start
from tui.screens.rounds.table import RoundTable
from tui.widgets.chart.chart import CurveChart, Metric
from tui.widgets.chart.plot import CurvePlot


@pytest.fixture
def three(idle_cockpit: Cockpit) -> Cockpit:
    """Rounds 1 and 2 with runs, 3 imported without; 2 came from 1, 3 from 2."""
    results = [Result(eval_loss=1.5, perplexity=4.48, base_perplexity=8.96), Result(eval_loss=1.2, perplexity=3.32)]
    for result, rank in zip(results, (8, 16), strict=True):
        spec = make_spec(lora__r=rank)
        idle_cockpit.store.add(
            partial(make_round, spec=spec, result=result, parent=rank // 16 or None, note=f"r {rank}")
        )
    spec = make_spec(lora__r=16, data__samples=50)
    idle_cockpit.store.add(partial(make_round, status=Status.IMPORTED, spec=spec, parent=2, result=results[0]))
    for round_ in idle_cockpit.store.rounds()[:2]:
        write_run(idle_cockpit.workspace, round_, 1, 20)
    return idle_cockpit


def table(pilot: AppPilot) -> CompareTable:
    return pilot.app.screen.query_one(CompareTable)


def rows(pilot: AppPilot) -> dict[str, list[str]]:
    """The values of each field shown, by its name."""
    texts = [table(pilot).texts_at(row) for row in range(table(pilot).row_count)]
    return {text[0]: text[1:] for text in texts}


def chart(pilot: AppPilot) -> CurveChart:
    return pilot.app.screen.query_one(CurveChart)


def labels(pilot: AppPilot) -> list[str]:
    return [item.label for item in chart(pilot)._series]


async def open_compare(pilot: AppPilot, cockpit: Cockpit, *numbers: int) -> None:
    rounds = [cockpit.store.get(number) for number in numbers]
    await pilot.app.push_screen(CompareScreen(cockpit, rounds))
    await until(pilot, lambda: on_screen(pilot, "CompareScreen") and table(pilot).row_count > 0, "the table")


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_only_what_differs_stands_side_by_side(open_app: OpenApp, three: Cockpit, size: tuple[int, int]) -> None:
    async with open_app(three, size=size) as pilot:
        await open_compare(pilot, three, 1, 2)
        assert [column.title.split()[-1] for column in table(pilot).columns] == ["field", "1", "2"]
        assert rows(pilot) == {
            "r": ["8", "16"],
            "eval loss": ["1.5000", "★1.2000"],
            "perplexity": ["4.48", "★3.32"],
            "base perplexity": ["8.96", "–"],
            "against base": ["-50.0 %", "–"],
            "against round 1": ["–", "-25.9 %"],
            "from": ["–", "1"],
        }
        assert shown(pilot, "#title").startswith("Compare   2 rounds   7 fields differ, ")
        assert shown(pilot, "#title").endswith(" are the same: = shows them")


async def test_equals_sign_shows_what_is_the_same_too_and_marks_the_rest(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        differing = table(pilot).row_count
        await pilot.press("equals_sign")
        assert rows(pilot)["learning_rate"] == ["2e-4", "2e-4"]
        marked = [row for row in range(table(pilot).row_count) if table(pilot).gutter_of(row) == "≠"]
        assert len(marked) == differing
        assert int(shown(pilot, "#title").split("differ, ")[1].split()[0]) == table(pilot).row_count - differing
        await pilot.press("equals_sign")
        assert table(pilot).row_count == differing


async def test_curves_lie_over_each_other_and_rounds_without_one_are_named(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2, 3)
        await until(pilot, lambda: labels(pilot) == ["round 1", "round 2"], "both curves")
        await until(pilot, lambda: len(chart(pilot)._series[1].curve) == 20, "all steps")
        await until(pilot, lambda: "not known" in shown(pilot, "#remarks"), "the verdicts")
        assert [column.title for column in table(pilot).columns] == ["field", "● 1", "▲ 2", "3"]
        assert shown(pilot, "#remarks").splitlines() == [
            "it is not known whether round 2 really differs: there are no held-out scores to compare",
            "round 3 was measured on other held-out tokens than round 1: other examples (data.samples)",
            "imported without a run, so without a curve: round 3",
        ]
        assert rows(pilot)["against round 1"] == ["–", "-25.9 %", "–"]
        assert rows(pilot)["perplexity"] == ["4.48", "★3.32", "≁4.48"]


async def test_rounds_without_any_run_are_a_table_alone(open_app: OpenApp, reference_workspace: Workspace) -> None:
    cockpit = Cockpit(reference_workspace, lambda _: None)
    async with open_app(cockpit) as pilot:
        await open_compare(pilot, cockpit, 1, 2, 3, 4, 5)
        await until(pilot, lambda: "not known" in shown(pilot, "#remarks"), "the verdicts")
        assert not chart(pilot).display
        assert shown(pilot, "#remarks").splitlines() == [
            "it is not known whether rounds 2, 3, 4 and 5 really differ: there are no held-out scores to compare",
            "imported without a run, so without a curve: rounds 1, 2, 3, 4 and 5",
        ]
        assert rows(pilot)["learning_rate"] == ["2e-4", "5e-5", "2e-5", "5e-5", "3e-5"]
        assert rows(pilot)["perplexity"] == ["4.79", "★3.16", "3.19", "3.62", "3.38"]
        assert table(pilot).max_scroll_y == 0
        assert pilot.app.screen.check_action("metric", (1,)) is None


def whole(pilot: AppPilot) -> str:
    """The remarks as they are to be read on the screen, their lines joined."""
    region = pilot.app.screen.query_one("#remarks").region
    strips = pilot.app.screen._compositor.render_strips()[region.y : region.bottom]
    return " ".join(" ".join(strip.text for strip in strips).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_whether_the_difference_is_real_is_told_whole_beside_the_table(
    open_app: OpenApp, idle_cockpit: Cockpit, size: tuple[int, int]
) -> None:
    trained(idle_cockpit, [1.0], best=1), trained(idle_cockpit, [1.001], best=1)
    told = verdict(idle_cockpit.workspace, *idle_cockpit.store.rounds()).sentence
    async with open_app(idle_cockpit, size=size) as pilot:
        await open_compare(pilot, idle_cockpit, 1, 2)
        await until(pilot, lambda: "is it real?" in rows(pilot), "the verdict")
        await until(pilot, lambda: told in whole(pilot), f"{told} in {whole(pilot)}")
        assert table(pilot).max_scroll_y == 0 and rows(pilot)["is it real?"] == ["–", "no difference"]


@pytest.mark.parametrize(("size", "lines"), [((80, 24), 4), ((120, 36), 6), ((80, 22), 1)])
async def test_verdicts_on_several_rounds_fit_and_each_is_told_whole_at_its_row(
    open_app: OpenApp, idle_cockpit: Cockpit, size: tuple[int, int], lines: int
) -> None:
    for loss in (1.0, 1.5, 1.001, 0.9, 1.1):
        trained(idle_cockpit, [loss], best=1)
    async with open_app(idle_cockpit, size=size) as pilot:
        await open_compare(pilot, idle_cockpit, 1, 2, 3, 4, 5)
        await until(pilot, lambda: "is it real?" in rows(pilot), "the verdicts")
        assert rows(pilot)["is it real?"] == ["–", "worse", "no difference", "better", "worse"]
        remarks = shown(pilot, "#remarks").splitlines()[:lines]
        await until(pilot, lambda: whole(pilot).startswith(" ".join(remarks)), "the remarks, as far as there is room")
        assert len(remarks) == min(lines, 4) and "worse" in remarks[0]
        table(pilot).focus()
        await pilot.press("end")
        while table(pilot).texts_at(table(pilot).cursor_row)[0] != "is it real?":
            await pilot.press("up")
        sentences = [item.sentence for item in verdicts(idle_cockpit.workspace, idle_cockpit.store.rounds())[1:]]
        await until(pilot, lambda: shown(pilot, "#compare-values").splitlines() == sentences, "the sentences")


async def test_runs_are_followed_while_they_go_on(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    for _ in range(2):
        idle_cockpit.store.add(partial(make_round, status=Status.RUNNING))
    first, second = idle_cockpit.store.rounds()
    write_run(idle_cockpit.workspace, first, 1, 5)
    async with open_app(idle_cockpit) as pilot:
        await pilot.app.push_screen(CompareScreen(idle_cockpit, [first, second]))
        await until(pilot, lambda: on_screen(pilot, "CompareScreen") and labels(pilot) == ["round 1"], "the first")
        write_run(idle_cockpit.workspace, second, 1, 3)
        write_run(idle_cockpit.workspace, first, 6, 9)
        await until(pilot, lambda: [len(item.curve) for item in chart(pilot)._series] == [9, 3], "the news")
        idle_cockpit.store.update(1, status=Status.FINISHED, result=Result(perplexity=2.5))
        await until(pilot, lambda: rows(pilot).get("perplexity") == ["2.50", "–"], "the result")


async def test_keys_draw_the_next_metric_and_fill_the_screen(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        await until(pilot, lambda: len(labels(pilot)) == 2, "the curves")
        seen = [chart(pilot).view.metric]
        for _ in range(5):
            await pilot.press("m")
            seen.append(chart(pilot).view.metric)
        assert set(seen) == set(Metric)
        await pilot.press("M")
        assert chart(pilot).view.metric is seen[4]
        await pilot.press("f")
        assert pilot.app.screen.maximized is chart(pilot)
        await pilot.press("escape")
        assert pilot.app.screen.maximized is None and on_screen(pilot, "CompareScreen")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table of rounds")


async def test_tab_goes_between_table_and_curves(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        await until(pilot, lambda: len(labels(pilot)) == 2, "the curves")
        assert table(pilot).has_focus
        await pilot.press("tab")
        assert chart(pilot).has_focus
        await pilot.press("left")
        assert chart(pilot).view.cursor == 20.0
        await pilot.press("shift+tab")
        assert table(pilot).has_focus


async def test_many_rounds_scroll_sideways_beside_the_names_of_the_fields(
    open_app: OpenApp, idle_cockpit: Cockpit
) -> None:
    for rank in range(1, 11):
        spec = make_spec(lora__r=rank, data__path=f"/data/a/long/way/down/part-{rank}.json")
        idle_cockpit.store.add(partial(make_round, spec=spec, name=f"a rather long name {rank}"))
    async with open_app(idle_cockpit) as pilot:
        await open_compare(pilot, idle_cockpit, *range(1, 11))
        before = [table(pilot).render_line(y).text for y in range(1, 4)]
        assert table(pilot).max_scroll_x > 0
        await pilot.press("right", "l")
        await pilot.pause()
        after = [table(pilot).render_line(y).text for y in range(1, 4)]
        assert after != before
        assert [line[:10] for line in after] == [line[:10] for line in before]
        assert rows(pilot)["data.path"][9].endswith("10.json")
        await pilot.press("h", "left")
        assert [table(pilot).render_line(y).text for y in range(1, 4)] == before


async def test_values_that_had_to_be_cut_are_told_whole(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    names = ["short", "a name that is much longer than any column may ever be"]
    for name in names:
        idle_cockpit.store.add(partial(make_round, name=name, spec=make_spec(lora__r=len(name))))
    async with open_app(idle_cockpit) as pilot:
        await open_compare(pilot, idle_cockpit, 1, 2)
        await pilot.press("g")
        await until(pilot, lambda: shown(pilot, "#compare-values") == f"1  {names[0]}\n2  {names[1]}", "both names")
        await pilot.press("j")
        await until(pilot, lambda: not pilot.app.screen.query_one("#compare-values").display, "nothing more")


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [("/data/rows.json", 10, "…rows.json"), ("/データ/行.json", 8, "…行.json"), ("abc", 2, "…c")],
)
def test_path_is_cut_at_its_start(text: str, width: int, cut: str) -> None:
    assert cut_start(text, width) == cut


async def test_c_compares_the_selected_round_with_the_one_it_came_from(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one(RoundTable).row_count == 3, "the table")
        await pilot.press("g", "j", "c")
        await until(pilot, lambda: on_screen(pilot, "CompareScreen"), "the comparison")
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen) and [item.number for item in screen.rounds] == [1, 2]
        await pilot.press("c")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table again")


async def test_c_compares_the_marked_rounds(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one(RoundTable).row_count == 3, "the table")
        await pilot.press("G", "space", "g", "space", "c")
        await until(pilot, lambda: on_screen(pilot, "CompareScreen"), "the comparison")
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen) and [item.number for item in screen.rounds] == [1, 3]


def messages(pilot: AppPilot) -> list[str]:
    return [notice.message for notice in pilot.app._notifications]


async def test_c_refuses_more_rounds_than_can_be_read_side_by_side(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    for _ in range(11):
        idle_cockpit.store.add(lambda number: make_round(number))
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one(RoundTable).row_count == 11, "the table")
        await pilot.press("g", "space", "c")
        await until(pilot, lambda: messages(pilot) == ["one round is too few to compare: choose 2 to 10"], "it")
        await pilot.press(*["space"] * 10, "c")
        await until(
            pilot, lambda: messages(pilot) == ["11 rounds are too many to compare: choose 2 to 10"], "the other"
        )
        assert on_screen(pilot, "RoundsScreen")


async def test_c_without_a_parent_or_marks_says_what_to_do(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one(RoundTable).row_count == 3, "the table")
        await pilot.press("g", "c")
        await until(pilot, lambda: len(pilot.app._notifications) == 1, "the word")
        (told,) = pilot.app._notifications
        assert told.message == "press space to mark the rounds that you want to compare"
        assert on_screen(pilot, "RoundsScreen")


async def test_run_that_cannot_be_read_is_told(open_app: OpenApp, three: Cockpit, tmp_path: Path) -> None:
    run = three.workspace.run_dir(three.store.get(2).id)
    run.events.unlink()
    run.events.mkdir()
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        await until(pilot, lambda: "cannot be read" in shown(pilot, "#banner"), "the banner")
        await until(pilot, lambda: labels(pilot) == ["round 1"], "the other curve")


def exported(three: Cockpit, suffix: str) -> Path:
    return three.workspace.root / f"comparison-1-2.{suffix}"


@pytest.mark.parametrize(("key", "suffix", "signature"), [("e", "svg", b"<?xml"), ("E", "png", b"\x89PNG")])
async def test_e_writes_the_comparison_with_its_curves_beside_it(
    open_app: OpenApp, three: Cockpit, key: str, suffix: str, signature: bytes
) -> None:
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        await pilot.press(key)
        await until(pilot, lambda: exported(three, "md").exists(), "the document")
        assert f"](comparison-1-2.{suffix})" in exported(three, "md").read_text()
        assert exported(three, suffix).read_bytes().startswith(signature)
        await until(pilot, lambda: len(pilot.app._notifications) == 1, "the word")


async def test_export_asks_before_it_replaces_a_file(open_app: OpenApp, three: Cockpit) -> None:
    exported(three, "svg").write_text("somebody's own")
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        await pilot.press("e")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "CompareScreen"), "the comparison")
        assert exported(three, "svg").read_text() == "somebody's own" and not exported(three, "md").exists()
        await pilot.press("e")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("y")
        await until(pilot, lambda: exported(three, "md").exists(), "the document")
        assert exported(three, "svg").read_bytes().startswith(b"<?xml")


async def test_export_that_the_disk_refuses_is_told(open_app: OpenApp, three: Cockpit) -> None:
    exported(three, "svg").mkdir()
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        await pilot.press("e")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("y")
        await until(pilot, lambda: len(pilot.app._notifications) == 1, "the word")
        (told,) = pilot.app._notifications
        assert "comparison-1-2.svg could not be written" in told.message


async def test_legend_has_room_for_a_run_that_comes_between_two_layouts(open_app: OpenApp, three: Cockpit) -> None:
    async with open_app(three) as pilot:
        await open_compare(pilot, three, 1, 2)
        await until(pilot, lambda: len(labels(pilot)) == 2, "both curves")
        both = chart(pilot)._series
        chart(pilot).show(both[:1], 20)
        chart(pilot)._clear_arrangement_cache()
        pilot.app.screen._refresh_layout()
        chart(pilot).show(both, 20)
        await pilot.pause()
        assert "round 2" in chart(pilot).query_one(CurvePlot).render_line(0).text
