"""Hostile text in every field of every screen: none of it steers the terminal, and none of it is taken for markup."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from textual.screen import Screen
from textual.widgets import Input

import tui.screens
from engine.api import Cockpit
from engine.chat.conversation import Answer, Conversation, Speaker, TalkSettings
from engine.dataset.preview import Preview, Segment
from engine.dataset.rows import Found, PlainText, RowCount
from engine.errors import LoratuiError
from engine.files.paths import Workspace
from engine.preference.blind_test import Contest, Pair, Session
from engine.preference.judgement_log import Judgements, Side
from engine.preference.ranking import rank
from engine.preflight.checks import Preflight
from engine.preflight.target_modules import ModelModules
from engine.runs.events import AnyEvent, Evaluated, Failed, Prepared, Sampled, Warned
from engine.spec.round import Result, Round, Status
from engine.spec.schema import ModelSpec
from engine.store.round_store import RoundStore
from engine.system.telemetry import GpuSample, MachineSample
from tests.conftest import make_round, make_spec
from tests.faults.conftest import Tried
from tests.faults.hostile import (
    HARMFUL,
    HIDING,
    MARKUP,
    STEERING,
    TEXTS,
    CapturedApp,
    captured,
    clickable,
    interpreted,
    leaks,
)
from tests.terminal import ENTER, ESCAPE, Terminal, ctrl
from tests.unit.test_judgements import preferred
from tui.messages import (
    ActionDone,
    ActionFailed,
    AnswerGrew,
    ContestOpened,
    JudgementWritten,
    MachineSampled,
    RoundsRanked,
    RoundsRead,
    RowPreviewed,
    RunAdvanced,
    SpecChecked,
    StoreUnreadable,
)
from tui.screens.chat.screen import TalkScreen
from tui.screens.chat.settings_dialog import TalkSettingsScreen
from tui.screens.compare.lineage_screen import LineageScreen
from tui.screens.compare.screen import CompareScreen
from tui.screens.compare.table import CompareTable
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.dialogs.copy import Copy, CopyScreen
from tui.screens.dialogs.help import HelpScreen
from tui.screens.dialogs.too_small import TooSmallScreen
from tui.screens.dialogs.welcome import WelcomeScreen
from tui.screens.form.preview_screen import PreviewScreen
from tui.screens.form.screen import EditScreen
from tui.screens.form.start_from import Origin, StartFromScreen
from tui.screens.form.target_modules import TargetModulesScreen
from tui.screens.preference.screen import JudgeScreen
from tui.screens.rounds.column_layout import ColumnLayout
from tui.screens.rounds.columns_dialog import ColumnsScreen
from tui.screens.rounds.queue_screen import QueueScreen
from tui.screens.rounds.screen import RoundsScreen
from tui.screens.run.screen import LiveScreen
from tui.widgets.line_editor import LineEditor

LORATUI = str(Path(sys.executable).with_name("loratui"))
Times = Callable[[int, int], int]
Show = Callable[[CapturedApp, str], Awaitable[None]]

WIDTH, HEIGHT = 150, 60
WHAT = "texts in the fields of the screens"


def hostile_round(text: str, number: int = 7, status: Status = Status.FAILED) -> Round:
    """A round with `text` wherever it has any, each time behind the name of the field."""
    spec = make_spec(model__path=f"model={text}", data__path=f"data={text}", lora__target_modules=[f"module={text}"])
    return make_round(
        number, status, spec=spec, name=f"name={text}", note=f"note={text}", message=f"message={text}",
        warnings=(f"warning={text}",), result=Result(perplexity=3.0, adapter_dir=f"adapter={text}"), parent=number - 1,
    )  # fmt: skip


def preview_of(text: str, problem: bool) -> Preview:
    return Preview(
        found=Found(f"format={text}", (f"column={text}",)), rows=3, left_out=1, warnings=(f"warning={text}",), row=1,
        problem=f"problem={text}" if problem else None, tokens=3, supervised_tokens=1, max_length=2, measured=2,
        longest=3, longer=1,
        segments=(
            Segment(f"prompt={text}", False, False), Segment(f"answer={text}", True, False),
            Segment(f"cut={text}", False, True),
        ),
    )  # fmt: skip


async def show_rounds(app: CapturedApp, text: str) -> None:
    app.post_message(RoundsRead([make_round(6), hostile_round(text)]))
    await app.drawn()
    app.action_repaint()  # also what stands there from the text before
    app.screen.post_message(ActionDone(f"done={text}"))
    app.screen.post_message(ActionFailed(LoratuiError(f"failed={text}")))


async def show_edited_line(app: CapturedApp, text: str) -> None:
    screen = app.screen
    assert isinstance(screen, RoundsScreen)
    app.post_message(RoundsRead([make_round(6), hostile_round(text)]))
    await app.drawn()
    await screen.action_edit("note")
    await app.drawn()
    for editor in screen.query(LineEditor):
        editor.tell(f"refused={text}")
        await app.drawn()
        screen.close_editor()
        await app.drawn()
    await screen.action_filter()
    for editor in screen.query(LineEditor):
        editor.field.value = f"wrong<{text}"
    await app.drawn()
    screen.action_back()


async def show_columns(app: CapturedApp, text: str) -> None:
    await app.push_screen(ColumnsScreen(ColumnLayout(), (), lambda _: ()))  # which has no text but its own


async def show_unreadable_store(app: CapturedApp, text: str) -> None:
    app.post_message(StoreUnreadable(LoratuiError(f"unreadable={text}")))


def silence(screen: Screen[Any], worker: str) -> None:
    """Keep a screen from asking a process, the disk or the machine: what that would say is said by who shows it."""
    setattr(screen, worker, lambda: None)


async def show_live(app: CapturedApp, text: str) -> None:
    round_ = hostile_round(text, status=Status.RUNNING)
    screen = LiveScreen(app.cockpit, round_)
    silence(screen, "_follow_machine")
    screen.show_rounds([round_, hostile_round(text, 8, Status.QUEUED)])
    await app.push_screen(screen)
    prepared = Prepared(
        time=1.0, device=f"device={text}", dtype=f"dtype={text}", parameters=1, trainable_parameters=1,
        train_samples=1, eval_samples=1, total_steps=10, steps_per_epoch=10,
    )  # fmt: skip
    events: list[AnyEvent] = [
        prepared,
        Warned(time=1.0, message=f"warned={text}"),
        Failed(time=1.0, message=f"ended={text}"),
    ]
    screen.post_message(RunAdvanced(round_, events, f"{text}\nlog={text}"))
    gpu = GpuSample(0, f"gpu={text}", None, None, None, None, None)
    screen.post_message(MachineSampled(MachineSample(1.0, 1, 2, (gpu,), "")))
    await app.drawn()
    screen.post_message(MachineSampled(MachineSample(1.0, 1, 2, (), f"nvml={text}")))


async def show_samples(app: CapturedApp, text: str) -> None:
    round_ = hostile_round(text, status=Status.FINISHED)
    screen = LiveScreen(app.cockpit, round_)
    await app.push_screen(screen)
    screen.action_samples()
    answers = [
        Sampled(time=1.0, step=step, prompt=f"prompt={text}", expected=f"expected={text}", text=f"answer{step}={text}")
        for step in (0, 5)
    ]
    measured = Evaluated(time=1.0, step=5, eval_loss=1.0, perplexity=2.7, supervised_tokens=1)
    screen.post_message(RunAdvanced(round_, [measured, *answers]))


async def show_form(app: CapturedApp, text: str) -> None:
    round_ = hostile_round(text)
    screen = EditScreen(app.cockpit, Origin(round_.spec, round_.name, round_), Path("/"))
    await app.push_screen(screen)
    silence(screen, "_plan")
    screen._spec = round_.spec
    rows = RowCount(Found(f"format={text}", (f"column={text}",)), 5, 0, PlainText("a row"), None)
    screen.post_message(SpecChecked(Preflight(round_.plan, (f"warning={text}",), rows)))
    await app.drawn()
    screen.post_message(SpecChecked(LoratuiError(f"refused={text}")))
    screen.post_message(ActionFailed(LoratuiError(f"failed={text}")))


async def show_preset_form(app: CapturedApp, text: str) -> None:
    await app.push_screen(EditScreen(app.cockpit, Origin(make_spec(), f"preset={text}"), Path("/")))


async def show_preview(app: CapturedApp, text: str) -> None:
    screen = PreviewScreen(app.cockpit, make_spec())
    screen._asked = True  # no process is started; what one would say is said below
    await app.push_screen(screen)
    for outcome in (LoratuiError(f"refused={text}"), preview_of(text, problem=True), preview_of(text, problem=False)):
        screen.post_message(RowPreviewed(outcome))
        await app.drawn()


async def show_queue(app: CapturedApp, text: str) -> None:
    rounds = [hostile_round(text, 7, Status.RUNNING), hostile_round(text, 8, Status.QUEUED)]
    await app.push_screen(QueueScreen(app.cockpit, rounds))


async def show_compare(app: CapturedApp, text: str) -> None:
    hostile = hostile_round(text)
    screen = CompareScreen(app.cockpit, [make_round(6, note="plain"), hostile])
    silence(screen, "_follow")
    await app.push_screen(screen)
    failed = Failed(time=1.0, message=f"ended={text}")
    measured = Evaluated(time=1.0, step=5, eval_loss=1.0, perplexity=2.7, supervised_tokens=1)
    screen.post_message(RunAdvanced(hostile, [measured, failed]))
    await app.drawn()
    table = screen.query_one(CompareTable)
    table.focus()
    for row in range(table.row_count):  # the values of each, whole
        table.move_cursor(row)
        await app.drawn()


async def show_lineage(app: CapturedApp, text: str) -> None:
    rounds = [make_round(6), hostile_round(text), make_round(8, spec=hostile_round(text).spec, parent=6)]
    await app.push_screen(LineageScreen(app.cockpit, rounds, 7))


def hostile_contest(text: str) -> Contest:
    pair = Pair("a", f"prompt={text}", f"expected={text}", f"first={text}", f"second={text}")
    return Contest(Side("some/model"), Side("some/model", make_round(7).id, 1), (pair,), 0, True)


async def show_judge(app: CapturedApp, text: str) -> None:
    screen = JudgeScreen(app.cockpit, hostile_round(text), None)
    silence(screen, "_open")
    await app.push_screen(screen)
    screen.post_message(ContestOpened(LoratuiError(f"refused={text}")))
    await app.drawn()
    session = Session(hostile_contest(text), Judgements())
    screen.post_message(ContestOpened(session))
    await app.drawn()
    screen.action_reference()
    await app.drawn()
    screen.post_message(JudgementWritten(session.judge("left"), LoratuiError(f"unwritten={text}")))


async def show_judged(app: CapturedApp, text: str) -> None:
    round_ = hostile_round(text)
    screen = JudgeScreen(app.cockpit, round_, None)
    silence(screen, "_open")
    silence(screen, "_rank")
    await app.push_screen(screen)
    session = Session(hostile_contest(text), Judgements())
    session.keep(session.judge("left"))
    screen.post_message(ContestOpened(session))
    await app.drawn()
    screen.action_reveal()
    bases = [
        preferred("a", "first", sides=(Side(f"{name}={text}"), session.contest.second)) for name in ("base", "other")
    ]
    screen.post_message(RoundsRanked(rank(Judgements(tuple(bases)), [round_])))


async def show_start_from(app: CapturedApp, text: str) -> None:
    await app.push_screen(StartFromScreen(hostile_round(text)))


async def show_question(app: CapturedApp, text: str) -> None:
    await app.push_screen(ConfirmScreen(f"question={text}", f"yes={text}"))


async def show_help(app: CapturedApp, text: str) -> None:
    await app.push_screen(HelpScreen([(f"group={text}", [(f"key={text}", f"tooltip={text}")])]))


async def show_ask(app: CapturedApp, text: str) -> None:
    def refuse(_: str) -> None:
        raise LoratuiError(f"refused={text}")

    screen = AskScreen(f"question={text}", f"text={text}", refuse)
    await app.push_screen(screen)
    await app.drawn()
    await screen.query_one(Input).action_submit()


async def show_modules(app: CapturedApp, text: str) -> None:
    modules = ModelModules({f"linear={text}": 3}, {f"other={text}": None})
    await app.push_screen(TargetModulesScreen(modules, (f"chosen={text}",)))


async def show_welcome(app: CapturedApp, text: str) -> None:
    await app.push_screen(WelcomeScreen(Path(f"directory={text}"), leftovers=True))


async def show_copies(app: CapturedApp, text: str) -> None:
    await app.push_screen(CopyScreen([Copy(f"title={text}", f"text={text}")]))


async def show_talk(app: CapturedApp, text: str) -> None:
    speakers = (
        Speaker("0007-a", 7, f"name={text}", f"template={text}"), Speaker("0008-a", 8, f"other={text}"),
    )  # fmt: skip
    talk = Conversation(ModelSpec(f"model={text}"), speakers).with_message(f"said={text}")
    talk = talk.with_answer("0007-a", Answer(f"answer={text}", 1, 1, 1.0))
    talk = talk.with_answer("0008-a", Answer("", refusal=f"refusal={text}"))
    screen = TalkScreen(app.cockpit, talk, [])
    silence(screen, "open_model")
    await app.push_screen(screen)
    screen.show()
    await app.drawn()
    screen.silent["0008-a"] = f"silent={text}"
    screen._trouble = f"trouble={text}"
    screen._asked = ("0007-a",)
    screen.conversation = talk.with_message("and on")
    screen.post_message(AnswerGrew(screen._sitting, "0007-a", f"growing={text}"))
    screen.show()


async def show_talk_settings(app: CapturedApp, text: str) -> None:
    settings = TalkSettings(prompt_template=f"template={text}", system=f"system={text}")
    await app.push_screen(TalkSettingsScreen(settings))


async def show_choice(app: CapturedApp, text: str) -> None:
    await app.push_screen(ChooseScreen(f"question={text}", [(f"title={text}", f"told={text}")]))


async def show_too_small(app: CapturedApp, text: str) -> None:
    await app.push_screen(TooSmallScreen())  # which has no text but its own


# How each screen is shown hostile text, and the fields that must then have been drawn.
CASES: dict[str, list[tuple[Show, str]]] = {
    "RoundsScreen": [
        (show_rounds, "name note message warning model data module adapter done failed"),
        (show_unreadable_store, "unreadable"),
        (show_edited_line, "refused"),
    ],
    "ColumnsScreen": [(show_columns, "")],
    "LiveScreen": [
        (show_live, "name warned message device dtype log gpu nvml"),
        (show_samples, "name message prompt expected answer0 answer5"),
    ],
    "EditScreen": [
        (show_form, "name model data module format column warning refused failed"),
        (show_preset_form, "preset"),
    ],
    "PreviewScreen": [(show_preview, "refused format column warning problem prompt answer cut")],
    "QueueScreen": [(show_queue, "name message")],
    "CompareScreen": [(show_compare, "name model data module note")],
    "LineageScreen": [(show_lineage, "name note message model data module")],
    "JudgeScreen": [(show_judge, "refused prompt first second expected unwritten"), (show_judged, "name base other")],
    "StartFromScreen": [(show_start_from, "name note")],
    "ConfirmScreen": [(show_question, "question yes")],
    "AskScreen": [(show_ask, "question text refused")],
    "TargetModulesScreen": [(show_modules, "linear other chosen")],
    "WelcomeScreen": [(show_welcome, "directory")],
    "CopyScreen": [(show_copies, "title text")],
    "TalkScreen": [(show_talk, "model name template other said answer refusal silent trouble growing")],
    "TalkSettingsScreen": [(show_talk_settings, "template system")],
    "ChooseScreen": [(show_choice, "question title told")],
    "TooSmallScreen": [(show_too_small, "")],
    "HelpScreen": [(show_help, "group key tooltip")],
}


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


async def look(cockpit: Cockpit, directory: Path, show: Show, fields: str, texts: Sequence[str]) -> list[object]:
    """Show each of `texts` in turn; returns what came through of them."""
    found: list[object] = []
    async with captured(cockpit, directory, (WIDTH, HEIGHT)) as app:
        await app.drawn()
        for text in texts:
            base = len(app.screen_stack)
            app.take()
            await show(app, text)
            await app.drawn()
            app.action_repaint()  # what stood there before too, which is not written twice by itself
            await app.drawn()
            written = app.take()
            found += [(text, leak) for leak in leaks(written)]
            found += [(text, "clickable", what) for what in clickable(app)]
            found += [(text, "taken for markup")] if interpreted(written) else []
            found += [(text, "not drawn", field) for field in fields.split() if f"{field}=" not in written]
            while len(app.screen_stack) > base:
                await app.pop_screen()
            app.clear_notifications()
            await app.drawn()
        found += [(texts, "defect", app.defect)] if app.defect else []
    return found


@pytest.mark.parametrize(
    ("show", "fields"),
    [case for cases in CASES.values() for case in cases],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_text_is_drawn_and_does_nothing(
    idle_cockpit: Cockpit, tmp_path: Path, show: Show, fields: str, tried: Tried, times: Times
) -> None:
    number, lost = len(fields.split()), 0
    told: list[object] = []
    for fault, texts in (("S1", STEERING), ("S2", MARKUP), ("S3", HIDING)):
        shown = [" ".join(texts[start::4]) for start in range(times(1, 4))]
        told += (found := asyncio.run(look(idle_cockpit, tmp_path, show, fields, shown)))
        tried(
            fault,
            f"{WHAT}, the worst there are",
            sum(len(texts[start::4]) for start in range(len(shown))) * number,
            len(found),
        )

    @settings(max_examples=times(1, 3), phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.lists(TEXTS, min_size=times(2, 4), max_size=times(2, 5)))
    def made_up(texts: list[str]) -> None:
        nonlocal lost, number
        told.extend(found := asyncio.run(look(idle_cockpit, tmp_path, show, fields, texts)))
        number, lost = number + len(texts) * len(fields.split()), lost + len(found)

    number = 0
    made_up()
    tried("S1", f"{WHAT}, made up by Hypothesis", number, lost)
    assert told == []


def test_judge_knows_harmful_output() -> None:
    """The captured output of a screen that is shown no hostile text is clean, and each hostile text alone is not."""
    drawing = "\x1b[?2026h\x1b[1;1H\x1b[1;38;2;224;224;224;48;2;18;18;18mtext\x1b[0m\n\x1b[2;1H\x1b[?2026l"
    assert leaks(drawing) == []
    for text in STEERING + HIDING:
        assert leaks(drawing + text), text


def test_gate_holds_alone(idle_cockpit: Cockpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried) -> None:
    """Were every screen to forget `clean`, the last gate before the terminal would do."""

    def forgetful(text: str) -> str:
        return text

    for module in [*pkgutil.walk_packages(tui.__path__, "tui.")]:
        loaded = importlib.import_module(module.name)
        if module.name not in ("tui.terminal.console", "tui.terminal.filters"):
            for name in ("clean", "clean_line", "shown"):
                if hasattr(loaded, name):
                    monkeypatch.setattr(loaded, name, forgetful)
    texts, found = [" ".join(STEERING[::2] + HIDING[1::2])], []
    for cases in CASES.values():
        for show, fields in cases:
            told = asyncio.run(look(idle_cockpit, tmp_path, show, fields, texts))
            found += [item for item in told if "not drawn" not in str(item)]
    tried(
        "S1",
        "every clean() of the screens left out: the gate before the terminal alone",
        len(texts) * len(CASES),
        len(found),
    )
    assert found == []


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
            (ENTER, "learning rate", ESCAPE), ("d", "deleted: z takes it back", ""), ("z", "is back", ""),
            ("e", "comparison is in", ""),
            ("e", "Overwrite (y)", ESCAPE), ("?", "This screen", ESCAPE),
            ("n", "Start the new round from", ESCAPE),
        ):  # fmt: skip
            terminal.type(keys)
            terminal.wait_for(words)
            screens += 1
            if back:
                terminal.type(back)
                terminal.wait_until(partial(without, words), f"the end of {words!r}")
        terminal.type("n")
        terminal.wait_for("Start the new round from")
        terminal.type(ENTER)
        terminal.wait_for("New round")
        terminal.type(ctrl("q"))
        terminal.wait_for_end()
    rest = SESSION.sub("", terminal.written.decode("utf-8", "surrogateescape"))
    lost = [rest[max(0, found.start() - 30) : found.end() + 30] for found in HARMFUL.finditer(rest)]
    tried("S1", "the program itself on a real terminal, every text and its directory hostile", screens + 1, len(lost))
    assert lost == []
