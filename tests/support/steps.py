"""Step events with only what a test cares about."""

from __future__ import annotations

from engine.runs.events import Step


def step(
    number: int, *, loss: float | None = 1.0, grad_norm: float | None = 0.5, seconds: float = 1.0, tokens: int = 100
) -> Step:
    """The step event of that number; sums grow by a second and a hundred tokens a step."""
    return Step(
        time=1000.0 + number,
        step=number,
        epoch=number / 10,
        loss=loss,
        learning_rate=1e-4,
        grad_norm=grad_norm,
        tokens=tokens,
        seconds=seconds,
        train_seconds=float(number),
        trained_tokens=100 * number,
        memory_bytes=2**30 + number,
    )
