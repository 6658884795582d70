"""The judgements of a judge who is killed, and of a disk that fills up."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.preference.blind_test import Contest, Pair, Session
from engine.preference.judgement_log import Side, append_judgement, read_judgements
from tests.support.disks import ENVIRONMENT, in_small_disk
from tests.support.faults.tried import Tried

Times = Callable[[int, int], int]
PROMPTS = 400

# Judges one prompt after the other, and says which once its judgement is kept.
JUDGE = """
import sys
from pathlib import Path
from engine.preference.judgement_log import append_judgement, read_judgements
from engine.preference.blind_test import Session
from tests.faults.test_judgements_log import contest
path = Path(sys.argv[1])
session = Session(contest(), read_judgements(path))
while (pair := session.current) is not None:
    line = session.judge(("left", "right", "tie", "skip")[session.done % 4])
    append_judgement(path, line)
    session.keep(line)
    print(pair.key, line.verdict, flush=True)
"""


def contest() -> Contest:
    pairs = tuple(Pair(f"{number}", "?", "expected", "one", "other") for number in range(PROMPTS))
    return Contest(Side("model"), Side("model", "0001-00c0ffee", 3), pairs, 0, False)


def test_judge_who_is_killed_goes_on_where_they_were(tmp_path: Path, tried: Tried, times: Times) -> None:
    path, draw = tmp_path / "judgements.jsonl", random.Random(0)
    told: dict[str, str] = {}
    kills, lost, asked_twice = times(6, 60), 0, 0
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-P", "-c", JUDGE, str(path)], stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
        ) as judge:
            assert judge.stdout is not None
            first = judge.stdout.readline()
            time.sleep(draw.uniform(0.0, 0.01))
            judge.kill()
            lines = [first, *judge.stdout.read().splitlines(keepends=True)]
        news = dict(line.split() for line in lines if line.endswith("\n"))
        asked_twice += len(news.keys() & told.keys())
        told |= news
        kept = {item.prompt: item.verdict for item in read_judgements(path).valid}
        lost += sum(kept.get(prompt) != verdict for prompt, verdict in told.items())
        session = Session(contest(), read_judgements(path))
        assert session.done == len(kept) and (session.current is None or session.current.key not in kept)
        told = dict(kept)  # the last may have been kept without having been told
        if session.current is None:
            path.unlink()
            told = {}
    tried("F5", "kill -9 of a judge at a random moment", kills, lost)
    assert (lost, asked_twice) == (0, 0)


def test_full_disk_takes_back_the_judgement_it_has_no_room_for(tmp_path: Path, small_disk: Path, tried: Tried) -> None:
    path, copy = small_disk / "judgements.jsonl", tmp_path / "judgements.jsonl"
    done = in_small_disk(
        small_disk, 64, '"$1" -P -c "$2" "$3"; cp "$3" "$4"', sys.executable, JUDGE, str(path), str(copy)
    )
    told = [line.split()[0] for line in done.stdout.splitlines()]
    kept = read_judgements(copy)
    tried("F5", "a disk that fills up while it is judged", 1, len(set(told) - {item.prompt for item in kept.valid}))
    assert "no space left on device" in done.stderr
    assert [item.prompt for item in kept.valid] == told and len(told) > 20
    assert kept.unread == 0 and copy.read_bytes().endswith(b"\n")
    session = Session(contest(), kept)
    assert session.current is not None and session.current.key not in told
    append_judgement(copy, session.judge("left"))
    assert len(read_judgements(copy).valid) == len(told) + 1
