"""What happened outside the screen and is passed between rooms: past facts, each with frozen engine values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from textual.message import Message

from engine.alerts.run_monitor import Alarm, RunProgress
from engine.compare.extra_evaluations import EvaluationSummary
from engine.compare.verdict import Verdict
from engine.dataset.preview import Preview
from engine.errors import LoratuiError
from engine.preflight.checks import Preflight
from engine.runs.curve import Steps
from engine.runs.disk_forecast import DiskNeed
from engine.runs.events import AnyEvent
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Round
from engine.system.process_memory import TreeSample
from engine.system.telemetry import (
    MachineSample,
)

if TYPE_CHECKING:  # which the first table does not wait for
    from engine.chat.conversation import ChatAnswer
    from engine.chat.protocol import Loaded

if TYPE_CHECKING:  # the first screen does not wait for what only a judge needs
    from engine.preference.blind_test import Session
    from engine.preference.judgement_log import Judgement, Retraction
    from engine.preference.ranking import Ranking
    from engine.preference.win_rate import WinRate


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
    """A run has news. `round` is as the store had it before the events were read, so they are whole as far as its
    status goes; `log` is what was added to the text log, `run` what the events are to be folded into, if that matters.
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
    """The running rounds, by number, have advanced, or given cause for alarm."""

    def __init__(self, progress: Mapping[int, RunProgress], alarms: Sequence[Alarm] = ()) -> None:
        super().__init__()
        self.progress = progress
        self.alarms = alarms


class MachineSampled(Message):
    """The load of the machine was measured at `at` monotonic seconds, and what of it is a round's."""

    def __init__(self, sample: MachineSample, share: RoundShare | None = None, at: float = 0.0) -> None:
        super().__init__()
        self.sample = sample
        self.share = share or RoundShare()
        self.at = at


class SpecChecked(Message):
    """A spec was checked: its plan, or why it cannot be trained."""

    def __init__(self, outcome: Preflight | LoratuiError) -> None:
        super().__init__()
        self.outcome = outcome


class RowPreviewed(Message):
    """A row was rendered as it will be trained on, or why none can be."""

    def __init__(self, outcome: Preview | LoratuiError) -> None:
        super().__init__()
        self.outcome = outcome


class EvaluationsRead(Message):
    """What a round was scored on beside its own held-out rows is known; `id` is the round's."""

    def __init__(self, id: str, evaluations: Sequence[EvaluationSummary]) -> None:
        super().__init__()
        self.id = id
        self.evaluations = evaluations


class VerdictsReached(Message):
    """Whether rounds really differ from the first of them is known, for each as it stood then."""

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
    """Something asked for has been done; `text` tells the person."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class ActionFailed(Message):
    """Something asked for could not be done."""

    def __init__(self, error: LoratuiError) -> None:
        super().__init__()
        self.error = error


class WriteRefused(Message):
    """The store could not be written; `again` does what was asked for once more."""

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
    """What two sides answered was read: a judge's way through it; or it cannot be judged, and `outcome` says why."""

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
    """How often each round was preferred, by its id."""

    def __init__(self, rates: Mapping[str, WinRate]) -> None:
        super().__init__()
        self.rates = rates


class RoundShare(Struct, frozen=True):
    """What of the machine the round that is shown has, and will need.

    Attributes:
        tree: its processes; None if it does not run.
        gpu: UUID of the GPU it was given, None for any.
        on_gpu: whether it trains on a GPU at all.
        disk_free: in bytes on the workspace's file system; None where that is not known.
        disk_need: of its checkpoints; None while that is not known, or if it does not run.
        talk_pids: processes on a GPU that hold a model to talk to, which train nothing.
    """

    tree: TreeSample | None = None
    gpu: str | None = None
    on_gpu: bool = False
    disk_free: int | None = None
    disk_need: DiskNeed | None = None
    talk_pids: frozenset[int] = frozenset()
