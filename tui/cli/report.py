"""`loratui report -o FILE`: write a report on rounds with its pictures; `loratui ranking`: rank them by judgements."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.api import Cockpit
from engine.errors import UsageError
from engine.preference.judgement_log import read_judgements
from engine.report.export import json_text
from tui.terminal.console import PlainConsole, clean_line, say, say_json


def report(cockpit: Cockpit, options: argparse.Namespace) -> int:
    from engine.report.write_up import pictures_beside, write_report

    rounds = [cockpit.store.get(number) for number in options.numbers] or cockpit.store.rounds()
    path = Path(options.output)
    existing = [str(file) for file in (path, *pictures_beside(rounds, path, options.picture)) if file.exists()]
    if existing and not options.force:
        raise UsageError(f"{' and '.join(existing)} would be replaced: give --force to do so")
    pictures = write_report(cockpit.workspace, rounds, path, options.picture)
    say(f"wrote {path}" + (f" and {' and '.join(map(str, pictures))}" if pictures else "; no round has a curve"))
    return 0


def ranking(cockpit: Cockpit, options: argparse.Namespace) -> int:
    from engine.preference.ranking import rank
    from tui.views.ranking import ranking_remarks, ranking_table

    rounds = cockpit.store.rounds()
    judgements = read_judgements(cockpit.workspace.judgements)
    ranking = rank(judgements, rounds)
    if options.json:
        counts = {"groups": ranking.groups, "left_out": ranking.left_out, "unread": judgements.unread}
        say_json(json_text({"ranking": [place.fields for place in ranking.places], **counts}))
        return 0
    if not ranking.places:
        say("no answers have been judged yet: press b on the table of rounds to compare the answers of two rounds")
    else:
        PlainConsole().print(ranking_table(ranking))
        say("")
        for sentence in ranking.sentences:
            say(clean_line(sentence))
        say("")
    for remark in ranking_remarks(ranking, judgements.unread):
        say(remark)
    return 0
