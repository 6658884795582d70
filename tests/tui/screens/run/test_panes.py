"""The live screen's panes: other rounds, the machine, the log, and who is called for what happens."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest
from textual.widgets import Input

from engine.alerts.run_monitor import Kind
from engine.api import Cockpit
from engine.runs.disk_forecast import DiskNeed
from engine.runs.event_log import EventWriter
from engine.runs.events import AnyEvent, Prepared, Started, Step
from engine.spec.round import Result, Round, Status
from engine.spec.schema import Spec
from engine.system.process import own_identity
from engine.system.process_memory import TreeSample
from engine.system.telemetry import GpuProcess, GpuSample, MachineSample
from tests.support.pilot import AppPilot, OpenApp, on_screen, open_first, shown, until
from tui.app import SEVERITIES, LoratuiApp
from tui.messages import MachineSampled, RoundShare, RunAdvanced
from tui.screens.run.log_pane import LogPane
from tui.screens.run.log_view import LogView
from tui.screens.run.screen import LiveScreen
from tui.screens.run.strip import RunStrip
from tui.terminal.ansi_log import KEPT_LINES

GIB = 1024**3
LINES = "".join(f"line {number} of the log\n" for number in range(100))


def steps(count: int, total: int, loss: float = 1.0) -> list[AnyEvent]:
    """A run of `total` steps, `count` of them taken, a second each."""
    now = time.time()
    prepared = Prepared(
        time=now, device="cuda", dtype="float16", parameters=10**9, trainable_parameters=10**6, train_samples=9,
        eval_samples=1, total_steps=total, steps_per_epoch=total,
    )  # fmt: skip
    taken = [
        Step(
            time=now, step=step, epoch=step / total, loss=loss, learning_rate=1e-4, grad_norm=1.0, tokens=10,
            seconds=1.0, train_seconds=float(step), trained_tokens=10 * step,
        )
        for step in range(1, count + 1)
    ]  # fmt: skip
    return [Started(time=now, process=own_identity()), prepared, *taken]


@pytest.fixture
def run_to(idle_cockpit: Cockpit) -> Callable[..., Round]:
    """Let a round run, as far as its store and its events go."""

    def write(number: int, count: int, total: int = 100, loss: float = 1.0) -> Round:
        round_ = idle_cockpit.store.update(number, status=Status.RUNNING, started=time.time(), process=own_identity())
        writer = EventWriter(idle_cockpit.workspace.run_dir(round_.id).events)
        for event in steps(count, total, loss):
            writer.append(event)
        writer.close()
        return round_

    return write


async def test_other_rounds_are_told_of_and_gone_to(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, run_to: Callable[..., Round]
) -> None:
    for name in ("first", "second", "third", "fourth"):
        idle_cockpit.queue(nano_spec, name=name)
    run_to(1, 50)
    run_to(2, 25)
    idle_cockpit.hold(4)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        strip = "J K ▶1 first ████░░░░ 50 % │ 2 second ██░░░░░░ 25 % 1m15s left │ next 3 third"
        await until(pilot, lambda: shown(pilot, "#run-strip") == strip, strip)
        await pilot.press("J")
        await until(pilot, lambda: "step 25/100" in shown(pilot, "#run-title"), "the second round")
        assert "▶2 second" in shown(pilot, "#run-strip") and len(screen.run.curve) == 25
        await pilot.press("J")
        await until(pilot, lambda: "Round 3  third  queued" in shown(pilot, "#run-title"), "the one that waits")
        assert "next ▶3 third" in shown(pilot, "#run-strip") and len(screen.run.curve) == 0
        await pilot.press("J")
        await until(pilot, lambda: "Round 1  first" in shown(pilot, "#run-title"), "the first again")
        await pilot.press("K")
        await until(pilot, lambda: "Round 3" in shown(pilot, "#run-title"), "back again")
        await pilot.press("K", "K")
        await until(pilot, lambda: "step 50/100" in shown(pilot, "#run-title"), "and again")
        await until(pilot, lambda: len(screen.run.curve) == 50, "every step once")
        assert len(screen.run.curve) == 50
        await pilot.click("#run-strip", offset=(strip.index("25 %"), 0))
        await until(pilot, lambda: "step 25/100" in shown(pilot, "#run-title"), "the second round, clicked")
        await pilot.click("#run-strip", offset=(1 + strip.index("next"), 0))
        await pilot.click("#run-strip", offset=(1 + strip.index("third"), 0))
        await until(pilot, lambda: "Round 3" in shown(pilot, "#run-title"), "what waits, clicked")


async def test_strip_says_less_where_there_is_less_room(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, run_to: Callable[..., Round]
) -> None:
    for _ in range(3):
        idle_cockpit.queue(nano_spec, name="a long name of a round")
        run_to(idle_cockpit.store.rounds()[-1].number, 50)
    idle_cockpit.queue(nano_spec, name="waits")
    async with open_app(idle_cockpit) as pilot:
        await open_first(pilot)
        strip = "J K ▶1 a long… 50 % │ 2 a long… 50 % │ 3 a long… 50 % │ next 4 waits"
        await until(pilot, lambda: shown(pilot, "#run-strip") == strip, strip)


async def test_strip_is_not_there_for_a_single_round(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        await pilot.press("J", "K")
        assert not screen.query_one(RunStrip).display and screen.round.number == 1


@pytest.fixture(autouse=True)
def this_machine_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has to say would come between."""
    monkeypatch.setattr("tui.screens.run.screen.follow_machine", lambda *_: None)


async def machine(pilot: AppPilot, screen: LiveScreen, share: RoundShare, *gpus: GpuSample) -> str:
    """What the pane says of a machine."""
    screen.post_message(MachineSampled(MachineSample(45.0, 12 * GIB, 31 * GIB, gpus, ""), share, 1000.0))
    await until(pilot, lambda: "12.0" in shown(pilot, "#machine"), "the sample")
    return shown(pilot, "#machine")


BUSY = GpuSample(
    *(0, "NVIDIA A100-SXM4-80GB", 40 * GIB, 80 * GIB, 97, 71, 300.0, "GPU-0"), (GpuProcess(77, 39 * GIB),),
    power_limit_watts=400.0, throttling=("power cap",), driver="550",
)  # fmt: skip
SHARE = RoundShare(TreeSample(frozenset({77, 78}), 3 * GIB), "GPU-0", True, 12 * GIB, DiskNeed(5, GIB, GIB // 4, True))


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (80, [
            "GPU 0 A100-SXM4-80GB   97 %  40.0/80.0 GiB, round 39.0  71 °C  300/400 W",
            f"  slowed: power cap  busy {'█':>21}  memory {'▅':>21}",
            "CPU  45 %  RAM 12.0/31.0 GiB, round 3.0  disk 12.0 GiB free, needs 5.2 GiB",
        ]),
        (200, [
            "GPU 0 A100-SXM4-80GB   97 % busy                              █  "
            "40.0 GiB of 80.0 GiB, this round 39.0 GiB                              ▅  71 °C  300/400 W  "
            "throttled: power cap",
            "CPU  45 %   RAM 12.0 GiB of 31.0 GiB, this round 3.0 GiB   disk 12.0 GiB free, 5 checkpoints to come "
            "5.2 GiB (as the newest)",
        ]),
    ],
)  # fmt: skip
async def test_machine_is_told_as_fully_as_there_is_room(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, width: int, lines: list[str]
) -> None:
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit, (width, 40)) as pilot:
        screen = await open_first(pilot)
        told = (await machine(pilot, screen, SHARE, BUSY)).splitlines()
        assert [line.rstrip() for line in told[-len(lines) + 1 :]] == lines[1:]
        assert told[0] == lines[0]


async def test_card_shared_with_others_and_card_that_does_not_tell(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    idle_cockpit.queue(nano_spec)
    hidden = GpuSample(0, "T4", 1 * GIB, 15 * GIB, 0, 40, 10.0, "GPU-0", (GpuProcess(12345, GIB),), throttling=())
    other = GpuSample(1, "T4", 2 * GIB, 15 * GIB, 0, 40, 10.0, "GPU-1", (GpuProcess(12345, GIB),), throttling=())
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        first, second, *_ = (await machine(pilot, screen, SHARE, hidden, other)).splitlines()
        assert "1.0/15.0 GiB, round n/a" in first  # it trains there, and the driver does not know it by its pid
        assert "2.0/15.0 GiB" in second and "round" not in second


@pytest.mark.parametrize(
    ("width", "words"),
    [(80, "42.0/80.0 GiB, round 39.0, talk 2.0"), (200, "42.0 GiB of 80.0 GiB, this round 39.0 GiB, talk 2.0 GiB")],
)
async def test_model_that_is_talked_to_is_told_apart_from_the_round(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, width: int, words: str
) -> None:
    idle_cockpit.queue(nano_spec)
    processes = (GpuProcess(77, 39 * GIB), GpuProcess(99, 2 * GIB), GpuProcess(12345, GIB))
    card = msgspec.structs.replace(BUSY, memory_used=42 * GIB, processes=processes)
    async with open_app(idle_cockpit, (width, 40)) as pilot:
        screen = await open_first(pilot)
        share = msgspec.structs.replace(SHARE, talk_pids=frozenset({99}))
        assert words in (await machine(pilot, screen, share, card)).splitlines()[0]


async def test_this_rounds_card_comes_first_and_full_screen_shows_all(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    idle_cockpit.queue(nano_spec)
    cards = [GpuSample(number, "T4", GIB, 15 * GIB, 0, 40, 10.0, f"GPU-{number}") for number in range(6)]
    async with open_app(idle_cockpit, (100, 24)) as pilot:
        screen = await open_first(pilot)
        told = await machine(pilot, screen, RoundShare(gpu="GPU-4"), *cards)
        assert [line[:5] for line in told.splitlines()] == ["GPU 4", "GPU 0", "GPU 1", "3 mor", "CPU  "]
        screen.query_one("#machine").focus()
        await pilot.press("f")
        await until(pilot, lambda: "GPU 5" in shown(pilot, "#machine"), "all of them")
        assert "driver" not in shown(pilot, "#machine") and not screen.query_one(LogPane).is_on_screen
        await pilot.press("escape")
        await until(pilot, lambda: "GPU 5" not in shown(pilot, "#machine"), "three again")
        assert pilot.app.screen is screen
        await pilot.resize_terminal(100, 60)
        await machine(pilot, screen, RoundShare(gpu="GPU-4"), *cards)
        await until(pilot, lambda: "GPU 5" in shown(pilot, "#machine"), "all of them where there is room")
        await pilot.press("f")
        await until(pilot, lambda: "driver" in shown(pilot, "#machine"), "all there is to know of them")


async def test_checkpoints_that_do_not_fit_are_warned_of(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        await machine(pilot, screen, RoundShare(disk_free=GIB, disk_need=DiskNeed(4, GIB, GIB, False)), BUSY)
        words = "the disk will be full before the end: 4 more checkpoints and the adapter take 5.0 GiB (estimated"
        await until(pilot, lambda: words in shown(pilot, "#run-message"), words)


async def log_of(pilot: AppPilot, screen: LiveScreen, text: str) -> LogView:
    """The log with this text in it."""
    screen.workers.cancel_group(screen, "run")
    await pilot.pause(0.1)
    view = screen.query_one(LogView)
    view.clear()
    screen.post_message(RunAdvanced(screen.round, [], text))
    await until(pilot, lambda: bool(view.lines), "the log")
    return view


def top(view: LogView) -> str:
    """The first line on the screen."""
    return view.render_line(0).text.rstrip()


async def test_log_is_followed_until_one_scrolls_up(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        view = await log_of(pilot, screen, LINES)

        def title() -> str:
            return shown(pilot, "#log-title")

        assert title() == "log · following" and view.scroll_y == view.max_scroll_y > 0
        view.focus()
        await pilot.press("k")
        await until(pilot, lambda: "not following" in title(), "no following")
        before = top(view)
        screen.post_message(RunAdvanced(round_, [], "one more\n"))
        await until(pilot, lambda: "one more" in view.lines, "one more")
        assert top(view) == before
        await pilot.press("F")
        await until(pilot, lambda: title() == "log · following", "following again")
        assert view.scroll_y == view.max_scroll_y
        await pilot.press("g")
        await until(pilot, lambda: top(view) == "line 0 of the log", "the beginning")
        assert "not following" in title()
        await pilot.press("G")
        await until(pilot, lambda: title() == "log · following", "the end")
        await pilot.press("F")
        await until(pilot, lambda: "not following" in title(), "staying there")


async def test_new_lines_lay_the_screen_out_only_for_a_scrollbar(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("follow_machine", "follow_run"):  # what they bring may lay it out too
        monkeypatch.setattr(f"tui.screens.run.screen.{name}", lambda *_: None)
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        log = screen.query_one(LogView)
        await pilot.pause()
        layouts: list[object] = []
        screen.screen_layout_refresh_signal.subscribe(log, layouts.append)
        log.feed(LINES)
        await pilot.pause()
        assert log.show_vertical_scrollbar and layouts
        while layouts:  # that of the scrollbar brings another, for the width that is left
            layouts.clear()
            await pilot.pause()
            await pilot.pause()
        log.feed(LINES)
        await pilot.pause()
        assert not layouts
        bar = log.vertical_scrollbar
        assert (bar.window_virtual_size, bar.position) == (len(log.lines), len(log.lines) - log.size.height)


async def test_log_is_searched(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        view = await log_of(pilot, screen, LINES)
        await pilot.press("slash", *"LINE 1")
        await until(pilot, lambda: "'LINE 1' 11 of 11" in shown(pilot, "#log-title"), "the last of 1 and 10 to 19")
        await pilot.press("enter")
        assert view.has_focus and "line 19 of the log" in "".join(view.render_line(y).text for y in range(9))
        await pilot.press("n")
        await until(pilot, lambda: "1 of 11" in shown(pilot, "#log-title"), "round to the first")
        segments = view.render_line(int(1 - view.scroll_y))
        marked = [segment.text for segment in segments if segment.style and segment.style.reverse]
        assert marked == ["line 1"]
        await pilot.press("N", "N")
        await until(pilot, lambda: "10 of 11" in shown(pilot, "#log-title"), "back")
        screen.post_message(RunAdvanced(round_, [], "line 1 anew\n"))
        await until(pilot, lambda: "10 of 12" in shown(pilot, "#log-title"), "one more place")
        await pilot.press("slash")
        screen.query_one(Input).value = "nowhere"
        await until(pilot, lambda: "'nowhere' not found" in shown(pilot, "#log-title"), "none")
        await pilot.press("escape")
        await until(pilot, lambda: "nowhere" not in shown(pilot, "#log-title"), "no search")
        assert pilot.app.screen is screen


async def test_search_left_with_escape_can_be_searched_for_again(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        await log_of(pilot, screen, LINES)
        await pilot.press("slash", *"line 7", "escape")
        await until(pilot, lambda: "line 7" not in shown(pilot, "#log-title"), "no search")
        await pilot.press("slash")
        field = screen.query_one(LogPane).field
        assert field.value == "" and "ctrl+r: line 7" in str(field.placeholder)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "'line 7' 11 of 11" in shown(pilot, "#log-title"), "the matches")
        await pilot.press("enter")
        await pilot.pause()
        assert idle_cockpit.drafts.offered("search in the log") == []


async def test_what_one_reads_stays_while_old_lines_go(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        numbers = iter(range(10**9))
        lines = "".join(f"line {next(numbers)}\n" for _ in range(KEPT_LINES - 10))
        view = await log_of(pilot, screen, lines)
        await pilot.press("slash", *"line 4000", "enter")
        await until(pilot, lambda: "1 of 1" in shown(pilot, "#log-title"), "the place")
        before = top(view)
        assert before.startswith("line 39")
        screen.post_message(RunAdvanced(round_, [], "".join(f"line {next(numbers)}\n" for _ in range(100))))
        await until(pilot, lambda: view.lines[0] != "line 0", "old lines to go")
        await pilot.pause()
        assert top(view) == before and "1 of 1" in shown(pilot, "#log-title")
        assert len(view.lines) <= KEPT_LINES
        await pilot.press("F")
        await until(pilot, lambda: view.scroll_y == view.max_scroll_y, "the end")
        assert view.lines[-1] == f"line {next(numbers) - 1}"


async def test_another_rounds_log_is_its_own(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    for words in ("of the first", "of the second"):
        round_ = idle_cockpit.queue(nano_spec)
        idle_cockpit.workspace.run_dir(round_.id).log.write_text(f"log {words}\n")
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        view = screen.query_one(LogView)
        await until(pilot, lambda: view.lines in (["log of the first"], ["log of the second"]), "a log")
        first = list(view.lines)
        await pilot.press("J")
        await until(pilot, lambda: len(view.lines) == 1 and view.lines != first, "the other log")
        await pilot.press("J")
        await until(pilot, lambda: view.lines == first, "the log before")


async def test_long_lines_are_wrapped(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        text = "".join(f"{number:03d}" for number in range(60))
        view = await log_of(pilot, screen, f"short\n{text}\n表表表\n")
        assert view.virtual_size.height == 3
        await pilot.press("w")
        width = view.scrollable_content_region.width  # beside the scrollbar
        height = view.virtual_size.height - int(view.scroll_y)
        rows = [view.render_line(y).text[:width].rstrip() for y in range(height)]
        assert "".join(rows).endswith(text[-width:] + "表表表") and view.virtual_size.height == 2 + -(-180 // width)
        assert "wrapped" in shown(pilot, "#log-title")
        await pilot.press("w")
        view.focus()
        await pilot.press("l")
        await until(pilot, lambda: view.scroll_x > 0, "to the right")
        assert view.virtual_size.height == 3


async def test_bar_is_one_line_that_changes(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    round_ = idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        view = await log_of(pilot, screen, "loading\n\r 10%|#   |")
        screen.post_message(RunAdvanced(round_, [], "\r 90%|### |"))
        await until(pilot, lambda: view.lines == ["loading", " 90%|### |"], "the bar as it stands")


async def test_tab_goes_from_pane_to_pane_and_f_enlarges_one(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        screen = await open_first(pilot)
        seen = []
        for _ in range(3):
            seen.append(screen.focused.id if screen.focused else None)
            await pilot.press("tab")
        assert seen == ["chart", "machine", "log-view"]
        await pilot.press("shift+tab", "f")
        await pilot.pause()
        log = screen.query_one(LogPane)
        assert screen.maximized is log and log.size.height > 18 and not screen.query_one("#chart").is_on_screen
        assert screen.query_one("#run-title").is_on_screen
        await pilot.press("f")
        await pilot.pause()
        assert screen.maximized is None and screen.query_one("#chart").is_on_screen


async def test_small_terminal_shows_everything(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    for _ in range(2):
        idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit, (80, 24)) as pilot:
        screen = await open_first(pilot)
        await machine(pilot, screen, SHARE, BUSY)
        await log_of(pilot, screen, LINES)
        await pilot.pause()
        rows = {name: screen.query_one(f"#{name}").region for name in ("run-strip", "chart", "machine", "log-view")}
        assert rows["run-strip"].height == 1 and rows["chart"].height >= 9 and rows["log-view"].height >= 3
        assert rows["machine"].height == 4
        assert all(region.bottom <= 23 for region in rows.values())


@pytest.mark.parametrize(
    ("status", "words"), [(Status.FINISHED, "finished: perplexity 3.10"), (Status.FAILED, "failed: out of memory")]
)
async def test_end_is_told_wherever_the_person_is(
    open_app: OpenApp,
    idle_cockpit: Cockpit,
    nano_spec: Spec,
    run_to: Callable[..., Round],
    monkeypatch: pytest.MonkeyPatch,
    status: Status,
    words: str,
) -> None:
    idle_cockpit.queue(nano_spec)
    run_to(1, 5)
    written: list[str] = []
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        driver = pilot.app._driver
        assert driver is not None
        monkeypatch.setattr(driver, "write", written.append)
        await pilot.press("question_mark")
        await until(pilot, lambda: on_screen(pilot, "HelpScreen"), "the help")
        message = "out of memory" if status is Status.FAILED else ""
        idle_cockpit.store.update(1, status=status, message=message, result=Result(perplexity=3.1))
        await until(pilot, lambda: any(words in note.message for note in pilot.app._notifications), words)
        assert [text for text in written if "\x1b]9;" in text] == [f"\x07\x1b]9;round 1: {words}\x07"]


async def test_loss_that_turns_to_nan_is_told_once(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, run_to: Callable[..., Round]
) -> None:
    idle_cockpit.queue(nano_spec)
    round_ = run_to(1, 5)
    async with open_app(idle_cockpit) as pilot:
        app = pilot.app
        assert isinstance(app, LoratuiApp)
        await until(pilot, lambda: 1 in app._progress, "the watch")
        writer = EventWriter(idle_cockpit.workspace.run_dir(round_.id).events)
        for _ in range(2):
            writer.append(steps(1, 100, float("nan"))[-1])
        writer.close()
        await until(pilot, lambda: len(pilot.app._notifications) == 1, "the toast")
        (note,) = pilot.app._notifications
        assert "is not finite" in note.message and note.severity == "error"


def test_every_kind_has_a_severity() -> None:
    assert set(SEVERITIES) == set(Kind)
