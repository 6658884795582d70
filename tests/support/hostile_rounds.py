"""Rounds and rows whose every text is hostile."""

from __future__ import annotations

from engine.dataset.preview import Preview, Segment
from engine.dataset.rows import DetectedFormat
from engine.spec.round import Prediction, Result, Round, Status
from tests.support.rounds import make_round, make_spec


def hostile_round(text: str, number: int = 7, status: Status = Status.FAILED) -> Round:
    """A round with `text` wherever it has any, each time behind the name of the field."""
    spec = make_spec(model__path=f"model={text}", data__path=f"data={text}", lora__target_modules=[f"module={text}"])
    return make_round(
        number, status, spec=spec, name=f"name={text}", note=f"note={text}", message=f"message={text}",
        warnings=(f"warning={text}",), result=Result(perplexity=3.0, adapter_dir=f"adapter={text}"), parent=number - 1,
        predicted=Prediction(device=f"device={text}", is_gpu=False, family=f"family={text}", peak_memory_bytes=1),
        device=f"device={text}",
    )  # fmt: skip


def preview_of(text: str, problem: bool) -> Preview:
    return Preview(
        format=DetectedFormat(f"format={text}", (f"column={text}",)), rows=3, left_out=1,
        warnings=(f"warning={text}",), row=1,
        problem=f"problem={text}" if problem else None, tokens=3, supervised_tokens=1, max_length=2, measured=2,
        longest=3, longer=1,
        segments=(
            Segment(f"prompt={text}", False, False), Segment(f"answer={text}", True, False),
            Segment(f"cut={text}", False, True),
        ),
    )  # fmt: skip
