"""Copy finished rounds to where others can open them: `python -m scripts.publish_rounds WORKSPACE DIRECTORY`.

Copied are the store, the events and the scores of the held-out rows. Left out are weights, checkpoints, logs, and what
may not be given to others: texts of the data, with what a model answered to them, and the ids of this machine.
`--rename OLD=NEW` replaces a path wherever it occurs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine.files.paths import RunDir, Workspace
from engine.runs.scores import read_scores, write_scores
from engine.runs.spec_file import read_queued
from engine.spec.round import Round, Status
from engine.store.round_store import RoundStore
from engine.system.process import ProcessIdentity

WITH_TEXTS = frozenset({"sampled", "answered"})
NOBODY = ProcessIdentity(boot_id="", pid=1, start_ticks=0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts.publish_rounds", description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW")
    options = parser.parse_args()
    names = dict(text.split("=", 1) for text in options.rename)
    publish(Workspace(options.workspace), Workspace(options.directory), names)


def publish(source: Workspace, target: Workspace, names: Mapping[str, str]) -> None:
    """Copy the finished rounds of `source` to `target`, which must have none, with each path in `names` replaced."""
    rename = partial(_renamed, names)
    finished = [each for each in RoundStore(source).rounds() if each.status is Status.FINISHED]
    target.root.mkdir(parents=True, exist_ok=True)
    RoundStore(target).create(tuple(_without_adapter(rename(round_, Round)) for round_ in finished))
    document = msgspec.json.decode(target.store_path.read_bytes())
    del document["meta"]["1"]["home"]  # the first who opens it makes its own place the home
    target.store_path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
    for left_over in target.root.glob(f"{target.store_path.name}.*"):
        left_over.unlink()
    for round_ in finished:
        _copy_run(source.run_dir(round_.id), target.run_dir(round_.id), rename)


def _without_adapter(round_: Round) -> Round:
    return msgspec.structs.replace(round_, result=msgspec.structs.replace(round_.result, adapter_dir=None))


def _copy_run(source: RunDir, target: RunDir, rename: Callable[[Any, type[Any]], Any]) -> None:
    target.path.mkdir(parents=True)
    queued = read_queued(source)
    assert queued is not None
    target.spec.write_bytes(msgspec.json.format(msgspec.json.encode(rename(queued, type(queued))), indent=1))
    target.events.write_bytes(b"".join(msgspec.json.encode(rename(each, dict)) + b"\n" for each in _events(source)))
    for file in source.scores.iterdir():
        step = int(file.stem.removeprefix("step-"))
        if (scores := read_scores(source, step)) is not None:
            write_scores(target, step, scores)


def _events(run: RunDir) -> Iterator[dict[str, Any]]:
    """Yield the events as they were written, without texts and ids of the machine."""
    for line in run.events.read_bytes().splitlines():
        event = msgspec.json.decode(line, type=dict[str, Any])
        if event["event"] in WITH_TEXTS:
            continue
        if "process" in event:
            event["process"] = msgspec.to_builtins(NOBODY)
        if event["event"] == "finished":
            event["result"]["adapter_dir"] = None
        yield event


def _renamed(names: Mapping[str, str], value: Any, kind: type[Any]) -> Any:
    text = msgspec.json.encode(value).decode()
    for old, new in names.items():
        text = text.replace(old, new)
    return msgspec.json.decode(text, type=kind)


if __name__ == "__main__":
    main()
