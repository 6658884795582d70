"""Our lineage and our chat beside Textual's own widgets: `python -m benchmarks.widgets [--rounds N] [--turns N]`.

A family of rounds is drawn by our view and by `Tree`, a chat by our transcript and by a `Static` for each exchange in a
`VerticalScroll`, in the rows that ours has. Opening is until it is painted. A key goes down once, a word is one more in
the last answer; both in milliseconds of the processor. Each is measured in a process of its own, by turns.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import psutil
from rich.console import Console
from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Static, Tree

from benchmarks.machine import describe_machine
from benchmarks.report import markdown_table
from benchmarks.store import make_round
from engine.chat.conversation import Chat, ChatAnswer, Exchange, Speaker
from engine.compare.lineage import Kin, family_of
from engine.spec.presets import load_preset
from tui.screens.chat.transcript import Transcript
from tui.screens.chat.transcript_rows import Frame, exchange_rows
from tui.screens.compare.lineage_tree import LineageTree
from tui.views.lineage import LineageLine, lineage_lines

SIZE = (120, 36)
STEPS = 200  # keys or words
SENTENCE = "the quick brown fox jumps over the lazy dog and then it goes home again, "
SPEAKERS = (Speaker("0003-a", 3, "attention"), Speaker("0008-a", 8, "rates"))
FIGURES = ("open ms", "MB", "key or word ms")
Measured = tuple[float, float, list[float]]  # seconds to open, megabytes, processor seconds of each key or word
Step = Callable[[int], object]


class OneWidget(App[None]):
    """An app with nothing but one widget on its screen."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self._widget = widget

    def compose(self) -> ComposeResult:
        yield self._widget


async def measure(widget: Widget, fill: Callable[[], object], is_there: Callable[[], bool], step: Step) -> Measured:
    """Fill the widget, then do `step` again and again; a step that returns a key has it pressed."""
    app = OneWidget(widget)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        widget.focus()
        gc.collect()
        memory, start = psutil.Process().memory_info().rss, time.perf_counter()
        fill()
        while not is_there():
            await pilot.pause()
        await pilot.pause()
        seconds = time.perf_counter() - start
        gc.collect()
        megabytes = (psutil.Process().memory_info().rss - memory) / 1e6
        return seconds, megabytes, [await _timed(pilot, step, number) for number in range(STEPS)]


async def _timed(pilot: Pilot[None], step: Step, number: int) -> float:
    start = time.process_time()
    key = step(number)
    await (pilot.press(key) if isinstance(key, str) else pilot.pause())
    return time.process_time() - start


def family(rounds: int) -> list[Kin]:
    """Each round but the first came from the one of half its number."""
    return family_of([make_round(n, parent=n // 2 or None, note=SENTENCE) for n in range(1, rounds + 1)], 1)


def family_in_ours(rounds: int) -> Measured:
    members, view = family(rounds), LineageTree()
    all_rounds = [kin.round for kin in members if kin.round is not None]
    return asyncio.run(
        measure(
            view, lambda: view.show(members, all_rounds, rounds // 2), lambda: view.max_scroll_y > 0, lambda _: "down"
        )
    )


def family_in_tree(rounds: int) -> Measured:
    """A node of `Tree` is one line, so that a round takes several."""
    members = family(rounds)
    depths, tree = {kin.number: kin.depth for kin in members}, Tree[LineageLine]("")

    def fill() -> None:
        above = {0: tree.root}
        tree.root.expand()
        for line in lineage_lines(members, SIZE[0]):
            depth = depths[line.number]
            label = Text("".join(text for text, role in line.parts if role != "rail"))
            above[depth + 1] = above[depth].add(label, line, expand=True)

    return asyncio.run(measure(tree, fill, lambda: tree.max_scroll_y > 0, lambda _: "down"))


def exchanges(turns: int) -> tuple[Exchange, ...]:
    answers = {speaker.key: ChatAnswer(SENTENCE * 8, 100, 60, 2.0) for speaker in SPEAKERS}
    return tuple(Exchange(f"{number}: {SENTENCE}", answers) for number in range(turns))


def words(number: int) -> dict[str, str]:
    """The answer so far: so many words."""
    return {SPEAKERS[0].key: "word " * number}


def chat_in_ours(turns: int) -> Measured:
    chat = Chat(load_preset("nano").spec.model, SPEAKERS, exchanges=(*exchanges(turns), Exchange("go on")))
    view = Transcript()

    def show(number: int) -> None:
        view.show(chat, 2048, (SPEAKERS[0].key,), words(number))

    return asyncio.run(measure(view, lambda: show(0), lambda: view.max_scroll_y > 0, show))


def chat_in_statics(turns: int) -> Measured:
    view, last = VerticalScroll(), Static(markup=False)
    frame = Frame(SIZE[0] - 2, SPEAKERS, 2048)

    def content(exchange: Exchange, within: Frame) -> Content:
        return Content("\n".join("".join(text for text, _ in row) for row in exchange_rows(exchange, within)))

    def fill() -> None:
        view.mount_all([*(Static(content(each, frame), markup=False) for each in exchanges(turns)), last])
        view.anchor()

    def grow(number: int) -> None:
        growing = frame._replace(waiting=(SPEAKERS[0].key,), growing=words(number))
        last.update(content(Exchange("go on"), growing))

    return asyncio.run(measure(view, fill, lambda: view.max_scroll_y > 0, grow))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10_000, help="of the family (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=200, help="of the chat (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns that each takes (default: %(default)s)")
    options = parser.parse_args()
    console = Console(width=120)
    for line in describe_machine("none", 1):
        console.print(line, soft_wrap=True)
    contenders: dict[str, tuple[Callable[[int], Measured], int]] = {
        "family, ours": (family_in_ours, options.rounds),
        "family, Tree": (family_in_tree, options.rounds),
        "chat, ours": (chat_in_ours, options.turns),
        "chat, Statics": (chat_in_statics, options.turns),
    }
    measured: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(options.repeats):
        for name, (contender, size) in contenders.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                measured[name].append(alone.submit(contender, size).result())
    console.print(markdown_table(["", *FIGURES], [[name, *row_of(runs)] for name, runs in measured.items()]))
    return 0


def row_of(runs: list[Measured]) -> list[str]:
    """Medians, minima in brackets."""
    columns = (
        [1000 * seconds for seconds, _, _ in runs],
        [megabytes for _, megabytes, _ in runs],
        [1000 * seconds for _, _, steps in runs for seconds in steps],
    )
    return [f"{statistics.median(values):,.1f} ({min(values):,.1f})" for values in columns]


if __name__ == "__main__":
    sys.exit(main())
