"""What can be said of a round, column by column: the same names in the table, in `ls`, in filters and in exports."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import Struct

from engine.errors import SpecError
from engine.events import Evaluated, Step
from engine.fields import SpecField, format_value, spec_fields
from engine.rounds import Result, Round
from engine.units import format_bytes, format_count, format_duration, format_perplexity


class Column(Struct, frozen=True):
    """One property of a round: `value` for sorting and filtering (None where unknown), `format` for reading."""

    key: str
    title: str
    value: Callable[[Round], Any]
    format: Callable[[Any], str] = format_value
    numeric: bool = False

    def text(self, round_: Round) -> str:
        return not_finite(round_.result, self.key) or self.format(self.value(round_))


NOT_FINITE = {"nan": "not a number", "inf": "infinite", "-inf": "minus infinite"}


def not_finite(measured: Result | Step | Evaluated, name: str) -> str:
    """What the number of that name is if it was measured and is not finite, else ""."""
    return NOT_FINITE.get(measured.nonfinite.get(name, ""), "")


def measured_text(measured: Result | Step | Evaluated, name: str) -> str:
    """A loss or perplexity as people read it, "" where it was not measured."""
    format_ = format_perplexity if name.endswith("perplexity") else format_loss
    return not_finite(measured, name) or format_(getattr(measured, name))


ALIASES = {
    "#": "number",
    "lr": "train.learning_rate",
    "ppl": "perplexity",
    "loss": "eval_loss",
    "time": "train_seconds",
    "batch": "train.per_device_train_batch_size",
    "accum": "train.gradient_accumulation_steps",
    "epochs": "train.num_train_epochs",
    "warmup": "train.warmup_steps",
    "alpha": "lora.lora_alpha",
    "dropout": "lora.lora_dropout",
    "model": "model.path",
    "data": "data.path",
}


def _spec_column(field: SpecField) -> Column:
    group, name = field.group, field.name
    return Column(
        field.key,
        field.key,
        lambda round_: getattr(getattr(round_.spec, group), name),
        numeric=field.kind in ("int", "float"),
    )


def _result_column(name: str, title: str, text: Callable[[Any], str]) -> Column:
    return Column(name, title, lambda round_: getattr(round_.result, name), text, numeric=True)


def format_loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


@cache
def columns() -> dict[str, Column]:
    """Every column by its key."""
    listed = [
        Column("number", "#", lambda round_: round_.number, numeric=True),
        Column("name", "name", lambda round_: round_.name),
        Column("status", "status", lambda round_: str(round_.status)),
        *map(_spec_column, spec_fields().values()),
        Column("effective_batch", "effective batch", lambda round_: round_.plan.effective_batch, numeric=True),
        Column("total_steps", "steps", lambda round_: round_.plan.total_steps, numeric=True),
        _result_column("eval_loss", "eval loss", format_loss),
        _result_column("perplexity", "perplexity", format_perplexity),
        _result_column("base_perplexity", "base perplexity", format_perplexity),
        _result_column("train_seconds", "time", format_duration),
        _result_column("trained_tokens", "tokens", format_count),
        _result_column("peak_memory_bytes", "peak memory", format_bytes),
        Column("parent", "from", lambda round_: round_.parent, numeric=True),
        Column("note", "note", lambda round_: round_.note),
        Column("message", "message", lambda round_: round_.message),
    ]
    return {column.key: column for column in listed}


def find_column(name: str) -> Column:
    """The column a person means: its key, an alias (`lr`, `ppl`), or the last part of a spec key (`r`).

    Raises:
        SpecError: no such column, or several that end so; names them.
    """
    known = columns()
    if (key := ALIASES.get(name, name)) in known:
        return known[key]
    ending = [key for key in known if key.rpartition(".")[2] == name]
    if len(ending) == 1:
        return known[ending[0]]
    if ending:
        raise SpecError(f"{name!r} could be {' or '.join(ending)}: write it out")
    raise SpecError(f"there is no column {name!r}: choose one of {', '.join([*ALIASES, *known])}")
