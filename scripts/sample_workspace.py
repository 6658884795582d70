"""A workspace to look at: the five rounds that ship with loratui, and a family of rounds after them that is made up.

Nothing is trained for it. Its curves, answers and times come from formulas, and are the same on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine.chat.participants import ADAPTER_FILE
from engine.compare.bootstrap import mean_per_token
from engine.dataset.preview import Preview, Segment
from engine.dataset.rows import DetectedFormat
from engine.files.paths import RunDir, Workspace
from engine.preference.blind_test import Session, open_contest
from engine.preference.judgement_log import Judgement, Judgements, Preference, Side, append_judgement
from engine.runs.event_log import EventWriter
from engine.runs.events import (
    AnyEvent,
    Evaluated,
    Finished,
    Phase,
    Prepared,
    Sampled,
    Saved,
    Started,
    Step,
)
from engine.runs.scores import Scores, write_scores
from engine.runs.spec_file import QueuedRound, encode_queued
from engine.spec.fields import build_spec, flatten
from engine.spec.plan import Plan, make_plan
from engine.spec.round import Result, Round, Status
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.system.nvml import GpuSample
from engine.system.process import own_identity
from engine.system.telemetry import MachineSample
from scripts.shipped_rounds import shipped_rounds
from tui.messages import RoundShare

ROOT = Path(__file__).resolve().parents[1]
NOW = 1_795_000_000.0  # what the clock says while the screens are drawn
DAY = 86_400.0
STEP_SECONDS = 5.4
STEP_TOKENS = 5_200
BASE_LOSS = 1.62
HELD_OUT = 260  # rows
GIB = 1024**3
PROMPT = "Below is an instruction.\n\n### Instruction:\n{}\n\n### Response:\n"
ANSWERS = (  # instruction, expected, the base model's answer, the adapter's
    (
        "Give three tips for staying healthy.",
        "1. Eat a balanced diet. 2. Exercise regularly. 3. Get enough sleep.",
        "Give three tips for staying healthy. Give three tips for staying",
        "1. Eat a varied diet with plenty of vegetables. 2. Move every day. 3. Sleep enough.",
    ),
    (
        "What is the capital of France?",
        "The capital of France is Paris.",
        "What is the capital of Germany? What is the capital of",
        "The capital of France is Paris.",
    ),
)
# parent, what is changed, status, how far it came, the loss it falls to, name, note, tags
FAMILY: tuple[tuple[int, dict[str, Any], Status, float, float, str, str, tuple[str, ...]], ...] = (
    (
        3,
        {
            "lora.r": 16, "lora.target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "train.num_train_epochs": 3,
            "train.warmup_steps": 50,
        },
        Status.FINISHED, 1.0, 1.188, "attention",
        "All of attention instead of q and v, and twice the rank: is it the adapter that is too small?", ("attention",),
    ),
    (
        6, {"train.learning_rate": 1e-3}, Status.FAILED, 0.3, 1.3, "attention-fast",
        "Fifty times the learning rate, to see where it breaks.", ("attention",),
    ),
    (
        6, {"train.learning_rate": 1e-4}, Status.FINISHED, 1.0, 1.141, "attention-1e-4",
        "It was the rate after all: five times as much is better still, and nothing overfits yet.",
        ("attention", "best"),
    ),
    (
        8, {"train.num_train_epochs": 4}, Status.RUNNING, 0.62, 1.118, "attention-long",
        "One more epoch at the rate that did best.", ("attention",),
    ),
    (8, {"lora.r": 32}, Status.QUEUED, 0.0, 0.0, "attention-r32", "Does rank 32 help, or only cost memory?", ()),
    (8, {"data.samples": 5200}, Status.HELD, 0.0, 0.0, "more-data", "Twice the rows, when there is a night for it", ()),
)  # fmt: skip
FIRST_NEW, BEST = 6, 8


def make_workspace(directory: Path) -> Workspace:
    """Make a workspace in `directory`, which must have none. One round has the status running; nothing is trained."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "experiments.json").write_bytes(shipped_rounds())
    workspace = Workspace(directory)
    store = RoundStore(workspace)
    store.make_home_here()
    for index, (parent, changes, status, share, level, name, note, tags) in enumerate(FAMILY):
        number = FIRST_NEW + index
        spec = build_spec(flatten(store.get(parent).spec) | changes)
        plan = make_plan(spec, spec.data.samples)
        begun = NOW - DAY * (len(FAMILY) - index) if status is not Status.RUNNING else NOW - 5_000
        queued = QueuedRound(
            id=f"{number:04d}-{number:08x}", number=number, name=name, note=note, parent=parent, created=begun,
            plan=plan, spec=spec,
        )  # fmt: skip
        run = workspace.run_dir(queued.id)
        run.path.mkdir(parents=True)
        run.spec.write_bytes(encode_queued(queued))
        round_ = Round(
            id=queued.id, number=number, name=name, status=status, note=note, tags=tags, pinned=number == BEST,
            parent=parent, spec=spec, plan=plan, created=begun, turn=begun,
        )  # fmt: skip
        if share:
            steps = round(_steps(plan)[0] * share)
            events = list(_events(round_, steps, level, begun + 20, random.Random(number)))
            _write(run, events)
            for event in events:
                if isinstance(event, Evaluated) and event.eval_loss is not None:
                    write_scores(run, event.step, _scores(event.eval_loss, random.Random(number)))
            round_ = _after(round_, events)
        store.add(partial(_unchanged, round_))
    _judge(workspace, store.get(FIRST_NEW), store.get(BEST))
    return workspace


def _unchanged(round_: Round, number: int) -> Round:
    """Return the round for `RoundStore.add`; it has this number already."""
    return round_


def _judge(workspace: Workspace, first: Round, best: Round) -> None:
    """Write judgements: the best round always beats its base model, and beats the first round more often than not."""
    judge = Session(open_contest(workspace, best, None), Judgements())
    while (pair := judge.current) is not None:
        judge.keep(line := judge.judge("left" if judge.answers(pair)[0] == pair.second else "right"))
        append_judgement(workspace.judgements, line)
    sides = [Side(each.spec.model.path, each.id, _steps(each.plan)[0]) for each in (first, best)]
    verdicts: list[Preference] = ["second", "first", "second", "tie", "second", "skip"] * 4
    for number, verdict in enumerate(verdicts):
        line = Judgement(
            id=f"{number:016x}", time=NOW - DAY, prompt=f"{number:032x}", first=sides[0], second=sides[1],
            first_on_left=number % 3 == 0, seed="0", prompts=len(verdicts), verdict=verdict,
        )  # fmt: skip
        append_judgement(workspace.judgements, line)


def _events(round_: Round, steps: int, level: float, start: float, chance: random.Random) -> Iterator[AnyEvent]:
    """Yield the events of a round with `steps` steps that starts at `start` seconds since the epoch."""
    plan, (total, per_epoch) = round_.plan, _steps(round_.plan)
    yield Started(time=start, process=own_identity())
    yield Prepared(
        time=start + 40, device="cuda", dtype="float16", parameters=1_104_553_984, trainable_parameters=4_505_600,
        train_samples=plan.train_samples or 0, eval_samples=plan.eval_samples or 0, total_steps=total,
        steps_per_epoch=per_epoch,
    )  # fmt: skip
    yield from _evaluation(0, BASE_LOSS, start + 60)
    yield Phase(time=start + 60, name="training")
    for step in range(1, steps + 1):
        yield _step(step, round_, level, start + 60, chance)
        if step % per_epoch == 0:
            time = start + 60 + step * STEP_SECONDS
            yield Saved(time=time, step=step, path=f"checkpoints/step-{step}")
            yield from _evaluation(step, level + 0.2 * (math.exp(-2.5 * step / total) - math.exp(-2.5)), time)
    if round_.status is Status.FINISHED:
        seconds = steps * STEP_SECONDS
        result = Result(
            eval_loss=level, eval_loss_interval=_interval(level), perplexity=math.exp(level),
            base_perplexity=math.exp(BASE_LOSS), train_seconds=seconds, trained_tokens=steps * STEP_TOKENS,
            peak_memory_bytes=round(5.4 * GIB), adapter_dir=f"runs/{round_.id}/adapter",
        )  # fmt: skip
        yield Finished(time=start + 80 + seconds, result=result)


def _steps(plan: Plan) -> tuple[int, int]:
    """Return the steps of the round and of an epoch; all rounds here have a known number of rows."""
    assert plan.total_steps is not None and plan.steps_per_epoch is not None
    return plan.total_steps, plan.steps_per_epoch


def _step(step: int, round_: Round, level: float, start: float, chance: random.Random) -> Step:
    total, per_epoch = _steps(round_.plan)
    rate, warmup = round_.spec.train.learning_rate, round_.spec.train.warmup_steps
    tokens = STEP_TOKENS + chance.randrange(-600, 600)
    return Step(
        time=start + step * STEP_SECONDS,
        step=step,
        epoch=step / per_epoch,
        loss=level + 0.5 * math.exp(-6 * step / total) + chance.gauss(0.0, 0.05),
        learning_rate=rate * min(1.0, step / warmup) * (1 - max(0, step - warmup) / (total - warmup + 1)),
        grad_norm=0.4 + 1.5 * math.exp(-8 * step / total) + abs(chance.gauss(0.0, 0.06)),
        tokens=tokens,
        seconds=STEP_SECONDS,
        train_seconds=step * STEP_SECONDS,
        trained_tokens=step * STEP_TOKENS,
        memory_bytes=round(5.4 * GIB),
    )


def _evaluation(step: int, loss: float, time: float) -> Iterator[AnyEvent]:
    yield Evaluated(
        time=time, step=step, eval_loss=loss, eval_loss_interval=_interval(loss), perplexity=math.exp(loss),
        supervised_tokens=15_210,
    )  # fmt: skip
    for instruction, expected, before, after in ANSWERS:
        text = after if step else before
        yield Sampled(time=time, step=step, prompt=PROMPT.format(instruction), expected=expected, text=text)


def _scores(loss: float, chance: random.Random) -> Scores:
    """Return scores of 260 held-out rows, some harder than others for every model; `loss` is the mean per token."""
    rows = random.Random(0)
    tokens = [rows.randrange(20, 97) for _ in range(HELD_OUT)]
    shifts = [rows.gauss(0.0, 0.4) + chance.gauss(0.0, 0.06) for _ in tokens]
    mean = sum(count * shift for count, shift in zip(tokens, shifts, strict=True)) / sum(tokens)
    nlls = tuple(count * (loss + shift - mean) for count, shift in zip(tokens, shifts, strict=True))
    return Scores(tuple(f"{row:016x}" for row in range(HELD_OUT)), tuple(tokens), nlls)


def _interval(loss: float) -> tuple[float, float]:
    scores = _scores(loss, random.Random(0))
    mean = mean_per_token([nll for nll in scores.nlls if nll is not None], scores.tokens)
    assert mean is not None
    return mean.low, mean.high


def _write(run: RunDir, events: list[AnyEvent]) -> None:
    writer = EventWriter(run.events)
    for event in events:
        writer.append(event)
    writer.close()
    steps = [event for event in events if isinstance(event, Step)]
    lines = ["loading TinyLlama/TinyLlama-1.1B-Chat-v1.0", "2,340 rows to train on, 260 held out"]
    lines += [f"step {event.step}: loss {event.loss:.4f}" for event in steps[9::10]]
    run.log.write_text("\n".join(lines) + "\n")
    if isinstance(events[-1], Finished):
        run.adapter.mkdir()
        (run.adapter / ADAPTER_FILE).write_text("{}")


def _after(round_: Round, events: list[AnyEvent]) -> Round:
    """Return the round as the runner stores it after these events."""
    changes: dict[str, Any] = {"started": events[0].time}
    if isinstance(ending := events[-1], Finished):
        changes |= {"result": ending.result, "ended": ending.time}
    elif round_.status is Status.FAILED:
        step = next(event.step for event in reversed(events) if isinstance(event, Step))
        message = f"the loss at step {step + 1} is not a number: a lower learning rate may keep it finite"
        changes |= {"message": message, "ended": events[-1].time + STEP_SECONDS}
    else:
        changes["process"] = own_identity()
    return msgspec.structs.replace(round_, **changes)


def sample_machine(busy: int = 97) -> tuple[MachineSample, RoundShare]:
    """Return the load of a machine with one T4, and the share of the running round in it."""
    gpu = GpuSample(
        index=0, name="Tesla T4", uuid="GPU-0", memory_used=round(6.1 * GIB), memory_total=15 * GIB, utilisation=busy,
        temperature=71, power_watts=68.0, power_limit_watts=70.0, throttling=(),
    )  # fmt: skip
    return (
        MachineSample(cpu_percent=23.0, memory_used=7 * GIB, memory_total=26 * GIB, gpus=(gpu,), gpu_absence=""),
        RoundShare(gpu="GPU-0", on_gpu=True, disk_free=212 * GIB),
    )


class SamplePreviewer:
    """A replacement for `engine.dataset.preview.Previewer` with one short row."""

    def __init__(self, spec: Spec) -> None:
        self._max_length = spec.data.max_length

    def show(self, row: int) -> Preview:
        instruction, expected, _, _ = ANSWERS[0]
        segments = (
            Segment(PROMPT.format(instruction), supervised=False, cut=False),
            Segment(f"{expected}</s>", supervised=True, cut=False),
        )
        return Preview(
            format=DetectedFormat("alpaca", ("instruction", "input", "output")), rows=2600, left_out=3,
            warnings=("3 rows are left out: 3 have no response",), row=1, problem=None, segments=segments,
            tokens=61, supervised_tokens=23, max_length=self._max_length, measured=1000, longest=487, longer=0,
            shortest=41,
            histogram=(96, 233, 181, 121, 97, 71, 52, 38, 30, 22, 17, 12, 9, 7, 5, 3, 2, 1, 1, 0, 1, 0, 0, 1),
        )  # fmt: skip

    def close(self) -> None:
        """Do nothing: this previewer has no process."""
