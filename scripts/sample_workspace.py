"""A workspace to look at: the rounds of docs/five-rounds as they were at the moment `NOW`, while the fifth trained.

Everything that was measured is what the engine recorded. What a person does afterwards is added: a pin, tags,
judgements, and two rounds that wait. Added are also prompts with answers and an empty adapter, as neither is in
docs/five-rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from engine.chat.participants import ADAPTER_FILE
from engine.dataset.preview import Preview, Segment
from engine.dataset.rows import DetectedFormat
from engine.dataset.templates import WITHOUT_INPUT
from engine.files.ownership import make_directory
from engine.files.paths import RunDir, Workspace
from engine.planning.devices import Device
from engine.preference.blind_test import Session, open_contest
from engine.preference.judgement_log import Judgement, Judgements, Preference, Side, append_judgement
from engine.runs.event_log import EventWriter, read_events
from engine.runs.events import AnyEvent, Evaluated, Phase, Sampled, Started, Step, Warned
from engine.runs.scores import read_scores, write_scores
from engine.runs.spec_file import QueuedRound, encode_queued
from engine.spec.fields import build_spec, flatten
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.process import own_identity
from engine.system.process_memory import TreeSample
from engine.system.telemetry import MachineSample
from tui.messages import RoundShare

ROOT = Path(__file__).resolve().parents[1]
FIVE_ROUNDS = Workspace(ROOT / "docs" / "five-rounds")
NOW = 1_796_104_410.0  # what the clock says while the screens are drawn: round 5 is at step 54 of 87
DATA_FILE, ROWS = "alpaca_en_demo.json", 999
GIB = 1024**3


class SampleAnswer(NamedTuple):
    """The answers to an instruction: the expected one, the base model's and an adapter's, with their tokens.

    `prompt_tokens` are those of the instruction in Alpaca's prompt.
    """

    instruction: str
    expected: str
    base: str
    adapter: str
    prompt_tokens: int
    base_tokens: int
    adapter_tokens: int


# The instructions are ours. The answers are those of SmolLM2-135M-Instruct and, for an adapter's, of the settings of
# round 1 trained again for one epoch: greedy, at most 40 tokens.
ANSWERS = (
    SampleAnswer(
        "Name three things to pack for a rainy day.",
        "1. An umbrella. 2. A raincoat. 3. Waterproof shoes.",
        "1. A cooler with plenty of water\n2. A blanket to keep yourself warm\n3. A flashlight to keep yourself safe "
        "from the rain",
        "1. A cooler with plenty of coolers.\n2. A cooler with plenty of coolers.\n3. A cooler with plenty of coolers",
        40, 30, 32,
    ),
    SampleAnswer(
        "What is the capital of Portugal?",
        "The capital of Portugal is Lisbon.",
        "The capital of Portugal is Lisbon.",
        "The capital of Portugal is Lisbon.",
        37, 8, 8,
    ),
    SampleAnswer(
        "Write a polite reply to an invitation that you have to decline.",
        "Thank you for the invitation. I am sorry that I cannot come, and hope to see you another time.",
        "I appreciate your invitation to decline. I'm happy to discuss the details of the event.\n\n### Response:\nI'm "
        "happy to discuss the details of the event. I'm happy to discuss",
        "I'm sorry for any misunderstanding, but as a language AI, I'm designed to assist users with their requests. "
        "I'm not equipped to provide responses that are intended to be polite or helpful. I",
        43, 40, 40,
    ),
)  # fmt: skip
TAGS = {1: ("baseline",), 3: ("low-rate",), 5: ("low-rate",)}


class WaitingRound(NamedTuple):
    """A round that waits: what it changes in the best one, and why."""

    changes: dict[str, Any]
    status: Status
    name: str
    note: str


WAITING_ROUNDS = (
    WaitingRound({"lora.r": 32}, Status.QUEUED, "rank-32", "Does rank 32 help, or only cost memory?"),
    WaitingRound(
        {"lora.target_modules": "all-linear"}, Status.HELD, "all-linear",
        "Adapters on all linear layers, which none of the rounds tried.",
    ),
)  # fmt: skip


def make_workspace(directory: Path) -> Workspace:
    """Make a workspace in `directory`, which must have none. One round has the status running; nothing is trained."""
    make_directory(directory, parents=True)
    workspace = Workspace(directory)
    _write_rows(directory / DATA_FILE)
    rounds = [_at_now(round_) for round_ in RoundStore(FIVE_ROUNDS, readonly=True).rounds()]
    finished = [round_ for round_ in rounds if round_.result.perplexity is not None]
    best = min(finished, key=lambda round_: round_.result.perplexity or 0.0)
    store = RoundStore(workspace)
    store.create((*rounds,))
    for round_ in rounds:
        _replay(round_, workspace.run_dir(round_.id))
    store.update(best.number, pinned=True)
    for waiting in WAITING_ROUNDS:
        store.add(partial(_add_waiting, workspace, best, waiting))
    _judge(workspace, best, rounds[1])
    return workspace


def _write_rows(file: Path) -> None:
    """Write as many rows as the real data has, which the form counts; all alike."""
    row = {"instruction": ANSWERS[0].instruction, "output": ANSWERS[0].expected}
    file.write_bytes(msgspec.json.encode([row] * ROWS))


def _at_now(round_: Round) -> Round:
    """Return a round of the five as it was stored at `NOW`."""
    tagged = msgspec.structs.replace(round_, tags=TAGS.get(round_.number, ()))
    if round_.ended is not None and round_.ended <= NOW:
        result = msgspec.structs.replace(round_.result, adapter_dir=f"runs/{round_.id}/adapter")
        return msgspec.structs.replace(tagged, result=result)
    unfinished: dict[str, Any] = {"result": type(round_.result)(), "ended": None, "process": own_identity()}
    return msgspec.structs.replace(tagged, status=Status.RUNNING, **unfinished)


def _replay(round_: Round, run: RunDir) -> None:
    """Write the files of the run of a round as they were at `NOW`."""
    published = FIVE_ROUNDS.run_dir(round_.id)
    make_directory(run.path, parents=True)
    run.spec.write_bytes(published.spec.read_bytes())
    events = [*_events(published, round_)]
    writer = EventWriter(run.events)
    for event in events:
        writer.append(event)
        if isinstance(event, Evaluated) and (scores := read_scores(published, event.step)) is not None:
            write_scores(run, event.step, scores)
    writer.close()
    run.log.write_text("".join(f"{line}\n" for line in _log_lines(round_, events)))
    if round_.status is Status.FINISHED:
        make_directory(run.adapter)
        (run.adapter / ADAPTER_FILE).write_text("{}")


def _events(published: RunDir, round_: Round) -> Iterator[AnyEvent]:
    """Yield the events until `NOW`, with sample answers after each evaluation."""
    for event in read_events(published.events):
        if event.time > NOW:
            return
        if isinstance(event, Started) and round_.process is not None:
            yield msgspec.structs.replace(event, process=round_.process)
        else:
            yield event
        if isinstance(event, Evaluated):
            for answer in ANSWERS:
                yield Sampled(
                    time=event.time,
                    step=event.step,
                    prompt=WITHOUT_INPUT.format(instruction=answer.instruction),
                    expected=answer.expected,
                    text=answer.adapter if event.step else answer.base,
                )


def _log_lines(round_: Round, events: Iterable[AnyEvent]) -> Iterator[str]:
    """Yield the lines that the engine prints with the phases, warnings, evaluations and steps among these events."""
    phase, losses = "", list[float]()
    for event in events:
        match event:
            case Phase() if event.name != phase:
                phase = event.name
                yield f"{phase} ..."
            case Warned():
                yield f"warning: {event.message}"
            case Evaluated():
                yield f"{event.model}: eval loss {event.eval_loss:.4f} over {event.supervised_tokens} tokens"
            case Step():
                losses.append(event.loss or 0.0)
                if len(losses) == round_.spec.train.logging_steps:
                    yield _log_line(event, round_.plan.total_steps, fmean(losses))
                    losses.clear()


def _log_line(step: Step, total_steps: int | None, loss: float) -> str:
    return (
        f"step {step.step}/{total_steps}  epoch {step.epoch:.2f}  loss {loss:.4f}  lr {step.learning_rate:.2e}  "
        f"{step.trained_tokens / step.train_seconds:,.0f} tokens/s"
    )


def _add_waiting(workspace: Workspace, parent: Round, waiting: WaitingRound, number: int) -> Round:
    """Write the spec of a round that waits, and return the round."""
    spec = build_spec(flatten(parent.spec) | waiting.changes)
    queued = QueuedRound(
        id=f"{number:04d}-{number:08x}", number=number, name=waiting.name, note=waiting.note, parent=parent.number,
        created=NOW, plan=parent.plan, spec=spec,
    )  # fmt: skip
    run = workspace.run_dir(queued.id)
    make_directory(run.path)
    run.spec.write_bytes(encode_queued(queued))
    return Round(
        id=queued.id, number=number, name=queued.name, status=waiting.status, note=queued.note, parent=parent.number,
        spec=spec, plan=queued.plan, created=NOW, turn=NOW,
    )  # fmt: skip


def _judge(workspace: Workspace, best: Round, other: Round) -> None:
    """Write judgements: the best round always beats its base model, and beats the other one more often than not."""
    judge = Session(open_contest(workspace, best, None), Judgements())
    while (pair := judge.current) is not None:
        judge.keep(line := judge.judge("left" if judge.answers(pair)[0] == pair.second else "right"))
        append_judgement(workspace.judgements, line)
    sides = [Side(round_.spec.model.path, round_.id, round_.plan.total_steps or 0) for round_ in (best, other)]
    verdicts: Sequence[Preference] = ["first", "second", "first", "tie", "first", "skip"] * 4
    for number, verdict in enumerate(verdicts):
        line = Judgement(
            id=f"{number:016x}", time=NOW, prompt=f"{number:032x}", first=sides[0], second=sides[1],
            first_on_left=number % 3 == 0, seed="0", prompts=len(verdicts), verdict=verdict,
        )  # fmt: skip
        append_judgement(workspace.judgements, line)


def sample_machine() -> tuple[MachineSample, RoundShare]:
    """Return the load of a machine as that of the five rounds, without a GPU, and the share of the running round."""
    absence = "no NVIDIA GPU: NVML Shared Library Not Found"
    machine = MachineSample(
        cpu_percent=98.0, memory_used=round(7.1 * GIB), memory_total=23 * GIB, gpus=(), gpu_absence=absence
    )
    return machine, RoundShare(tree=TreeSample(frozenset(), round(5.3 * GIB)), disk_free=212 * GIB)


def sample_device() -> Device:
    """Return the processor of that machine, for plans."""
    machine, share = sample_machine()
    assert share.tree is not None
    free = machine.memory_total - machine.memory_used + share.tree.resident_bytes
    return Device("this processor", False, free, machine.memory_total, bfloat16=True)


class SamplePreviewer:
    """A replacement for `engine.dataset.preview.Previewer`: the figures are those of the real rows, the text is not.

    The figures are what `Previewer` answers for the 999 rows with SmolLM2-135M-Instruct, and for this text as a row.
    """

    def __init__(self, spec: Spec) -> None:
        self._max_length = spec.data.max_length

    def show(self, row: int) -> Preview:
        answer = ANSWERS[0]
        segments = (
            Segment(WITHOUT_INPUT.format(instruction=answer.instruction), supervised=False, cut=False),
            Segment(f"{answer.expected}<|im_end|>", supervised=True, cut=False),
        )
        return Preview(
            format=DetectedFormat("alpaca", ("instruction", "output")), rows=ROWS, left_out=0, warnings=(), row=1,
            problem=None, segments=segments, tokens=60, supervised_tokens=20, max_length=self._max_length,
            measured=ROWS, longest=763, longer=25, shortest=47,
            histogram=(
                166, 169, 85, 87, 65, 53, 57, 33, 51, 42, 52, 38, 38, 20, 9, 14, 7, 9, 1, 1, 1, 0, 0, 1,
            ),
        )  # fmt: skip

    def close(self) -> None:
        """Do nothing: this previewer has no process."""
