"""Every screen of the app, shown over a workspace whose every text is hostile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.screen import Screen
from textual.widgets import Input

from engine.chat.conversation import Chat, ChatAnswer, ChatSettings, Speaker
from engine.dataset.rows import DetectedFormat, PlainText, RowCount
from engine.errors import LoratuiError
from engine.planning.devices import Device
from engine.planning.forecast import Forecast
from engine.planning.memory import MemoryNeed
from engine.planning.remarks.remark import Case
from engine.planning.remarks.rules import remarks_on
from engine.preference.blind_test import Contest, Pair, Session
from engine.preference.judgement_log import Judgements, Side
from engine.preference.ranking import rank
from engine.preflight.checks import Preflight
from engine.runs.events import AnyEvent, Evaluated, Failed, Prepared, Sampled, Warned
from engine.spec.plan import make_plan
from engine.spec.round import Status, Trial
from engine.spec.schema import ModelSpec
from engine.sweeps.answer import SweepAnswer
from engine.sweeps.progress import progress_of
from engine.sweeps.sweep import Sweep
from engine.system.telemetry import GpuSample, MachineSample
from tests.support.hostile import (
    CapturedApp,
)
from tests.support.hostile_rounds import hostile_round, preview_of
from tests.support.judged import preferred
from tests.support.rounds import make_round, make_spec
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
    SweepAnswered,
    SweepsRead,
)
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.settings_dialog import ChatSettingsScreen
from tui.screens.compare.lineage_screen import LineageScreen
from tui.screens.compare.screen import CompareScreen
from tui.screens.compare.table import CompareTable
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.dialogs.copy import Copy, CopyScreen
from tui.screens.dialogs.help import HelpScreen
from tui.screens.dialogs.palette import Palette
from tui.screens.dialogs.too_small import TooSmallScreen
from tui.screens.dialogs.welcome import WelcomeScreen
from tui.screens.form.lists.target_modules import TargetModulesScreen
from tui.screens.form.preview_screen import PreviewScreen
from tui.screens.form.remarks_screen import RemarksScreen
from tui.screens.form.screen import EditScreen
from tui.screens.form.start_from import Origin, StartFromScreen
from tui.screens.preference.screen import JudgeScreen
from tui.screens.rounds.column_layout import ColumnLayout
from tui.screens.rounds.columns_dialog import ColumnsScreen
from tui.screens.rounds.queue_screen import QueueScreen
from tui.screens.rounds.screen import RoundsScreen
from tui.screens.run.screen import LiveScreen
from tui.screens.sweep.screen import SweepScreen
from tui.widgets.line_editor import LineEditor

MOVING = dict.fromkeys(map(ord, "\r\b\x1b"))  # what moves the cursor of a log

Show = Callable[[CapturedApp, str], Awaitable[None]]


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
        screen.line.close()
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


async def show_live(app: CapturedApp, text: str) -> None:
    round_ = hostile_round(text, status=Status.RUNNING)
    screen = LiveScreen(app.cockpit, round_)
    silence(screen, "_follow_machine")
    silence(screen, "_follow_run")
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
    # A carriage return in a log puts what follows over the beginning of its line, so the last line has none.
    log = f"{text}\nlog={text}\nlog={text.translate(MOVING)}"
    screen.post_message(RunAdvanced(round_, events, log))
    gpu = GpuSample(0, f"gpu={text}", None, None, None, None, None)
    screen.post_message(MachineSampled(MachineSample(1.0, 1, 2, (gpu,), "")))
    await app.drawn()
    screen.post_message(MachineSampled(MachineSample(1.0, 1, 2, (), f"nvml={text}")))


async def show_samples(app: CapturedApp, text: str) -> None:
    round_ = hostile_round(text, status=Status.FINISHED)
    screen = LiveScreen(app.cockpit, round_)
    silence(screen, "_follow_machine")
    silence(screen, "_follow_run")
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
    silence(screen, "_check")  # or its outcome takes the place of one below, if the machine is slow
    await app.push_screen(screen)
    await app.drawn()
    screen._spec = round_.spec
    rows = RowCount(DetectedFormat(f"format={text}", (f"column={text}",)), 5, 0, PlainText("a row"), None)
    checked = Preflight(round_.plan, (f"warning={text}",), rows)
    device = Device(f"card={text}", is_gpu=True, free=2**30, total=2**31, bfloat16=True)
    need = MemoryNeed(1, 1, 1, 1, 1, 1, 512, False, 1, 2**30, "fits")
    screen.post_message(SpecChecked(Forecast(checked, device, None, need, None, None, ())))
    await app.drawn()
    screen.post_message(SpecChecked(LoratuiError(f"refused={text}")))
    screen.post_message(ActionFailed(LoratuiError(f"failed={text}")))


async def show_preset_form(app: CapturedApp, text: str) -> None:
    screen = EditScreen(app.cockpit, Origin(make_spec(), f"preset={text}"), Path("/"))
    silence(screen, "_check")
    await app.push_screen(screen)


async def show_preset_source(app: CapturedApp, text: str) -> None:
    """The source by itself: one line names both, and a long name leaves it no place there."""
    screen = EditScreen(app.cockpit, Origin(make_spec(), "chat", source=f"source={text}"), Path("/"))
    silence(screen, "_check")
    await app.push_screen(screen)


async def show_remarks_on_it(app: CapturedApp, text: str) -> None:
    spec = make_spec(lora__target_modules=(f"module={text}.q_proj",))
    await app.push_screen(RemarksScreen(remarks_on(Case(spec, make_plan(spec, 60)))))


async def show_preview(app: CapturedApp, text: str) -> None:
    screen = PreviewScreen(app.cockpit, make_spec())
    screen._row_loading = True  # no process is started; what one would say is said below
    await app.push_screen(screen)
    for outcome in (LoratuiError(f"refused={text}"), preview_of(text, problem=True), preview_of(text, problem=False)):
        screen.post_message(RowPreviewed(outcome))
        await app.drawn()


async def show_queue(app: CapturedApp, text: str) -> None:
    rounds = [hostile_round(text, 7, Status.RUNNING), hostile_round(text, 8, Status.QUEUED)]
    await app.push_screen(QueueScreen(app.cockpit, rounds))


async def show_sweep(app: CapturedApp, text: str) -> None:
    screen = SweepScreen(app.cockpit, None, {}, lambda: None)
    for worker in ("_follow", "_compare"):
        silence(screen, worker)
    await app.push_screen(screen)
    sweep = Sweep(
        number=1, name=f"name={text}", note=f"note={text}", ranges={"model.path": f"range={text}"}, spec=make_spec(),
        trials=2, stopped=1.0, message=f"message={text}", created=0.0,
    )  # fmt: skip
    trials = [
        Trial(sweep=1, setting=1, point={"model.path": f"point={text}"}),
        Trial(sweep=1, setting=2, point={"model.path": "plain"}),
    ]
    rounds = [make_round(number, trial=trial) for number, trial in enumerate(trials, 6)]
    progress = progress_of(sweep, rounds)
    screen.post_message(SweepsRead([progress]))
    await app.drawn()
    screen.post_message(SweepAnswered(progress, SweepAnswer((f"answer={text}",), {})))


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

    screen = AskScreen(f"question={text}", f"text={text}", refuse, app.cockpit.drafts.edit("answer"))
    await app.push_screen(screen)
    await app.drawn()
    field = screen.query_one(Input)
    await field.action_submit()
    field.action_home()  # or a text that is longer than its field is shown from its end
    field.cursor_position = len("text=")  # the cursor is drawn apart from what stands before it


async def show_modules(app: CapturedApp, text: str) -> None:
    counts = {f"linear={text}": 3, f"other={text}": None}
    await app.push_screen(TargetModulesScreen("Modules", counts, (f"chosen={text}",)))


async def show_welcome(app: CapturedApp, text: str) -> None:
    await app.push_screen(WelcomeScreen(Path(f"directory={text}"), leftovers=True))


async def show_copies(app: CapturedApp, text: str) -> None:
    await app.push_screen(CopyScreen([Copy(f"title={text}", f"text={text}")]))


async def show_chat(app: CapturedApp, text: str) -> None:
    speakers = (
        Speaker("0008-a", 8, f"other={text}"), Speaker("0007-a", 7, f"name={text}", f"template={text}"),
    )  # fmt: skip
    talk = Chat(ModelSpec(f"model={text}"), speakers).with_message(f"said={text}")
    talk = talk.with_answer("0007-a", ChatAnswer(f"answer={text}", 1, 1, 1.0))
    talk = talk.with_answer("0008-a", ChatAnswer("", refusal=f"refusal={text}"))
    screen = ChatScreen(app.cockpit, talk, [])
    silence(screen, "open_model")
    await app.push_screen(screen)
    screen.show()
    await app.drawn()
    screen.silent["0008-a"] = f"silent={text}"
    screen.connection.trouble = f"trouble={text}"
    screen._waiting = ("0007-a",)
    screen.conversation = talk.with_message("and on")
    screen.post_message(AnswerGrew(screen.connection._session_id, "0007-a", f"growing={text}"))
    screen.show()


async def show_chat_settings(app: CapturedApp, text: str) -> None:
    settings = ChatSettings(prompt_template=f"template={text}", system=f"system={text}")
    await app.push_screen(ChatSettingsScreen(settings, app.cockpit.drafts.edit("settings")))


async def show_choice(app: CapturedApp, text: str) -> None:
    await app.push_screen(ChooseScreen(f"question={text}", [(f"title={text}", f"told={text}")]))


async def show_too_small(app: CapturedApp, text: str) -> None:
    await app.push_screen(TooSmallScreen([app.screen]))  # which has no text but its own


async def show_palette(app: CapturedApp, text: str) -> None:
    palette = Palette()
    await app.push_screen(palette)
    await app.drawn()
    palette.query_one(Input).value = text  # as by a paste; nothing that it finds is anybody's text


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
        (show_preset_source, "source"),
    ],
    "RemarksScreen": [(show_remarks_on_it, "module")],
    "PreviewScreen": [(show_preview, "refused format column warning problem prompt answer cut")],
    "QueueScreen": [(show_queue, "name message")],
    "SweepScreen": [(show_sweep, "name note range message point answer")],
    "CompareScreen": [(show_compare, "name model data module note")],
    "LineageScreen": [(show_lineage, "name note message model data module")],
    "JudgeScreen": [(show_judge, "refused prompt first second expected unwritten"), (show_judged, "name base other")],
    "StartFromScreen": [(show_start_from, "name note")],
    "ConfirmScreen": [(show_question, "question yes")],
    "AskScreen": [(show_ask, "question text refused")],
    "TargetModulesScreen": [(show_modules, "linear other chosen")],
    "WelcomeScreen": [(show_welcome, "directory")],
    "CopyScreen": [(show_copies, "title text")],
    "ChatScreen": [(show_chat, "model name template other said answer refusal silent trouble growing")],
    "ChatSettingsScreen": [(show_chat_settings, "template system")],
    "ChooseScreen": [(show_choice, "question title told")],
    "TooSmallScreen": [(show_too_small, "")],
    "HelpScreen": [(show_help, "group key tooltip")],
    "Palette": [(show_palette, "")],
}


def silence(screen: Screen[Any], worker: str) -> None:
    """Keep a screen from asking a process, the disk or the machine: what that would say is said by who shows it."""
    setattr(screen, worker, lambda *_: None)


def hostile_contest(text: str) -> Contest:
    pair = Pair("a", f"prompt={text}", f"expected={text}", f"first={text}", f"second={text}")
    return Contest(Side("some/model"), Side("some/model", make_round(7).id, 1), (pair,), 0, True)
