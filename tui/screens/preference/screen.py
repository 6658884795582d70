"""The blind test: two answers to the same prompt, whose rounds stay hidden until all prompts are judged."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from engine.api import Cockpit
from engine.errors import LoratuiError
from engine.preference.blind_test import ADVICE, Choice, Contest, Session, open_contest
from engine.preference.judgement_log import Judgement, Retraction, append_judgement, read_judgements
from engine.preference.ranking import Ranking, rank
from engine.preference.win_rate import finished, preference_words
from engine.spec.round import Round
from tui.messages import ContestOpened, JudgementWritten, RoundsRanked
from tui.screens.dialogs.confirm import confirm
from tui.screens.preference.answer_pair import AnswerPair
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean
from tui.views.ranking import RankingTable, ranking_remarks
from tui.widgets.key_footer import KeyFooter


class JudgeScreen(WorkspaceScreen):
    """A blind test of two rounds, or of `one` and its base model. Each judgement is saved before the next prompt."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "judge('left')", "Left", id="judge.left", tooltip="The left (or upper) answer is better"),
        Binding(
            "right,l", "judge('right')", "Right", id="judge.right", tooltip="The right (or lower) answer is better"
        ),
        Binding("t,equals_sign", "judge('tie')", "Tie", tooltip="Neither answer is better", id="judge.tie"),
        Binding(
            "s", "skip", "Skip", id="judge.skip",
            tooltip="Skip this prompt; at the end: go back to the skipped prompts",
        ),
        Binding(
            "enter", "reveal", "Result", id="judge.result",
            tooltip="Show which round was preferred; asks first if prompts remain",
        ),
        Binding("z", "take_back", "Take back", tooltip="Undo the last judgement", id="judge.undo"),
        Binding(
            "r", "reference", "Reference", id="judge.reference",
            tooltip="Show or hide the expected answer from the data",
        ),
        Binding("escape", "leave", "Leave", tooltip="Back to the table; all judgements are saved", id="judge.leave"),
    ]  # fmt: skip

    def __init__(self, cockpit: Cockpit, one: Round, other: Round | None) -> None:
        super().__init__(cockpit)
        self._one, self._other = one, other
        self._session: Session | None = None
        self._writing = False
        self._revealed = False
        self._reference = False

    def compose(self) -> ComposeResult:
        yield Static(Content.styled("Blind test", "bold"), id="title", markup=False)
        yield AnswerPair(id="answers")
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(AnswerPair).show_message("reading the answers ...")
        self.query_one(AnswerPair).focus()
        self._open()

    @work(thread=True, group="judge")
    def _open(self) -> None:
        workspace = self.cockpit.workspace
        try:
            contest = open_contest(workspace, self._one, self._other)
            self.post_message(ContestOpened(Session(contest, read_judgements(workspace.judgements))))
        except LoratuiError as error:
            self.post_message(ContestOpened(error))

    @on(ContestOpened)
    def _begin(self, event: ContestOpened) -> None:
        if isinstance(event.outcome, LoratuiError):
            error = Content.styled(f"✗ {clean(event.outcome.message)}", "bold $text-error")
            self.query_one(AnswerPair).show_message(error)
            return
        self._session = event.outcome
        self._show()

    def _show(self) -> None:
        """Show the current prompt with its answers; at the end, say that all are judged."""
        session = self._session
        assert session is not None
        self._revealed = False
        pane = self.query_one(AnswerPair)
        if (pair := session.current) is None:
            self._title(f"{session.total} of {session.total}")
            pane.show_message(
                "All prompts are judged: enter shows which round was preferred, z undoes the last judgement."
            )
        else:
            self._title(f"{session.done + 1} of {session.total}   which answer is better?")
            pane.ask(pair.prompt, *session.answers(pair), pair.expected if self._reference else None)
        self.refresh_bindings()

    def _title(self, text: str) -> None:
        self.query_one("#title", Static).update(Content.assemble(("Blind test", "bold"), f"   {text}"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys for a prompt where none is shown."""
        if action in ("judge", "reference", "skip") and self.why_not(action, parameters):
            return False
        return super().check_action(action, parameters)

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str:
        if action not in ("judge", "reference", "take_back", "reveal", "skip"):
            return super().why_not(action, parameters)
        session = self._session
        if session is None:
            return "there are no answers to judge yet"
        if action == "skip" and session.current is None and session.skipped:
            return ""
        if self._revealed:
            return "this test is finished: {judge.leave} leaves it"
        if action in ("take_back", "reveal"):
            return "" if session.done else "nothing is judged yet"
        return "" if session.current is not None else "all prompts are judged"

    def action_judge(self, choice: Choice) -> None:
        if self._session is not None and self._session.current is not None:
            self._save(self._session.judge(choice))

    def action_skip(self) -> None:
        """Skip the current prompt; at the end, go back to the skipped ones."""
        if self._session is not None and self._session.current is None:
            self._session.ask_skipped()
            self._show()
        else:
            self.action_judge("skip")

    def action_take_back(self) -> None:
        if self._session is not None and (line := self._session.take_back()) is not None:
            self._save(line)

    def _save(self, line: Judgement | Retraction) -> None:
        """Save one judgement at a time: a key pressed meanwhile would judge a pair that nobody has seen yet."""
        if not self._writing:
            self._writing = True
            self._write(line)

    @work(thread=True, group="judge")
    def _write(self, line: Judgement | Retraction) -> None:
        try:
            self.cockpit.store.check_writable()
            append_judgement(self.cockpit.workspace.judgements, line)
        except LoratuiError as error:
            self.post_message(JudgementWritten(line, error))
        else:
            self.post_message(JudgementWritten(line))

    @on(JudgementWritten)
    def _go_on(self, event: JudgementWritten) -> None:
        self._writing = False
        if event.error is not None:
            self.notify(clean(event.error.message), title=event.error.title, severity="error", markup=False)
        elif self._session is not None:
            self._session.keep(event.line)
            self._show()

    def action_reference(self) -> None:
        self._reference = not self._reference
        self._show()

    def action_reveal(self) -> None:
        """Show the result; ask first if prompts remain, as they could not be judged blind any more."""
        session = self._session
        if session is None or session.current is None:
            self._reveal()
            return
        judged = f"{session.done} of {session.total} prompts are judged"
        question = f"{judged}. Once you know the result, you cannot judge the rest blind."
        confirm(self.app, question, "Show it", self._reveal)

    def _reveal(self) -> None:
        self._revealed = True
        self.refresh_bindings()
        self._rank()

    @work(thread=True, exclusive=True, group="rank")
    def _rank(self) -> None:
        try:
            judgements = finished(read_judgements(self.cockpit.workspace.judgements))
            self.post_message(RoundsRanked(rank(judgements, self.cockpit.store.rounds())))
        except LoratuiError:
            self.post_message(RoundsRanked(Ranking()))  # the result of this test is known without the ranking

    @on(RoundsRanked)
    def _show_result(self, event: RoundsRanked) -> None:
        if not self._revealed or self._session is None:
            return
        lines: list[RenderableType] = [Text(self._result(self._session), "bold"), *self._remarks(self._session)]
        if len(event.ranking.places) > 2:
            lines += ["", Text("All rounds that were judged", "bold"), RankingTable(event.ranking), ""]
            lines += ranking_remarks(event.ranking)
        self._title(f"result after {self._session.done} of {self._session.total}")
        self.query_one(AnswerPair).show_message(
            Group(*(Text(part) if isinstance(part, str) else part for part in lines))
        )

    def _result(self, session: Session) -> str:
        contest = session.contest
        sentence = preference_words(self._side_name(contest, 0), self._side_name(contest, 1), session.rate)
        return f"{sentence[:1].upper()}{sentence[1:]}."

    def _side_name(self, contest: Contest, side: int) -> str:
        run = (contest.first, contest.second)[side].run
        rounds = [one for one in (self._one, self._other) if one is not None and one.id == run]
        return f"round {rounds[0].number}" if rounds else "the base model"

    def _remarks(self, session: Session) -> list[str]:
        contest, rate = session.contest, session.rate
        remarks = []
        if rate.count:
            counted = [(rate.wins, self._side_name(contest, 0)), (rate.losses, self._side_name(contest, 1))]
            counted.sort(reverse=True)
            remarks.append(", ".join([*(f"{count} for {name}" for count, name in counted), f"{rate.ties} tied."]))
        if contest.alike:
            remarks.append(f"Not asked and not counted, as both answers are the same: {contest.alike}.")
        if session.skipped:
            remarks.append(f"Skipped: {session.skipped}; press s to go back to them.")
        if contest.sampled:
            remarks.append(f"The prompts were the few samples of training; for more of them {ADVICE}.")
        return remarks

    @property
    def exit_message(self) -> str:
        session = self._session
        if session is None or session.current is None or not session.done:
            return ""
        return f"{session.done} of {session.total} judgements are saved: press b on the same rounds to continue"

    def action_leave(self) -> None:
        if self.exit_message:
            self.notify(self.exit_message, markup=False)
        self.app.pop_screen()
