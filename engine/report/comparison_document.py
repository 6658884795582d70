"""The comparison of a few rounds as a document: their differences, and a picture of their curves beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from engine.compare.comparability import INCOMPARABLE, incomparable_reasons
from engine.compare.diff import ComparedField, check_count, compared_fields
from engine.compare.verdict import Verdict, curveless_lines
from engine.errors import FileError
from engine.files.paths import Workspace
from engine.report.chart_client import FORMATS, Format, draw
from engine.report.export import notes_of, shared_settings, write_export
from engine.spec.round import Round
from engine.text.humanize import name_rounds
from engine.text.markdown import as_sentence, escape_markdown, markdown_table


def picture_beside(path: Path, format_: Format = "svg") -> Path:
    """Return the path of the picture for the document at `path`.

    Raises:
        FileError: `path` has the ending of a picture, or is a directory or device.
    """
    if path.suffix.lower() in {f".{name}" for name in FORMATS}:
        raise FileError(f"{path} would be the picture: name the Markdown file, and the picture is written beside it")
    if path.exists() and not path.is_file():
        raise FileError(f"{path} is not a file, so no picture can be written beside it: name a file")
    return path.with_name(f"{path.stem}.{format_}")


def write_comparison(workspace: Workspace, rounds: Sequence[Round], path: Path, format_: Format = "svg") -> Path | None:
    """Write the document to `path` and, if there is a curve, the picture beside it; returns the path of the picture.

    Existing files are replaced: ask before.

    Raises:
        LoratuiError: there are too few or too many rounds, or the picture or a file could not be made.
    """
    check_count(rounds)
    beside = picture_beside(path, format_)
    picture = draw(workspace, rounds, format_)
    curveless = [rounds[index] for index in picture.curveless]
    from engine.compare.significance import verdicts

    verdict_list = verdicts(workspace, rounds)
    document = to_document(rounds, beside.name if picture.data else None, curveless, verdict_list)
    files = [(beside, picture.data)] * bool(picture.data) + [(path, document.encode())]
    for file, content in files:
        write_export(file, content)
    return beside if picture.data else None


def to_document(
    rounds: Sequence[Round], picture: str | None, curveless: Sequence[Round] = (), verdicts: Sequence[Verdict] = ()
) -> str:
    """Write GitHub Markdown: the differences with a column per round, the picture, shared settings, notes.

    Args:
        picture: the picture's file name, None if there is none.
        curveless: the rounds without a curve.
        verdicts: one for each round, on its difference from the first.
    """
    numbers = name_rounds([round_.number for round_ in rounds])
    fields = compared_fields(rounds, verdicts)
    differing = [field for field in fields if field.differs]
    parts = [f"# {numbers.capitalize()} side by side", _table(rounds, differing)]
    if any(field.best for field in differing):
        parts.append("**Bold**: the best among the rounds measured on the same held-out tokens.")
    parts += [f"{INCOMPARABLE}: {as_sentence(reason)}" for reason in incomparable_reasons(rounds, rounds[0])]
    if sentences := [verdict.sentence for verdict in verdicts if verdict.word]:
        parts.append("## Is the difference real?\n\n" + "\n".join(f"- {as_sentence(text)}" for text in sentences))
    if picture is not None:
        parts.append(f"![Curves of {numbers}]({quote(os.fsencode(picture))})")
    parts += [as_sentence(line) for line in curveless_lines(curveless)]
    if shared := shared_settings(rounds):
        parts.append("## Settings that all rounds share\n\n" + shared)
    if notes := notes_of(rounds):
        parts.append("## Notes\n\n" + notes)
    return "\n\n".join(parts) + "\n"


def _table(rounds: Sequence[Round], fields: Sequence[ComparedField]) -> str:
    titles = ["field", *(f"round {round_.number}" for round_ in rounds)]
    return markdown_table(titles, [_row(field) for field in fields], right=[False, *[True] * len(rounds)])


def _row(field: ComparedField) -> list[str]:
    cells = [escape_markdown(text) or "–" for text in field.texts]
    cells = [f"{INCOMPARABLE} {cell}" if index in field.incomparable else cell for index, cell in enumerate(cells)]
    bold = [f"**{cell}**" if index in field.best else cell for index, cell in enumerate(cells)]
    return [f"`{field.key}`" if "." in field.key else escape_markdown(field.title), *bold]
