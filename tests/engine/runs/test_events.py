from __future__ import annotations

import json
import math

import pytest

from engine.runs.events import (
    AnyEvent,
    Evaluated,
    Failed,
    Finished,
    Interrupted,
    Phase,
    Prepared,
    Sampled,
    Saved,
    Started,
    Step,
    Stopped,
    Warned,
    decode_event,
    encode_event,
)
from engine.spec.round import Result
from engine.system.process import ProcessIdentity
from tests.support.steps import step

EVENTS: list[AnyEvent] = [
    Started(time=1.5, process=ProcessIdentity("boot", 12, 345), resumed_from=40),
    Phase(time=1.5, name="tokenising", done=3, total=10),
    Prepared(
        time=1.5,
        device="cpu",
        dtype="bfloat16",
        parameters=1_100_048_384,
        trainable_parameters=1_126_400,
        train_samples=2340,
        eval_samples=260,
        total_steps=222,
        steps_per_epoch=74,
    ),
    step(7, loss=1.25),
    Evaluated(time=1.5, step=74, eval_loss=1.1518, perplexity=3.1639, supervised_tokens=12_345),
    Sampled(time=1.5, step=74, prompt="Say\nit", expected="it", text="\x1b[31m é 🦙"),
    Saved(time=1.5, step=74, path="checkpoints/step-74"),
    Saved(time=1.5, step=222, path="adapter", final=True),
    Warned(time=1.5, message='rows left out:\n"3" \\ é 🦙 \u2028'),
    Finished(time=1.5, result=Result(eval_loss=1.1, perplexity=3.0, adapter_dir="runs/x/adapter")),
    Stopped(time=1.5, step=7, message="stopped after step 7"),
    Interrupted(time=1.5, step=7, message="preempted"),
    Failed(time=1.5, message="out of memory"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_event_is_one_line_that_reads_back(event: AnyEvent) -> None:
    line = encode_event(event)
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert decode_event(line) == decode_event(line.rstrip()) == event
    assert json.loads(line)["event"] == type(event).__name__.lower()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_is_not_finite_becomes_null_and_is_named(value: float) -> None:
    line = encode_event(step(1, loss=value, grad_norm=value))
    assert json.loads(line)["loss"] is json.loads(line)["grad_norm"] is None
    read = decode_event(line)
    assert isinstance(read, Step)
    assert (read.loss, read.grad_norm, read.nonfinite) == (None, None, {"loss": str(value), "grad_norm": str(value)})
    evaluated = decode_event(
        encode_event(Evaluated(time=0.0, step=1, eval_loss=1000.0, perplexity=value, supervised_tokens=1))
    )
    assert isinstance(evaluated, Evaluated)
    assert (evaluated.eval_loss, evaluated.perplexity) == (1000.0, None)
    assert evaluated.nonfinite == {"perplexity": str(value)}


def test_finite_numbers_are_not_named() -> None:
    assert b"nonfinite" not in encode_event(step(1)) + encode_event(EVENTS[4])


def test_null_of_an_earlier_version_says_not_which() -> None:
    line = b'{"event":"evaluated","time":1.5,"step":0,"eval_loss":null,"perplexity":null,"supervised_tokens":3}'
    assert decode_event(line) == Evaluated(time=1.5, step=0, eval_loss=None, perplexity=None, supervised_tokens=3)


def test_field_of_a_newer_version_is_passed_over() -> None:
    fields = json.loads(encode_event(EVENTS[7])) | {"severity": 3}
    assert decode_event(json.dumps(fields).encode()) == EVENTS[7]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"event":"teleported","time":1}',
        b'{"event":"step","time":1}',
        b'{"event":"warned","time":"soon","message":"x"}',
        b'{"event":"warned","time":1,"mess',
        b"\xff\xfe",
        b"\x00" * 64,
        b"[" * 100_000,
        b'{"event":"warned","x":' + b'{"a":' * 100_000,
    ],
    ids=range(12),
)
def test_line_that_is_no_event_is_none(line: bytes) -> None:
    assert decode_event(line) is None
