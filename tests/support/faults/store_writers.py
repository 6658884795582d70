"""Processes that use a store until something happens to them; forked from a server that has imported it."""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from engine.errors import LoratuiError
from engine.files.paths import Workspace
from engine.spec.round import Status
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round

Notes = dict[int, str]
Change = tuple[str, int, str]  # add, update or remove; number of the round; its note afterwards


def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.faults.store_writers"])
    return context


@contextmanager
def forked(target: Callable[..., None], *arguments: object) -> Iterator[tuple[ForkServerProcess, Connection]]:
    """A process that runs `target(pipe, *arguments)`, and the other end of its pipe; it ends with the block."""
    context = server()
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def received(pipe: Connection) -> list[object]:
    """What was sent until the other end was closed, or its process killed in the midst of sending."""
    messages = []
    try:
        while True:
            messages.append(pipe.recv())
    except (EOFError, OSError):
        return messages


def notes_in(path: Path) -> Notes:
    """Number and note of each round, by a parser that is not ours."""
    return {int(key): document["note"] for key, document in json.loads(path.read_bytes())["rounds"].items()}


def applied(notes: Notes, change: Change) -> Notes:
    """What a dict comes to by the change: the oracle."""
    what, number, note = change
    rest = {key: value for key, value in notes.items() if key != number}
    return rest if what == "remove" else {**rest, number: note}


def make(store: RoundStore, change: Change) -> None:
    what, number, note = change
    if what == "add":
        store.add(lambda given: make_round(given, Status.HELD, note=note))
    elif what == "update":
        store.update(number, note=note)
    else:
        store.remove(number, frozenset())


def changes(notes: Notes, last: int, seed: int) -> Iterator[Change]:
    """Changes without end, each possible after those before; notes of all lengths, so that files grow and shrink."""
    chance = random.Random(seed)
    while True:
        what = chance.choice(["add", "update", "update", "remove"]) if len(notes) > 3 else "add"
        last += what == "add"
        number = last if what == "add" else chance.choice(sorted(notes))
        change = what, number, f"{seed} " + "x" * chance.randrange(3000)
        yield change
        notes = applied(notes, change)


def change_on(pipe: Connection, root: Path, notes: Notes, last: int, seed: int) -> None:
    """Make changes until killed, each announced before and acknowledged after."""
    store = RoundStore(Workspace(root))
    for change in changes(notes, last, seed):
        pipe.send(change)
        make(store, change)
        pipe.send("done")


def change_once(pipe: Connection, root: Path, change: Change) -> None:
    """Make one change when told to, and say how it went."""
    import_module("filelock")  # the first write imports it, which is no part of a write
    pipe.send("ready")
    pipe.recv()
    try:
        make(RoundStore(Workspace(root)), change)
        answer = "done", ""
    except LoratuiError as error:
        answer = "refused", error.message
    except BaseException as error:
        answer = "crashed", repr(error)
    pipe.send(answer)


def insert(pipe: Connection, root: Path, name: str, count: int) -> None:
    """Insert, and acknowledge each insert."""
    store = RoundStore(Workspace(root))
    pipe.send("ready")
    pipe.recv()
    for turn in range(count):
        round_ = store.add(partial(make_round, status=Status.HELD, note=f"{name} {turn}"))
        pipe.send((round_.number, round_.note))


def change_own(pipe: Connection, root: Path, seed: int, count: int) -> None:
    """Insert, update and remove rounds of its own; says at the end what must be there of them."""
    store = RoundStore(Workspace(root))
    pipe.send("ready")
    pipe.recv()
    own: Notes = {}
    given: dict[int, int] = {}  # of the numbers in the plan, those that the store gave
    for (what, number, note), _ in zip(changes({}, 0, seed), range(count), strict=False):
        note = note[:40]
        if what == "add":
            given[number] = store.add(partial(make_round, status=Status.HELD, note=note)).number
        else:
            make(store, (what, given[number], note))
        own = applied(own, (what, given[number], note))
    pipe.send(own)


def read_on(pipe: Connection, root: Path) -> None:
    """Read until told to end; says how often, and what was wrong."""
    store = RoundStore(Workspace(root))
    pipe.send("ready")
    pipe.recv()
    reads, wrong = 0, []
    while not pipe.poll():
        rounds = store.rounds()
        reads += 1
        if [round_.number for round_ in rounds] != sorted({round_.number for round_ in rounds}) or store.notices():
            wrong.append(str(store.notices()))
    pipe.send((reads, wrong))


def open_at_once(pipe: Connection, root: Path) -> None:
    store = RoundStore(Workspace(root))
    pipe.send("ready")
    pipe.recv()
    pipe.send([round_.number for round_ in store.rounds()])


def limited(pipe: Connection, root: Path, change: Change, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    change_once(pipe, root, change)
