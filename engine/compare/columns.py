"""What can be said of a round, column by column: the same names in the table, in `ls`, in filters and in exports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

from engine.compare.comparability import Movement, moved, moved_from_base
from engine.errors import SpecError
from engine.runs.events import Evaluated, Step
from engine.spec.fields import SpecField, format_value, spec_fields
from engine.spec.round import Result, Round
from engine.text.humanize import format_bytes, format_count, format_duration, format_perplexity

Rounds = Mapping[int, Round]
Best = Literal["lowest", "highest"]
NO_ROUNDS: Rounds = MappingProxyType({})


class Column(Struct, frozen=True):
    """One property of a round. Some, such as the change against the parent, are found among the other rounds only.

    Attributes:
        read: the value of a round, for sorting and filtering (None where unknown), given all rounds by number.
        format: the value for reading.
        best: which of its values is the best, among rounds that compare; None if none is.
    """

    key: str
    title: str
    read: Callable[[Round, Rounds], Any]
    format: Callable[[Any], str] = format_value
    numeric: bool = False
    best: Best | None = None

    def value(self, round_: Round, rounds: Rounds = NO_ROUNDS) -> Any:
        """What `read` gives; where `rounds` lacks a round that it takes, the value is unknown."""
        return self.read(round_, rounds)

    def text(self, round_: Round, rounds: Rounds = NO_ROUNDS) -> str:
        return not_finite(round_.result, self.key) or self.format(self.read(round_, rounds))


NOT_FINITE = {"nan": "not a number", "inf": "infinite", "-inf": "minus infinite"}


def not_finite(measured: Result | Step | Evaluated, name: str) -> str:
    """What the number of that name is if it was measured and is not finite, else ""."""
    return NOT_FINITE.get(measured.nonfinite.get(name, ""), "")


def measured_text(measured: Result | Step | Evaluated, name: str) -> str:
    """A loss or perplexity as people read it, "" where it was not measured."""
    format_ = format_perplexity if name.endswith("perplexity") else format_loss
    return not_finite(measured, name) or format_(getattr(measured, name))


MAX_EXPONENT = 709.0  # of which a float holds exp
TEXT_SCORES = {"bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
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
    "vs_parent": "against_parent",
    "vs_base": "against_base",
    "tag": "tags",
    "model": "model.path",
    "data": "data.path",
}


def _spec_column(field: SpecField) -> Column:
    group, name = field.group, field.name
    return Column(
        field.key,
        field.key,
        lambda round_, _: getattr(getattr(round_.spec, group), name),
        numeric=field.kind in ("int", "float"),
    )


def _result_column(name: str, title: str, text: Callable[[Any], str], best: Best | None = "lowest") -> Column:
    return Column(name, title, lambda round_, _: getattr(round_.result, name), text, numeric=True, best=best)


def _change_column(key: str, title: str, change: Callable[[Round, Rounds], Movement | None]) -> Column:
    """By how many percent the perplexity moved."""

    def read(round_: Round, rounds: Rounds) -> float | None:
        found = change(round_, rounds)
        return None if found is None else found.percent

    return Column(key, title, read, format_percent, numeric=True)


def _moved_from_parent(round_: Round, rounds: Rounds) -> Movement | None:
    parent = rounds.get(round_.parent) if round_.parent is not None else None
    return None if parent is None else moved(parent, round_)


def _answers_column(name: str, title: str) -> Column:
    def read(round_: Round, _: Rounds) -> float | None:
        return round_.result.generation.get(name)

    return Column(name, title, read, partial(format_text_score, name), numeric=True, best="highest")


def interval_of(eval_loss_interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """That of the perplexity, from that of the eval loss."""
    if eval_loss_interval is None:
        return None
    low, high = (math.exp(min(end, MAX_EXPONENT)) for end in eval_loss_interval)
    return low, high


def format_interval(value: tuple[float, float] | None) -> str:
    return "" if value is None else "–".join(map(format_perplexity, value))


def format_text_score(name: str, value: float | None) -> str:
    """On the library's own scale: BLEU and chrF to 100, ROUGE to 1."""
    return "" if value is None else f"{value:.3f}" if name.startswith("rouge") else f"{value:.1f}"


def format_loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def format_percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"


@cache
def columns() -> dict[str, Column]:
    """Every column by its key."""
    listed = [
        Column("number", "#", lambda round_, _: round_.number, numeric=True),
        Column("name", "name", lambda round_, _: round_.name),
        Column("status", "status", lambda round_, _: str(round_.status)),
        Column("tags", "tags", lambda round_, _: round_.tags or None, lambda tags: " ".join(tags or ())),
        Column("pinned", "pinned", lambda round_, _: round_.pinned),
        *map(_spec_column, spec_fields().values()),
        Column("effective_batch", "effective batch", lambda round_, _: round_.plan.effective_batch, numeric=True),
        Column("total_steps", "steps", lambda round_, _: round_.plan.total_steps, numeric=True),
        _result_column("eval_loss", "eval loss", format_loss),
        _result_column("perplexity", "perplexity", format_perplexity),
        Column(
            "perplexity_interval",
            "95 % interval",
            lambda round_, _: interval_of(round_.result.eval_loss_interval),
            format_interval,
        ),
        _result_column("base_perplexity", "base perplexity", format_perplexity, best=None),
        _change_column("against_base", "against base", lambda round_, _: moved_from_base(round_)),
        _change_column("against_parent", "against parent", _moved_from_parent),
        *(_answers_column(name, title) for name, title in TEXT_SCORES.items()),
        _result_column("train_seconds", "time", format_duration),
        _result_column("trained_tokens", "tokens", format_count, best=None),
        _result_column("peak_memory_bytes", "peak memory", format_bytes),
        Column("parent", "from", lambda round_, _: round_.parent, numeric=True),
        Column("note", "note", lambda round_, _: round_.note),
        Column("message", "message", lambda round_, _: round_.message),
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
