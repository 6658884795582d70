"""The commands of `loratui sweep`: begin one, list and show them, stop, resume, remove and export one."""

from __future__ import annotations

import argparse
import math
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.errors import UsageError
from engine.report.export import json_text
from engine.sweeps.answer import SweepAnswer, answer_of
from engine.sweeps.progress import Progress
from engine.sweeps.space import short_name
from engine.sweeps.sweep import Sweep
from engine.text.humanize import format_duration, format_perplexity
from engine.text.numbers import read_duration
from tui.cli.plan import predicted_here
from tui.cli.runner import say_if_idle
from tui.cli.spec_options import make_store, spec_of
from tui.terminal.console import PlainConsole, clean_line, say, say_json
from tui.views.sweep import best_first, settings_in_words, state_in_words


def sweep_new(cockpit: Cockpit, options: argparse.Namespace) -> int:
    make_store(cockpit)
    progress = cockpit.sweeps.new(
        lambda settings: spec_of(cockpit, options, settings), options.settings, name=options.name, note=options.note,
        parent=options.parent, sampler=options.sampler, trials=options.trials, budget_seconds=_budget(options),
        repeats=options.repeats, seed=options.seed,
    )  # fmt: skip
    _print(cockpit, progress, options.json)
    if not options.json and (time := _time_in_words(cockpit, progress.sweep)):
        say(time)
    say_if_idle(cockpit)
    return 0


def _time_in_words(cockpit: Cockpit, sweep: Sweep) -> str:
    """Say how long a round and all take, by rounds with the least and the greatest values; "" if that is unknown."""
    predictions = [predicted_here(cockpit, sweep.space.spec_at(sweep.spec, corner)) for corner in sweep.space.corners()]
    seconds = [each.seconds for each in predictions if each is not None and each.seconds is not None]
    if not seconds:
        return ""
    a_round = f"a round takes about {' to '.join(dict.fromkeys(format_duration(each) for each in sorted(seconds)))}"
    if sweep.trials is None:
        return a_round
    count = sweep.trials * sweep.repeats
    whole = min(count * fmean(seconds), sweep.budget_seconds or math.inf)
    return f"{a_round}, all {count} about {format_duration(whole)}"


def sweep_ls(cockpit: Cockpit, options: argparse.Namespace) -> int:
    sweeps = cockpit.sweeps.all()
    for sentence in cockpit.sweeps.unreadable():
        say(f"loratui: {clean_line(sentence)}", error=True)
    if options.json:
        say_json(json_text([_fields(each) for each in sweeps]))
        return 0
    table = _table("#", "name", "status", "settings", "sampler", "varies", "best")
    for each in sweeps:
        best = each.best
        cells = (
            str(each.sweep.number), each.sweep.name, each.status, settings_in_words(each), each.sweep.sampler,
            ", ".join(short_name(key) for key in each.sweep.ranges),
            "" if best is None else f"{format_perplexity(best.perplexity)} (setting {best.number})",
        )  # fmt: skip
        table.add_row(*map(_cell, cells))
    PlainConsole().print(table)
    return 0


def sweep_show(cockpit: Cockpit, options: argparse.Namespace) -> int:
    _print(cockpit, cockpit.sweeps.get(options.number), options.json)
    return 0


def sweep_stop(cockpit: Cockpit, options: argparse.Namespace) -> int:
    progress = cockpit.sweeps.stop(options.number)
    training = ", the round that trains goes on to its end" if progress.trains else ""
    say(f"sweep {options.number} is stopped{training}: `loratui sweep resume {options.number}` goes on with it")
    return 0


def sweep_resume(cockpit: Cockpit, options: argparse.Namespace) -> int:
    progress = cockpit.sweeps.resume(options.number, options.trials, _budget(options))
    say(f"sweep {options.number} is {progress.status}")
    return 0


def sweep_rm(cockpit: Cockpit, options: argparse.Namespace) -> int:
    progress = cockpit.sweeps.remove(options.number)
    count = sum(len(attempts) for setting in progress.settings for attempts in setting.repeats)
    rounds = "round is" if count == 1 else "rounds are"
    say(f"sweep {options.number} is removed; its {count} {rounds} in the trash for a week")
    return 0


def sweep_rounds(cockpit: Cockpit, number: int) -> list[int]:
    """Return the numbers of the rounds of a sweep."""
    settings = cockpit.sweeps.get(number).settings
    return [each.number for setting in settings for attempts in setting.repeats for each in attempts]


def _budget(options: argparse.Namespace) -> float | None:
    if options.budget is None:
        return None
    try:
        return read_duration(options.budget)
    except ValueError as error:
        raise UsageError(f"--budget is {options.budget!r}: write a time such as 90m, 2h or 1h30m") from error


def _print(cockpit: Cockpit, progress: Progress, as_json: bool) -> None:
    answer = answer_of(cockpit.workspace, progress)
    if as_json:
        say_json(json_text(_fields(progress) | _answer_fields(answer, progress)))
        return
    sweep = progress.sweep
    name = f"sweep {sweep.number} {sweep.name}".strip()
    say(clean_line(f"{name}: {progress.status}, {settings_in_words(progress)} settings"))
    if sweep.note:
        say(clean_line(sweep.note))
    for key, text in sweep.ranges.items():
        say(clean_line(f"  {key} = {text}"))
    if progress.settings:
        say("")
        PlainConsole().print(_settings_table(progress, answer))
    say("")
    for sentence in answer.sentences:
        say(clean_line(sentence))


def _settings_table(progress: Progress, answer: SweepAnswer) -> Table:
    """Return the settings, the best first, with what each gave and how it compares."""
    keys = [key for key in progress.sweep.ranges if any(key in each.point for each in progress.settings)]
    table = _table("setting", *(short_name(key) for key in keys), "rounds", "status", "perplexity", "vs the best")
    for each in best_first(progress):
        verdict = answer.verdicts.get(each.number)
        cells = (
            str(each.number), *(each.point.get(key, "") for key in keys),
            ", ".join(str(round_.number) for round_ in each.rounds), state_in_words(each),
            format_perplexity(each.perplexity), verdict.brief if verdict is not None else "",
        )  # fmt: skip
        table.add_row(*map(_cell, cells))
    return table


def _fields(progress: Progress) -> dict[str, Any]:
    sweep, best = progress.sweep, progress.best
    return {
        "number": sweep.number, "name": sweep.name, "note": sweep.note, "status": progress.status,
        "message": sweep.message, "ranges": sweep.ranges, "sampler": sweep.sampler, "trials": sweep.trials,
        "budget_seconds": sweep.budget_seconds, "repeats": sweep.repeats, "seed": sweep.seed,
        "seconds": progress.seconds, "best": None if best is None else best.number,
        "settings": [
            {
                "number": each.number, "point": each.point, "state": each.state, "eval_loss": each.loss,
                "perplexity": each.perplexity, "rounds": [round_.number for round_ in each.rounds],
            }
            for each in progress.settings
        ],
    }  # fmt: skip


def _answer_fields(answer: SweepAnswer, progress: Progress) -> dict[str, Any]:
    verdicts = {str(number): verdict.word for number, verdict in answer.verdicts.items()}
    return {"answer": answer.sentences, "verdicts": verdicts}


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title)
    return table


def _cell(text: str) -> Text:
    return Text(clean_line(text))
