"""The write-up of rounds in Markdown: setup, table, curves, changes and their results, samples, environment.

Differences are worded by `engine.compare.verdict`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from engine.compare.columns import format_interval, interval_of, measured_text
from engine.compare.comparability import moved, moved_from_base
from engine.compare.extra_evaluations import EVALUATION_TITLES, evaluation_cells, read_evaluations
from engine.compare.leaders import best_rounds
from engine.compare.lineage import Kin, changes, families
from engine.compare.seed_groups import seed_groups
from engine.compare.significance import verdict
from engine.compare.verdict import movement
from engine.files.paths import Workspace
from engine.report.answers_section import answer_scores, fenced, judgements, samples
from engine.report.chart_client import Format, draw
from engine.report.export import main_table, shared_settings, table_legend, write_export
from engine.runs.event_log import read_events
from engine.runs.events import Answered, Provenance, Sampled, Started
from engine.runs.provenance import command_of, provenance_lines
from engine.runs.snapshot import RunSnapshot
from engine.spec.fields import spec_fields
from engine.spec.round import Round
from engine.text.humanize import format_perplexity, name_rounds
from engine.text.markdown import as_sentence, escape_markdown, markdown_table

ROUNDS_PER_PICTURE = 10  # rounds in one picture
EVENTS = (Started, Sampled, Answered, Provenance)
SECTION_TITLES = {
    "model": "Base model", "data": "Data", "lora": "LoRA", "train": "Training", "generation": "Scored answers",
}  # fmt: skip
FEW = 3  # rounds are named one by one
SHOWN_HASH = 16  # digits


def write_report(workspace: Workspace, rounds: Sequence[Round], path: Path, format_: Format = "svg") -> list[Path]:
    """Write the report to `path` and its pictures beside it; returns the paths of the pictures.

    Existing files are replaced: ask before; `pictures_beside` names them.

    Raises:
        LoratuiError: a picture or a file could not be made.
    """
    beside = pictures_beside(rounds, path, format_)
    drawings = [draw(workspace, rounds[start : start + ROUNDS_PER_PICTURE], format_).data for start in _starts(rounds)]
    pictures = {file: data for file, data in zip(beside, drawings, strict=True) if data}
    document = to_report(workspace, rounds, [file.name for file in pictures])
    for file, content in (*pictures.items(), (path, document.encode())):
        write_export(file, content)
    return list(pictures)


def pictures_beside(rounds: Sequence[Round], path: Path, format_: Format) -> list[Path]:
    """Return the paths of the pictures of a report at `path`: one, or several numbered ones for many rounds."""
    starts = _starts(rounds)
    ends = [f"-{number}" if len(starts) > 1 else "" for number in range(1, len(starts) + 1)]
    return [path.with_name(f"{path.stem}-curves{end}.{format_}") for end in ends]


def _starts(rounds: Sequence[Round]) -> list[int]:
    return list(range(0, len(rounds), ROUNDS_PER_PICTURE))


def to_report(workspace: Workspace, rounds: Sequence[Round], pictures: Sequence[str] = ()) -> str:
    """Write the document in GitHub Markdown; `pictures` are the names of files beside it."""
    runs = {round_.number: _run_of(workspace, round_) for round_ in rounds}
    sections = {
        "Setup": "\n\n".join(_setup(rounds)),
        "Rounds": "\n\n".join([main_table(rounds), *table_legend(rounds)]),
        "Curves": "\n\n".join(f"![Curves of the rounds]({quote(os.fsencode(name))})" for name in pictures),
        "Changes and their results": "\n\n".join(_story(workspace, rounds)),
        "Several seeds": _seeds(rounds),
        "On other data": _elsewhere(workspace, rounds),
        "Answers to held-out prompts": "\n\n".join(answer_scores(rounds, runs)),
        "Human judgement": judgements(workspace, rounds),
        "Samples": "\n\n".join(samples(rounds, runs)),
        "Environment": _environment(rounds, runs),
        "How to reproduce": "\n\n".join(_commands(rounds)),
    }
    title = f"# {_named(rounds).capitalize()}" if rounds else "# No rounds"
    parts = [title, *_summary(rounds), *(f"## {name}\n\n{text}" for name, text in sections.items() if text)]
    return "\n\n".join(parts) + "\n"


def _run_of(workspace: Workspace, round_: Round) -> RunSnapshot:
    return RunSnapshot(read_events(workspace.run_dir(round_.id).events, *EVENTS))


def _named(rounds: Sequence[Round]) -> str:
    """Name the rounds: `rounds 1 to 11` if they are consecutive and many."""
    numbers = [round_.number for round_ in rounds]
    follow = len(numbers) > FEW and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return f"rounds {numbers[0]} to {numbers[-1]}" if follow else name_rounds(numbers)


def _summary(rounds: Sequence[Round]) -> Iterator[str]:
    """Name the best rounds, for readers who stop here."""
    best = best_rounds(rounds)
    for round_ in rounds:
        if round_.number in best:
            name = f" ({escape_markdown(round_.name)})" if round_.name.strip() else ""
            yield f"**Best, among those measured on the same held-out tokens: round {round_.number}**{name}. " + (
                _outcome(round_)
            )


def _setup(rounds: Sequence[Round]) -> Iterator[str]:
    """Yield the settings that all rounds share, section by section."""
    sizes = {(round_.plan.train_samples, round_.plan.eval_samples) for round_ in rounds}
    for train, held_out in sizes if len(sizes) == 1 else ():
        if train is not None and held_out is not None:
            yield f"{train:,} rows to train on, {held_out:,} held out."
    for section, title in SECTION_TITLES.items():
        others = [key for key in spec_fields() if not key.startswith(f"{section}.")]
        if (table := shared_settings(rounds, others)).count("\n") > 1:
            yield f"### {title}\n\n{table}"
    for text in shared_warnings(rounds):
        yield f"**Warning:** {escape_markdown(text)}"


def shared_warnings(rounds: Sequence[Round]) -> list[str]:
    """Return the warnings that all of several rounds have."""
    if len(rounds) < 2:
        return []
    return [text for text in rounds[0].warnings if all(text in round_.warnings for round_ in rounds)]


def _story(workspace: Workspace, rounds: Sequence[Round]) -> Iterator[str]:
    """Yield a chapter for each round, one family after the other."""
    shared = shared_warnings(rounds)
    for family in families(rounds):
        for kin in sorted(family, key=lambda kin: kin.number):
            if kin.round is not None:
                yield "\n\n".join(_chapter(workspace, kin, kin.round, shared))


def _chapter(workspace: Workspace, kin: Kin, round_: Round, shared: Sequence[str]) -> Iterator[str]:
    name = f": {escape_markdown(round_.name)}" if round_.name.strip() else ""
    yield f"### Round {round_.number}{name}"
    if round_.note.strip():
        yield f"**Why:** {escape_markdown(round_.note)}"  # at the start of a line its text could be a list or a rule
    if kin.parent is not None:
        rows = [
            [f"`{change.key}`", escape_markdown(change.old), escape_markdown(change.new)] for change in changes(kin)
        ]
        yield f"From round {kin.parent.number}" + (":" if rows else ", with the same settings.")
        if rows:
            yield markdown_table(["setting", f"round {kin.parent.number}", f"round {round_.number}"], rows)
    if outcome := _outcome(round_):
        yield outcome
    if kin.parent is not None and round_.result.perplexity is not None:
        yield " ".join(_against(workspace, kin.parent, round_))
    if round_.message.strip():
        yield f"**How it ended:** {escape_markdown(round_.message)}"
    for text in round_.warnings:
        if text not in shared:
            yield f"**Warning:** {escape_markdown(text)}"


def _against(workspace: Workspace, parent: Round, round_: Round) -> Iterator[str]:
    """Say how perplexity moved from the parent's and whether that is real, or why it is unknown."""
    yield as_sentence(f"Against round {parent.number}, {movement(parent, round_)}")
    if moved(parent, round_) is not None:
        yield as_sentence(verdict(workspace, parent, round_).sentence)


def _outcome(round_: Round) -> str:
    """Write `Perplexity 3.16 (95 %: 3.05–3.28), eval loss 1.1518; the base model's was 4.91 (-35.6 %).`"""
    result = round_.result
    perplexity = measured_text(result, "perplexity")
    if not perplexity:
        return f"Not measured ({round_.status})."
    interval = format_interval(interval_of(result.eval_loss_interval))
    sentence = f"Perplexity {perplexity}" + (f" (95 %: {interval})" if interval else "")
    if loss := measured_text(result, "eval_loss"):
        sentence += f", eval loss {loss}"
    change = moved_from_base(round_)
    if change is not None:
        sentence += f"; the base model's was {format_perplexity(change.before)} ({change.percent_text})"
    return f"{sentence}."


def _seeds(rounds: Sequence[Round]) -> str:
    rows = [
        [
            name_rounds([round_.number for round_ in group.rounds]),
            ", ".join(str(round_.spec.train.seed) for round_ in group.rounds),
            group.text,
        ]
        for group in seed_groups(rounds)
    ]
    return markdown_table(["rounds", "seeds", "perplexity, mean ± deviation"], rows) if rows else ""


def _elsewhere(workspace: Workspace, rounds: Sequence[Round]) -> str:
    """Write a table of the rounds' results on other data than their own, data by data."""
    evaluations = [
        (round_, evaluation) for round_ in rounds for evaluation in read_evaluations(workspace.run_dir(round_.id))
    ]
    evaluations.sort(key=lambda pair: pair[1].data.path)
    rows = [
        [escape_markdown(data), str(round_.number), *measured]
        for round_, evaluation in evaluations
        for data, *measured in [evaluation_cells(evaluation)]
    ]
    data, *titles = EVALUATION_TITLES
    right = [False, *[True] * (1 + len(titles))]
    return markdown_table([data, "round", *titles], rows, right) if rows else ""


def _environment(rounds: Sequence[Round], runs: dict[int, RunSnapshot]) -> str:
    """Write a table with a column for each different machine or set of libraries."""
    numbers_by_lines: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for round_ in rounds:
        if (provenance := runs[round_.number].provenance) is not None:
            lines = tuple((name, short_hash(text)) for name, text in provenance_lines(provenance) if name != "command")
            numbers_by_lines.setdefault(lines, []).append(round_.number)
    names = list(dict.fromkeys(name for lines in numbers_by_lines for name, _ in lines))
    columns = [dict(lines) for lines in numbers_by_lines]
    rows = [[name, *(escape_markdown(column.get(name, "")) for column in columns)] for name in names]
    return markdown_table(["", *(name_rounds(numbers) for numbers in numbers_by_lines.values())], rows) if rows else ""


def _commands(rounds: Sequence[Round]) -> Iterator[str]:
    for round_ in rounds:
        yield f"Round {round_.number}:\n\n{fenced(command_of(round_.spec), 'sh')}"


def short_hash(text: str) -> str:
    """Shorten a SHA-256, which `loratui show` has whole; anything else stays as it is."""
    return f"{text[:SHOWN_HASH]}…" if re.fullmatch("[0-9a-f]{64}", text) else text
