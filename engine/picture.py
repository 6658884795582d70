"""The curves of some rounds as a picture, asked from a process that draws, so that matplotlib is imported nowhere else.

The process is `python -P -m engine.picture`: an `Order` goes in, a `Picture` or a `Refusal` comes out, as MessagePack.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from engine.errors import LoratuiError
from engine.plain import clean_line
from engine.rounds import Round
from engine.workspace import Workspace

Format = Literal["svg", "png"]
FORMATS: tuple[Format, ...] = ("svg", "png")
SECONDS = 300.0  # ten runs of a million steps take some


class Run(Struct, frozen=True):
    """A round's run to draw, by the name it has in the legend; `events` is the path of its log."""

    number: int
    label: str
    events: str


class Order(Struct, frozen=True):
    """What is to be drawn, and as which kind of file."""

    runs: tuple[Run, ...]
    format: Format


class Picture(Struct, frozen=True, tag="picture"):
    """`data` is the file's content, empty if there is no curve at all; `curveless`, the places of runs without one."""

    data: bytes
    curveless: tuple[int, ...]


class Refusal(Struct, frozen=True, tag="refusal"):
    """Why nothing can be drawn, in one sentence."""

    message: str


def draw(workspace: Workspace, rounds: Sequence[Round], format_: Format) -> Picture:
    """The curves of `rounds` over each other, a panel for each metric that was recorded.

    Raises:
        LoratuiError: the process could not be started, or ended without a picture.
    """
    runs = tuple(Run(item.number, label_of(item), str(workspace.run_dir(item.id).events)) for item in rounds)
    order = Order(runs, format_)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "engine.picture"],
            input=msgspec.msgpack.encode(order), capture_output=True, timeout=SECONDS, check=False,
            cwd="/",  # where no matplotlibrc lies
        )  # fmt: skip
    except OSError as error:
        raise LoratuiError(f"the picture could not be drawn: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise LoratuiError(
            f"the picture could not be drawn within {SECONDS:.0f} seconds: choose fewer rounds"
        ) from error
    try:
        answer = msgspec.msgpack.decode(done.stdout, type=Picture | Refusal)
    except (msgspec.DecodeError, ValueError) as error:
        raise LoratuiError(f"the picture could not be drawn: {_last_words(done.stderr)}") from error
    if isinstance(answer, Refusal):
        raise LoratuiError(answer.message)
    return answer


def label_of(round_: Round) -> str:
    """A round in the legend: `round 2: half the rate`."""
    return f"round {round_.number}" + (f": {clean_line(round_.name)}" if round_.name.strip() else "")


def listed(numbers: Sequence[int]) -> str:
    """`round 3`, or `rounds 2, 3 and 5`."""
    *first, last = map(str, numbers)
    return f"rounds {', '.join(first)} and {last}" if first else f"round {last}"


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "the process said nothing")


def main() -> None:
    """Draw the order on the standard input."""
    from engine.figure import draw_order  # matplotlib, in this process alone

    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    answer: Picture | Refusal
    try:
        answer = draw_order(order)
    except OSError as error:
        answer = Refusal(f"{error.filename} cannot be read, so that nothing is drawn: {error.strerror}")
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
