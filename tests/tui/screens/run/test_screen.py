from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from textual.widgets import Static

from engine.api import Cockpit
from engine.files.paths import Workspace
from engine.runs.events import Evaluated, Sampled
from engine.spec.round import Status
from engine.spec.schema import Spec
from engine.system.telemetry import GpuSample, MachineSample
from tests.support.fake_engine import Script, loss_at
from tests.support.pilot import AppPilot, OpenApp, on_screen, open_first, open_form, shown, until
from tests.support.rounds import change_spec
from tests.support.waiting import await_status
from tui.messages import MachineSampled, RunAdvanced
from tui.screens.run.log_view import LogView
from tui.screens.run.sample_pane import SamplePane
from tui.widgets.chart.chart import CurveChart
from tui.widgets.chart.plot import CurvePlot

Follow = Callable[[Script], None]


async def test_run_is_watched_from_the_form_to_its_end(
    open_app: OpenApp, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=30, step_seconds=0.02, log_lines=("loading the model", "\x1b[31mstep 1")))
    number = cockpit.queue(nano_spec, hold=True).number
    async with open_app(cockpit) as pilot:
        await open_form(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the run")
        await until(pilot, lambda: "finished" in shown(pilot, "#run-title"), "the end")
        assert "step 30/30" in shown(pilot, "#run-title")
        assert shown(pilot, "#run-progress") == 78 * "━"
        figures = shown(pilot, "#figures")
        for words in (f"{loss_at(30, 30):.4f}", "learning rate", "grad norm", "tokens/s", "base", "step 30"):
            assert words in figures
        assert pilot.app.screen.query_one(LogView).lines[:2] == ["loading the model", "step 1"]
        assert "CPU" in shown(pilot, "#machine") and "RAM" in shown(pilot, "#machine")
    assert cockpit.store.get(number + 1).status is Status.FINISHED


async def test_app_is_left_while_it_trains_and_finds_the_whole_curve_again(
    open_app: OpenApp, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=12, hang_at=9))
    number = cockpit.queue(nano_spec).number
    async with open_app(cockpit) as pilot:
        screen = await open_first(pilot)
        await until(pilot, lambda: len(screen.run.curve) == 8, "eight steps")
        await pilot.press("q")
        await pilot.pause()
        assert not pilot.app.is_running
    assert cockpit.store.get(number).status is Status.RUNNING
    async with open_app(cockpit) as pilot:
        screen = await open_first(pilot)
        await until(pilot, lambda: "step 8/12" in shown(pilot, "#run-title"), "the run as it stands")
        assert list(screen.run.curve.steps) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert "training" in shown(pilot, "#run-title")


async def test_stopping_asks_and_ends_stopped(
    open_app: OpenApp, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=10_000, step_seconds=0.01))
    cockpit.queue(nano_spec)
    async with open_app(cockpit) as pilot:
        screen = await open_first(pilot)
        await until(pilot, lambda: len(screen.run.curve) > 2, "some steps")
        await pilot.press("x")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("y")
        await until(pilot, lambda: "stopped" in shown(pilot, "#run-title"), "the end")


async def test_table_tells_how_far_a_running_round_is(
    open_app: OpenApp, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    from tests.support.pilot import cells

    script(Script(steps=10, hang_at=6))
    cockpit.queue(nano_spec)
    async with open_app(cockpit) as pilot:
        await until(pilot, lambda: any("running 50 %" in row for row in cells(pilot)), "the share")


async def test_failed_run_shows_its_sentence(
    open_app: OpenApp, cockpit: Cockpit, nano_spec: Spec, script: Follow
) -> None:
    script(Script(steps=10, fail_at=4))
    failed = await_status(cockpit.store, cockpit.queue(nano_spec).number, Status.FAILED)
    async with open_app(cockpit) as pilot:
        await open_first(pilot)
        await until(pilot, lambda: failed.message in shown(pilot, "#run-message"), failed.message)


async def test_gpus_are_told_one_by_one_and_their_absence_in_words(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tui.screens.run.screen.follow_machine", lambda *_: None
    )  # this machine has other cards, or none
    idle_cockpit.queue(nano_spec)
    gib = 1024**3
    gpus = (
        GpuSample(0, "Tesla T4", 3 * gib, 15 * gib, 47, 61, 68.5, "GPU-0", ()),
        GpuSample(1, "odd card", None, None, None, None, None, "GPU-1", ()),
    )
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        screen.post_message(MachineSampled(MachineSample(12.0, 2 * gib, 24 * gib, gpus, "")))
        await until(pilot, lambda: "Tesla T4" in shown(pilot, "#machine"), "the cards")
        machine = shown(pilot, "#machine")
        assert "3.0/15.0 GiB" in machine and "47 %" in machine and "61 °C" in machine and "68 W" in machine
        assert "GPU 1 odd card  busy n/a  memory n/a  temperature n/a  power n/a  clocks n/a" in machine
        screen.post_message(MachineSampled(MachineSample(12.0, 2 * gib, 24 * gib, (), "no NVIDIA GPU: no driver")))
        await until(pilot, lambda: "no NVIDIA GPU: no driver" in shown(pilot, "#machine"), "the reason")


@pytest.mark.parametrize("flag", [True, False], ids=["flagged", "as earlier versions wrote it"])
async def test_what_is_no_number_is_said_to_be_none(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, flag: bool
) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    words = {"eval_loss": "nan", "perplexity": "nan"} if flag else {}
    base = Evaluated(time=1.0, step=0, eval_loss=None, perplexity=None, supervised_tokens=1, nonfinite=words)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        screen.workers.cancel_group(screen, "run")
        screen.post_message(RunAdvanced(round_, [base]))
        await until(pilot, lambda: "base        not a number" in shown(pilot, "#figures"), "the word")


async def test_figures_at_the_start_are_of_the_base_model_and_the_initial_adapter(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    base = Evaluated(time=1.0, step=0, eval_loss=2.0, perplexity=7.389, supervised_tokens=1)
    initial = Evaluated(time=2.0, step=0, eval_loss=1.0, perplexity=2.718, supervised_tokens=1, initial_adapter=True)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        screen.workers.cancel_group(screen, "run")
        screen.post_message(RunAdvanced(round_, [base, initial]))
        await until(pilot, lambda: "at start" in shown(pilot, "#figures"), "the figure of the initial adapter")
        lines = [" ".join(line.split()) for line in shown(pilot, "#figures").splitlines()]
        assert lines[-2:] == ["base 2.0000 7.39", "at start 1.0000 2.72"]


async def test_imported_round_says_that_only_its_result_is_here(
    open_app: OpenApp, reference_workspace: Workspace
) -> None:
    async with open_app(Cockpit(reference_workspace, lambda _: None)) as pilot:
        await open_first(pilot)
        await until(pilot, lambda: "only its result is stored" in shown(pilot, "#run-message"), "the word")
        assert "1.2167" in shown(pilot, "#figures") and "3.38" in shown(pilot, "#figures")


def samples_shown(pilot: AppPilot) -> list[str]:
    """The lines of the samples on the screen; a table is laid out by rich itself."""
    (pane,) = pilot.app.screen.query("#sample-table").results(Static)
    console = Console(width=76, record=True, file=io.StringIO())
    console.print(pane.content)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_samples_show_base_and_latest_answer_beneath_each_other(
    open_app: OpenApp, cockpit: Cockpit, nano_spec: Spec, script: Follow, size: tuple[int, int]
) -> None:
    script(Script(steps=12, hang_at=9))
    cockpit.queue(nano_spec)
    async with open_app(cockpit, size) as pilot:
        screen = await open_first(pilot)
        pane = screen.query_one(SamplePane)
        assert not pane.display
        await until(pilot, lambda: bool(screen.run.samples), "the base model's answers")
        await pilot.press("s")
        await pilot.pause()
        assert pane.display and pane.has_focus and not screen.query_one("#run-body").display
        assert pane.size.height > size[1] // 2
        assert samples_shown(pilot) == [
            "prompt 1  Say one",
            "expected  one",
            "base      step 0: one␛[2J",
            "",
            "prompt 2  Say it",
            "          ### Input:",
            "          two",
            "expected  [b]two[/b]",
            "base      step 0: [b]two[/b]␛[2J",
        ]
        await pilot.press("s")
        await pilot.pause()
        assert not pane.display and screen.query_one("#run-body").display


def answers(*steps: int) -> list[Sampled]:
    """What the model answers to two prompts after these steps."""
    return [
        Sampled(time=1.0, step=step, prompt=prompt, expected="yes", text=f"answer {step}")
        for step in steps
        for prompt in ("first", "second")
    ]


def steps_shown(pilot: AppPilot) -> list[str]:
    """Whose answers to the first prompt are shown."""
    lines = samples_shown(pilot)
    first = lines[: lines.index("")] if "" in lines else lines
    return [line.split("  ")[0] for line in first[2:]]


async def test_answers_of_every_evaluation_can_be_gone_through(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        screen.workers.cancel_group(screen, "run")
        screen.post_message(RunAdvanced(round_, answers(0, 10, 20, 30)))
        await pilot.press("s")
        await until(pilot, lambda: steps_shown(pilot) == ["base", "step 30"], "the latest")
        await pilot.press("h")
        assert steps_shown(pilot) == ["base", "step 20"]
        assert "after step 20 · evaluation 2 of 3" in shown(pilot, "#sample-which")
        await pilot.press("left", "left")
        assert steps_shown(pilot) == ["base", "step 10"]
        screen.post_message(RunAdvanced(round_, answers(40)))
        await until(pilot, lambda: "1 of 4" in shown(pilot, "#sample-which"), "the new one")
        assert steps_shown(pilot) == ["base", "step 10"]
        await pilot.press("right", "l", "l", "l")
        assert steps_shown(pilot) == ["base", "step 40"]
        await pilot.press("a")
        assert steps_shown(pilot) == ["base", "step 10", "step 20", "step 30", "step 40"]
        await pilot.press("a")
        assert steps_shown(pilot) == ["base", "step 40"]
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.screen is screen and not screen.query_one(SamplePane).display


async def test_answers_are_scrolled(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        screen.workers.cancel_group(screen, "run")
        screen.post_message(RunAdvanced(round_, answers(*range(0, 200, 10))))
        await pilot.press("s")
        await until(pilot, lambda: bool(steps_shown(pilot)), "the answers")
        await pilot.press("a")
        pane = screen.query_one(SamplePane)
        await until(pilot, lambda: pane.max_scroll_y > 10, "more than fits")
        await pilot.press("j", "j")
        await until(pilot, lambda: pane.scroll_y == 2, "two lines further down")
        await pilot.press("k")
        await until(pilot, lambda: pane.scroll_y == 1, "one line up again")
        await pilot.press("G")
        await until(pilot, lambda: pane.scroll_y == pane.max_scroll_y, "the end")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [(0, "its train.sample_tokens is 0"), (8, "This round has no samples")],
)
async def test_round_without_samples_says_why(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, tokens: int, words: str
) -> None:
    idle_cockpit.queue(change_spec(nano_spec, train__sample_tokens=tokens))
    async with open_app(idle_cockpit) as pilot:
        await open_first(pilot)
        await pilot.press("s")
        await until(pilot, lambda: words in shown(pilot, "#sample-table"), words)


async def test_curve_has_eight_rows_on_a_small_terminal_and_else_the_screen(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit, (80, 24)) as pilot:
        screen = await open_first(pilot)
        chart = screen.query_one(CurveChart)
        assert chart.query_one(CurvePlot).plane.height >= 8
        await pilot.press("f")
        await pilot.pause()
        header, footer = screen.query_one("#run-header").region, screen.query_one("KeyFooter").region
        assert (chart.region.y, chart.region.bottom) == (header.bottom, footer.y)
        assert (chart.region.width, screen.max_scroll_y) == (80, 0)
        await pilot.press("escape")
        await pilot.pause()
        assert on_screen(pilot, "LiveScreen") and chart.region.width < 80
