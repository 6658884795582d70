"""The comparison of rounds as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.compare.columns import columns, measured_text
from engine.compare.comparability import INCOMPARABLE, incomparable_reasons
from engine.compare.diff import differing_keys
from engine.compare.leaders import Leaders, find_leaders
from engine.errors import FileError, reason_of
from engine.files.atomic import write_bytes
from engine.spec.fields import describe_value, flatten, format_value, spec_fields
from engine.spec.round import Round
from engine.text.humanize import format_duration
from engine.text.markdown import as_sentence, escape_markdown, markdown_table
from engine.text.sanitize import clean, escape_json

Format = Literal["markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = ("markdown", "csv", "json")

MAIN_FIELDS = ("train.learning_rate", "train.num_train_epochs", "train.warmup_steps", "lora.r", "lora.lora_alpha")
SHORT = {
    "train.learning_rate": "learning rate",
    "train.num_train_epochs": "epochs",
    "train.warmup_steps": "warm-up",
    "lora.r": "r",
    "lora.lora_alpha": "lora_alpha",
}
FORMULA_SIGNS = tuple("=+-@＝＋－＠")  # the last four as East Asian spreadsheets take them
MEASURED = ("perplexity", "95 % interval", "base perplexity")
BATCH = ("train.per_device_train_batch_size", "train.gradient_accumulation_steps")


def export_rounds(rounds: Sequence[Round], format_: Format) -> str:
    """Return the rounds as one document, with a newline at the end."""
    return {"markdown": to_markdown, "csv": to_csv, "json": to_json}[format_](rounds)


def write_export(path: Path, content: bytes) -> None:
    """Write a file of an export as `write_bytes` does; raises FileError if that is not possible."""
    try:
        write_bytes(path, content)
    except OSError as error:
        raise FileError(f"{path} could not be written: {reason_of(error)}") from error


def round_fields(round_: Round) -> dict[str, Any]:
    """Return a round for JSON outputs; unknown values of its result are null.

    `result.nonfinite` is present if a value is null because it was not finite.
    """
    fields: dict[str, Any] = msgspec.to_builtins(round_)
    del fields["process"]
    if not round_.result.nonfinite:
        del fields["result"]["nonfinite"]
    return fields


def to_json(rounds: Iterable[Round]) -> str:
    return json_text([round_fields(round_) for round_ in rounds]) + "\n"


def json_text(value: object) -> str:
    """Return `value` as indented JSON without characters that control a terminal."""
    return escape_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def to_csv(rounds: Iterable[Round]) -> str:
    """Write one row per round and one column per field: raw numbers, texts in quotation marks.

    A text that a spreadsheet would run as a formula gets a `'` in front
    (https://owasp.org/www-community/attacks/CSV_Injection). Hidden characters become symbols
    (`engine.text.sanitize.clean`).
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*columns(), "warnings", "adapter_dir"])
    rounds = list(rounds)
    by_number = {round_.number: round_ for round_ in rounds}
    for round_ in rounds:
        flags = round_.result.nonfinite
        cells = [flags.get(key) or column.value(round_, by_number) for key, column in columns().items()]
        extra = ["; ".join(round_.warnings), round_.result.adapter_dir]
        writer.writerow([_csv_cell(value) for value in (*cells, *extra)])
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    text = clean(format_value(value).replace("\r\n", "\n").replace("\r", "\n"))
    return f"'{text}" if text.lstrip()[:1] in FORMULA_SIGNS or text[:1].isspace() else text


def to_markdown(rounds: Sequence[Round]) -> str:
    """Write GitHub Markdown: a table of differences and results, the shared settings, and the notes."""
    parts = ["# LoRA rounds", main_table(rounds)]
    parts += table_legend(rounds)
    if shared := shared_settings(rounds, (*MAIN_FIELDS, *BATCH)):
        parts.append("## Shared by all rounds\n\n" + shared)
    if notes := notes_of(rounds):
        parts.append("## Notes\n\n" + notes)
    return "\n\n".join(parts) + "\n"


def main_table(rounds: Sequence[Round]) -> str:
    """Write a row for each round with the settings that differ and the results; `table_legend` explains the marks."""
    others = [key for key in differing_keys(rounds) if key not in (*MAIN_FIELDS, *BATCH)]
    titles = [
        "round",
        "name",
        "tags",
        *(SHORT[key] for key in MAIN_FIELDS[:1]),
        "batch × accum",
        *(SHORT[key] for key in MAIN_FIELDS[1:]),
    ]
    titles += [*others, "status", "time", "eval loss", *MEASURED]
    leaders = find_leaders(rounds, "perplexity")
    rows = [_main_row(round_, others, leaders) for round_ in rounds]
    filled = [index for index, title in enumerate(titles) if title == "round" or any(row[index] for row in rows)]
    numbers = {"round", *SHORT.values(), "time", "eval loss", *MEASURED}
    return markdown_table(
        [titles[index] for index in filled],
        [[row[index] for index in filled] for row in rows],
        right=[titles[index] in numbers for index in filled],
    )


def table_legend(rounds: Sequence[Round]) -> list[str]:
    """Explain the marks in the table, and why rounds are not comparable, in paragraphs."""
    leaders = find_leaders(rounds, "perplexity")
    paragraphs = []
    if leaders.best:
        paragraphs.append("**Bold**: the lowest perplexity among the rounds measured on the same held-out tokens.")
    if any(round_.result.eval_loss_interval for round_ in rounds):
        paragraphs.append("95 % interval: the perplexity on other examples of this kind lies in it 95 times of 100.")
    first = next((round_ for round_ in rounds if round_.number == leaders.reference), None)
    if first is not None:
        paragraphs += [f"{INCOMPARABLE}: {as_sentence(reason)}" for reason in incomparable_reasons(rounds, first)]
    return paragraphs


def _main_row(round_: Round, others: list[str], leaders: Leaders) -> list[str]:
    values, result = flatten(round_.spec), round_.result
    batch = " × ".join(format_value(values[key]) for key in BATCH)
    perplexity, interval = measured_text(result, "perplexity"), columns()["perplexity_interval"].text(round_)
    perplexity = f"**{perplexity}**" if round_.number in leaders.best else perplexity
    return [
        str(round_.number), escape_markdown(round_.name), escape_markdown(" ".join(round_.tags)),
        format_value(values[MAIN_FIELDS[0]]), batch,
        columns()["epochs"].text(round_),
        *(format_value(values[key]) for key in MAIN_FIELDS[2:]),
        *(escape_markdown(describe_value(key, values[key])) for key in others),
        str(round_.status), format_duration(result.train_seconds), measured_text(result, "eval_loss"),
        f"{INCOMPARABLE} {perplexity}" if round_.number in leaders.incomparable else perplexity, interval,
        measured_text(result, "base_perplexity"),
    ]  # fmt: skip


def shared_settings(rounds: Sequence[Round], excluded: Sequence[str] = ()) -> str:
    """Write a table of the spec's fields that are the same in all rounds, without those in `excluded`."""
    if not rounds:
        return ""
    differing = {*differing_keys(rounds), *excluded}
    values = flatten(rounds[0].spec)
    keys = [key for key in spec_fields() if key not in differing]
    rows = [[f"`{key}`", escape_markdown(describe_value(key, values[key]))] for key in keys]
    return markdown_table(["setting", "value"], rows)


def notes_of(rounds: Sequence[Round]) -> str:
    """Write a list of each round's note, message and warnings, with its parent."""
    lines = []
    for round_ in rounds:
        origin = f" (from round {round_.parent})" if round_.parent is not None else ""
        texts = [round_.note, round_.message, *round_.warnings]
        text = "; ".join(escape_markdown(part) for part in texts if part.strip())
        if text:
            lines.append(f"- **Round {round_.number}**{origin}: {text}")
    return "\n".join(lines)
