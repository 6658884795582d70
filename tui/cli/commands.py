"""The commands of the command line, one function each; each returns its exit code."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table
from rich.text import Text

from engine.api import Cockpit
from engine.compare.diff import difference
from engine.compare.lineage import all_changes_at_once, families, family_of, kin_fields
from engine.compare.verdict import movement
from engine.dataset.preview import Previewer
from engine.errors import FileError, UsageError, reason_of
from engine.files.atomic import write_bytes
from engine.preflight.checks import ask_hub
from engine.report.comparison_document import picture_beside, write_comparison
from engine.report.export import export_rounds, json_text
from engine.spec.round import Round
from engine.system.doctor import Finding, examine
from tui.cli.completion import completion as completion
from tui.cli.eval import evaluate as evaluate
from tui.cli.ls import ls as ls
from tui.cli.plan import change_silence, predicted_here, print_history, print_plan
from tui.cli.report import ranking as ranking
from tui.cli.report import report as report
from tui.cli.reproduce import reproduce as reproduce
from tui.cli.runner import move as move
from tui.cli.runner import queue as queue
from tui.cli.runner import runner_finding, say_if_idle
from tui.cli.show import print_round
from tui.cli.show import show as show
from tui.cli.spec_options import make_store, spec_of
from tui.cli.sweep.commands import sweep_ls as sweep_ls
from tui.cli.sweep.commands import sweep_new as sweep_new
from tui.cli.sweep.commands import sweep_resume as sweep_resume
from tui.cli.sweep.commands import sweep_rm as sweep_rm
from tui.cli.sweep.commands import sweep_rounds
from tui.cli.sweep.commands import sweep_show as sweep_show
from tui.cli.sweep.commands import sweep_stop as sweep_stop
from tui.cli.trash import rm as rm
from tui.cli.trash import trash as trash
from tui.cli.trash import trash_empty as trash_empty
from tui.cli.trash import trash_finding
from tui.cli.trash import trash_restore as trash_restore
from tui.cli.wait import wait_for_end
from tui.terminal.console import PlainConsole, clean_line, say, say_json
from tui.views.lineage import cause_sentence, lineage_lines, missing_round_commands
from tui.views.preview import preview_facts, preview_text

MARKS = ("⟦", "⟧")  # around supervised text, where colours cannot be shown


def diff(cockpit: Cockpit, options: argparse.Namespace) -> int:
    first, second = cockpit.store.get(options.first), cockpit.store.get(options.second)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", f"round {first.number}", f"round {second.number}"):
        table.add_column(title)
    for row in difference(first, second):
        table.add_row(*(Text(clean_line(cell)) for cell in row))
    PlainConsole().print(table)
    say(movement(first, second))
    if first.result.perplexity is not None and second.result.perplexity is not None:
        from engine.compare.significance import verdict

        say(verdict(cockpit.workspace, first, second).sentence)
    return 0


def lineage(cockpit: Cockpit, options: argparse.Namespace) -> int:
    rounds = cockpit.store.rounds()
    chosen = families(rounds) if options.number is None else [family_of(rounds, options.number)]
    at_once = all_changes_at_once([kin for family in chosen for kin in family], rounds)
    if options.json:
        say_json(json_text([[kin_fields(kin, at_once.get(kin.number)) for kin in family] for family in chosen]))
        return 0
    console = PlainConsole()
    for index, family in enumerate(chosen):
        if index:
            say("")
        for line in lineage_lines(family, console.width if console.is_terminal else None, at_once):
            console.print(line.as_text(), soft_wrap=True)
    for each in at_once.values():
        say(f"\n{clean_line(cause_sentence(each))}")
        for command in missing_round_commands(each):
            say(command)
    return 0


def new(cockpit: Cockpit, options: argparse.Namespace) -> int:
    print_round(_queue(cockpit, options, hold=options.hold), options.json)
    say_if_idle(cockpit)
    return 0


def plan(cockpit: Cockpit, options: argparse.Namespace) -> int:
    if change_silence(options):
        return 0
    if options.history:
        print_history(cockpit, options)
    else:
        print_plan(cockpit, spec_of(cockpit, options), options)
    return 0


def preview(cockpit: Cockpit, options: argparse.Namespace) -> int:
    with Previewer(spec_of(cockpit, options)) as previewer:
        shown = previewer.show(options.row)
    if options.json:
        say_json(json_text(shown))
        return 0
    console = PlainConsole()
    console.print(preview_facts(shown))
    say("")
    console.print(preview_text(shown, ("", "") if console.color_system else MARKS), soft_wrap=not console.is_terminal)
    return 0


def run(cockpit: Cockpit, options: argparse.Namespace) -> int:
    round_ = _queue(cockpit, options, hold=False)
    ended = wait_for_end(cockpit, round_)
    print_round(ended, options.json, settings=False)
    return 0 if ended.status == "finished" else 1


def stop(cockpit: Cockpit, options: argparse.Namespace) -> int:
    return _say_status(cockpit.stop(options.number))


def resume(cockpit: Cockpit, options: argparse.Namespace) -> int:
    return _say_status(cockpit.resume(options.number))


def hold(cockpit: Cockpit, options: argparse.Namespace) -> int:
    return _say_status(cockpit.hold(options.number))


def release(cockpit: Cockpit, options: argparse.Namespace) -> int:
    return _say_status(cockpit.release(options.number))


def edit(cockpit: Cockpit, options: argparse.Namespace) -> int:
    tags = None if options.tags is None else [word for text in options.tags for word in text.split()]
    changes = {"name": options.name, "note": options.note, "tags": tags, "pinned": options.pinned}
    if all(value is None for value in changes.values()):
        raise UsageError("edit needs something to change: give --name, --note, --tag, --pin or --unpin")
    print_round(cockpit.annotate(options.number, **changes), options.json, settings=False)
    return 0


def share(cockpit: Cockpit, options: argparse.Namespace) -> int:
    workspace = cockpit.workspace
    if options.off:
        cockpit.unshare()
        say(f"only you can read {workspace.root} now")
        return 0
    group = cockpit.share()
    say(f"members of the group {group} can read {workspace.root} now: `loratui --readonly {workspace.root}`")
    return 0


def sweep_export(cockpit: Cockpit, options: argparse.Namespace) -> int:
    options.numbers = sweep_rounds(cockpit, options.number)
    return export(cockpit, options)


def export(cockpit: Cockpit, options: argparse.Namespace) -> int:
    rounds = [cockpit.store.get(number) for number in options.numbers] or cockpit.store.rounds()
    if options.curves:
        return _export_curves(cockpit, rounds, options)
    text = export_rounds(rounds, options.format)
    if options.output is None:
        say(text, end="")
        return 0
    try:
        write_bytes(Path(options.output), text.encode())
    except OSError as error:
        raise FileError(f"--output is {options.output!r}, which cannot be written: {reason_of(error)}") from error
    return 0


def _export_curves(cockpit: Cockpit, rounds: list[Round], options: argparse.Namespace) -> int:
    if options.output is None:
        raise UsageError("--curves needs -o FILE: the picture is written beside it")
    if options.format != "markdown":
        raise UsageError(f"--curves writes Markdown, not {options.format}: leave --format out")
    path = Path(options.output)
    existing = [str(file) for file in (path, picture_beside(path, options.picture)) if file.exists()]
    if existing and not options.force:
        raise UsageError(f"{' and '.join(existing)} would be replaced: give --force to do so")
    picture = write_comparison(cockpit.workspace, rounds, path, options.picture)
    say(f"wrote {path}" + (f" and {picture}" if picture is not None else "; no round has a curve"))
    return 0


def rebuild(cockpit: Cockpit, options: argparse.Namespace) -> int:
    count, aside = cockpit.rebuild()
    cockpit.runner.wake()
    say(f"experiments.json holds {count} rounds" + (f"; the old file is {aside}" if aside else ""))
    return 0


def keys(cockpit: Cockpit, options: argparse.Namespace) -> int:
    from engine.files.paths import config_path
    from tui.app import LoratuiApp
    from tui.keymap_table import as_config, table_of_keys

    say(f"# Copy what you change to {config_path()}\n{as_config(table_of_keys(LoratuiApp))}")
    return 0


def doctor(cockpit: Cockpit, options: argparse.Namespace) -> int:
    findings = [*examine(cockpit.workspace), *runner_finding(cockpit), *trash_finding(cockpit)]
    if options.json:
        say_json(json_text([_finding_fields(finding) for finding in findings]))
        return 0
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        mark = Text("ok", "green") if finding.advice is None else Text("!", "bold yellow")
        table.add_row(
            mark,
            Text(clean_line(finding.name)),
            Text(clean_line(finding.value)),
            Text(clean_line(finding.advice or ""), "yellow"),
        )
    PlainConsole().print(table)
    return 0


def _finding_fields(finding: Finding) -> dict[str, object]:
    return {"name": finding.name, "value": finding.value, "ok": finding.advice is None, "advice": finding.advice}


def _queue(cockpit: Cockpit, options: argparse.Namespace, hold: bool) -> Round:
    spec = spec_of(cockpit, options)
    warnings = ask_hub(spec)
    make_store(cockpit)
    name = options.name if options.name is not None else options.preset or ""
    return cockpit.queue(
        spec, name=name, note=options.note, parent=options.parent, hold=hold, warnings=warnings,
        predicted=predicted_here(cockpit, spec),
    )  # fmt: skip


def _say_status(round_: Round) -> int:
    say(f"round {round_.number} is {round_.status}")
    return 0
