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
from engine.files.atomic import write_bytes
from engine.spec.fields import describe_value, flatten, format_value, spec_fields
from engine.spec.round import Round
from engine.text.humanize import format_duration
from engine.text.markdown import as_sentence, escape_markdown, markdown_table
from engine.text.sanitize import clean, escape_json

Format = Literal["markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = ("markdown", "csv", "json")

TOLD = ("train.learning_rate", "train.num_train_epochs", "train.warmup_steps", "lora.r", "lora.lora_alpha")
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
    """The rounds as one document, ending in a newline."""
    return {"markdown": to_markdown, "csv": to_csv, "json": to_json}[format_](rounds)


def write_export(path: Path, text: str) -> None:
    """Put an export at `path`, as `write_bytes` does."""
    write_bytes(path, text.encode())


def round_fields(round_: Round) -> dict[str, Any]:
    """A round as the JSON outputs give it, its result's unknown values null.

    `result.nonfinite` is there where a value is null as it was no finite number.
    """
    fields: dict[str, Any] = msgspec.to_builtins(round_)
    del fields["process"]
    if not round_.result.nonfinite:
        del fields["result"]["nonfinite"]
    return fields


def to_json(rounds: Iterable[Round]) -> str:
    return json_text([round_fields(item) for item in rounds]) + "\n"


def json_text(value: object) -> str:
    """`value` as indented JSON that is harmless on a terminal too."""
    return escape_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def to_csv(rounds: Iterable[Round]) -> str:
    """One row per round, one column per field, raw numbers, each text in quotation marks.

    A text that a spreadsheet would run is begun with `'` (https://owasp.org/www-community/attacks/CSV_Injection).
    Hidden characters are symbols, as `engine.text.sanitize.clean` has them.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*columns(), "warnings", "adapter_dir"])
    listed = list(rounds)
    known = {round_.number: round_ for round_ in listed}
    for round_ in listed:
        flags = round_.result.nonfinite
        cells = [flags.get(key) or column.value(round_, known) for key, column in columns().items()]
        extra = ["; ".join(round_.warnings), round_.result.adapter_dir]
        writer.writerow([_csv_cell(value) for value in (*cells, *extra)])
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    text = clean(format_value(value).replace("\r\n", "\n").replace("\r", "\n"))
    return f"'{text}" if text.lstrip()[:1] in FORMULA_SIGNS or text[:1].isspace() else text


def to_markdown(rounds: Sequence[Round]) -> str:
    """GitHub tables of what differs between the rounds and how they did, the settings they share, and their notes."""
    parts = ["# LoRA rounds", main_table(rounds)]
    parts += table_legend(rounds)
    if shared := shared_settings(rounds, (*TOLD, *BATCH)):
        parts.append("## Shared by all rounds\n\n" + shared)
    if notes := notes_of(rounds):
        parts.append("## Notes\n\n" + notes)
    return "\n\n".join(parts) + "\n"


def main_table(rounds: Sequence[Round]) -> str:
    """A row for each round: what differs between them, and how they did; `table_legend` says what the marks mean."""
    others = [key for key in differing_keys(rounds) if key not in (*TOLD, *BATCH)]
    titles = [
        "round",
        "name",
        "tags",
        *(SHORT[key] for key in TOLD[:1]),
        "batch × accum",
        *(SHORT[key] for key in TOLD[1:]),
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
    """What the marks in the table mean, and why rounds do not compare, in paragraphs."""
    leaders = find_leaders(rounds, "perplexity")
    told = []
    if leaders.best:
        told.append("**Bold**: the lowest perplexity among the rounds measured on the same held-out tokens.")
    if any(round_.result.eval_loss_interval for round_ in rounds):
        told.append("95 % interval: within which the perplexity is on other examples of the kind, 95 times of 100.")
    first = next((round_ for round_ in rounds if round_.number == leaders.reference), None)
    if first is not None:
        told += [f"{INCOMPARABLE}: {as_sentence(reason)}" for reason in incomparable_reasons(rounds, first)]
    return told


def _main_row(round_: Round, others: list[str], leaders: Leaders) -> list[str]:
    values, result = flatten(round_.spec), round_.result
    batch = " × ".join(format_value(values[key]) for key in BATCH)
    perplexity, interval = measured_text(result, "perplexity"), columns()["perplexity_interval"].text(round_)
    perplexity = f"**{perplexity}**" if round_.number in leaders.best else perplexity
    return [
        str(round_.number), escape_markdown(round_.name), escape_markdown(" ".join(round_.tags)),
        format_value(values[TOLD[0]]), batch,
        *(format_value(values[key]) for key in TOLD[1:]),
        *(escape_markdown(describe_value(key, values[key])) for key in others),
        str(round_.status), format_duration(result.train_seconds), measured_text(result, "eval_loss"),
        f"{INCOMPARABLE} {perplexity}" if round_.number in leaders.incomparable else perplexity, interval,
        measured_text(result, "base_perplexity"),
    ]  # fmt: skip


def shared_settings(rounds: Sequence[Round], told: Sequence[str] = ()) -> str:
    """A table of the fields of the spec that are the same in all rounds, those that were told already left out."""
    if not rounds:
        return ""
    differing = {*differing_keys(rounds), *told}
    values = flatten(rounds[0].spec)
    kept = [key for key in spec_fields() if key not in differing]
    rows = [[f"`{key}`", escape_markdown(describe_value(key, values[key]))] for key in kept]
    return markdown_table(["setting", "value"], rows)


def notes_of(rounds: Sequence[Round]) -> str:
    """A list of what was written down and said of each round, with the one it came from."""
    lines = []
    for round_ in rounds:
        origin = f" (from round {round_.parent})" if round_.parent is not None else ""
        texts = [round_.note, round_.message, *round_.warnings]
        told = "; ".join(escape_markdown(text) for text in texts if text.strip())
        if told:
            lines.append(f"- **Round {round_.number}**{origin}: {told}")
    return "\n".join(lines)
