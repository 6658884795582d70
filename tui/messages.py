"""The messages between threads and screens: each states something that happened, with frozen engine values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from textual.message import Message

from engine.alerts.run_monitor import Alarm, RunProgress
from engine.errors import LoratuiError
from engine.spec.round import Round

if TYPE_CHECKING:  # the first screen must not wait for imports that it does not need
    from engine.chat.conversation import ChatAnswer
    from engine.chat.protocol import Loaded
    from engine.compare.extra_evaluations import EvaluationSummary
    from engine.compare.verdict import Verdict
    from engine.dataset.preview import Preview
    from engine.planning.forecast import Forecast
    from engine.preference.blind_test import Session
    from engine.preference.judgement_log import Judgement, Retraction
    from engine.preference.ranking import Ranking
    from engine.preference.win_rate import WinRate
    from engine.runner.queue_outlook import QueueOutlook
    from engine.runs.curve import Steps
    from engine.runs.disk_forecast import DiskNeed
    from engine.runs.events import AnyEvent
    from engine.runs.snapshot import RunSnapshot
    from engine.sweeps.answer import SweepAnswer
    from engine.sweeps.progress import Progress
    from engine.system.process_memory import TreeSample
    from engine.system.telemetry import MachineSample


class RoundsRead(Message):
    """The store was read, because it changed; `notices` are sentences on what is wrong with it."""

    def __init__(self, rounds: Sequence[Round], notices: Sequence[str] = ()) -> None:
        super().__init__()
        self.rounds = rounds
        self.notices = notices


class StoreUnreadable(Message):
    """The store is missing, or cannot be read."""

    def __init__(self, error: LoratuiError) -> None:
        super().__init__()
        self.error = error


class RunAdvanced(Message):
    """A run has new events or log text.

    `round` was read from the store before the events: if its status says it has ended, the events are complete. `log`
    is the text added to the log. `run` is the snapshot to apply the events to, None for none.
    """

    def __init__(
        self, round_: Round, events: Sequence[AnyEvent | Steps], log: str = "", run: RunSnapshot | None = None
    ) -> None:
        super().__init__()
        self.round = round_
        self.events = events
        self.log = log
        self.run = run


class RunsWatched(Message):
    """Running rounds have advanced or raised alarms; `progress` is by number."""

    def __init__(self, progress: Mapping[int, RunProgress], alarms: Sequence[Alarm] = ()) -> None:
        super().__init__()
        self.progress = progress
        self.alarms = alarms


class QueueForeseen(Message):
    """The machine was asked how the queue will go on."""

    def __init__(self, outlook: QueueOutlook) -> None:
        super().__init__()
        self.outlook = outlook


class MachineSampled(Message):
    """The load of the machine and the share of a round in it were measured, at `at` seconds of the monotonic clock."""

    def __init__(self, sample: MachineSample, share: RoundShare | None = None, at: float = 0.0) -> None:
        super().__init__()
        self.sample = sample
        self.share = share or RoundShare()
        self.at = at


class SpecChecked(Message):
    """A spec was checked; `outcome` says what its round would be, or why it cannot be trained."""

    def __init__(self, outcome: Forecast | LoratuiError) -> None:
        super().__init__()
        self.outcome = outcome


class RowPreviewed(Message):
    """A row was rendered as it will be trained on; or it cannot be, and `outcome` says why."""

    def __init__(self, outcome: Preview | LoratuiError) -> None:
        super().__init__()
        self.outcome = outcome


class EvaluationsRead(Message):
    """The evaluations of a round on other files were read; `id` is the round's."""

    def __init__(self, id: str, evaluations: Sequence[EvaluationSummary]) -> None:
        super().__init__()
        self.id = id
        self.evaluations = evaluations


class VerdictsReached(Message):
    """Rounds were compared with the first of them; `verdicts` belong to `rounds` as they were at that time."""

    def __init__(self, rounds: Sequence[Round], verdicts: Sequence[Verdict]) -> None:
        super().__init__()
        self.rounds = rounds
        self.verdicts = verdicts


class ChatNews(Message):
    """Something came from a chat process; `session_id` counts the processes that a screen has started."""

    def __init__(self, session_id: int) -> None:
        super().__init__()
        self.session_id = session_id


class ChatOpened(ChatNews):
    """The base model is loaded, or cannot be; `outcome` says which."""

    def __init__(self, session_id: int, outcome: Loaded | LoratuiError) -> None:
        super().__init__(session_id)
        self.outcome = outcome


class AnswerGrew(ChatNews):
    """The answer of the speaker `key` has grown: `text` is all of it so far."""

    def __init__(self, session_id: int, key: str, text: str) -> None:
        super().__init__(session_id)
        self.key = key
        self.text = text


class AnswerEnded(ChatNews):
    """The answer of the speaker `key` is complete, or was refused; `died` is True if the process ended over it."""

    def __init__(self, session_id: int, key: str, answer: ChatAnswer, *, died: bool = False) -> None:
        super().__init__(session_id)
        self.key = key
        self.answer = answer
        self.died = died


class ActionDone(Message):
    """An action was done; `text` tells the person."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class ActionFailed(Message):
    """An action could not be done."""

    def __init__(self, error: LoratuiError) -> None:
        super().__init__()
        self.error = error


class WriteRefused(Message):
    """The store could not be written; `again` repeats the action."""

    def __init__(self, error: LoratuiError, again: Callable[[], object]) -> None:
        super().__init__()
        self.error = error
        self.again = again


class NewRoundWanted(Message):
    """The person wants a new round; `selected` is the round under the cursor."""

    def __init__(self, selected: Round | None) -> None:
        super().__init__()
        self.selected = selected


class RunWanted(Message):
    """The person wants to see a round's run."""

    def __init__(self, round_: Round) -> None:
        super().__init__()
        self.round = round_


class RoundQueued(Message):
    """The form's round was queued."""

    def __init__(self, round_: Round) -> None:
        super().__init__()
        self.round = round_


class ContestOpened(Message):
    """The answers of two sides were read; `outcome` is the session to judge them, or the reason there is none."""

    def __init__(self, outcome: Session | LoratuiError) -> None:
        super().__init__()
        self.outcome = outcome


class JudgementWritten(Message):
    """A judgement is in the file; or it is not, and `error` says why."""

    def __init__(self, line: Judgement | Retraction, error: LoratuiError | None = None) -> None:
        super().__init__()
        self.line = line
        self.error = error


class RoundsRanked(Message):
    """All judgements were read, and the rounds put in order."""

    def __init__(self, ranking: Ranking) -> None:
        super().__init__()
        self.ranking = ranking


class PreferencesRead(Message):
    """The judgements were read; `rates` says how often each round was preferred, by its id."""

    def __init__(self, rates: Mapping[str, WinRate]) -> None:
        super().__init__()
        self.rates = rates


class SweepsRead(Message):
    """The sweeps were read, because one of them or a round changed."""

    def __init__(self, sweeps: Sequence[Progress]) -> None:
        super().__init__()
        self.sweeps = sweeps


class SweepAnswered(Message):
    """The finished settings of `progress` were compared."""

    def __init__(self, progress: Progress, answer: SweepAnswer) -> None:
        super().__init__()
        self.progress = progress
        self.answer = answer


class RoundShare(Struct, frozen=True):
    """The share of the machine that the round on screen uses and will need.

    Attributes:
        tree: its processes; None if it does not run.
        gpu: UUID of the GPU it was given, None for any.
        on_gpu: whether it trains on a GPU at all.
        disk_free: free bytes on the workspace's file system; None if unknown.
        disk_need: disk space that its checkpoints need; None if unknown, or if it does not run.
        talk_pids: chat processes on a GPU; they hold a model and train nothing.
    """

    tree: TreeSample | None = None
    gpu: str | None = None
    on_gpu: bool = False
    disk_free: int | None = None
    disk_need: DiskNeed | None = None
    talk_pids: frozenset[int] = frozenset()
