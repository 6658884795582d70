"""The columns of a table of rounds: the same names in the app, in `ls`, in filters and in exports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

from engine.compare.comparability import Movement, moved, moved_from_base
from engine.errors import SpecError
from engine.runs.events import Evaluated, Step
from engine.spec.fields import SpecField, format_value, spec_fields
from engine.spec.plan import planned_epochs
from engine.spec.round import Result, Round
from engine.text.humanize import format_bytes, format_count, format_duration, format_energy, format_perplexity

Rounds = Mapping[int, Round]
Best = Literal["lowest", "highest"]
NO_ROUNDS: Rounds = MappingProxyType({})


class Column(Struct, frozen=True):
    """One property of a round. Some, such as the change against the parent, need the other rounds too.

    Attributes:
        read: returns the value of a round, for sorting and filtering, from the round and all rounds by number; None
            where it is unknown.
        format: writes the value for people.
        best: which of the values is the best among comparable rounds; None if none is.
    """

    key: str
    title: str
    read: Callable[[Round, Rounds], Any]
    format: Callable[[Any], str] = format_value
    numeric: bool = False
    best: Best | None = None

    def value(self, round_: Round, rounds: Rounds = NO_ROUNDS) -> Any:
        """Return the value of a round; it is unknown where it depends on a round that `rounds` lacks."""
        return self.read(round_, rounds)

    def text(self, round_: Round, rounds: Rounds = NO_ROUNDS) -> str:
        return not_finite(round_.result, self.key) or self.format(self.read(round_, rounds))


NOT_FINITE = {"nan": "not a number", "inf": "infinite", "-inf": "minus infinite"}


def not_finite(measured: Result | Step | Evaluated, name: str) -> str:
    """Return "infinite" or "not a number" if the field `name` was measured as that, else ""."""
    return NOT_FINITE.get(measured.nonfinite.get(name, ""), "")


def measured_text(measured: Result | Step | Evaluated, name: str) -> str:
    """Write a loss or perplexity for people, "" where it was not measured."""
    format_ = format_perplexity if name.endswith("perplexity") else format_loss
    return not_finite(measured, name) or format_(getattr(measured, name))


MAX_EXPONENT = 709.0  # the largest whose exp a float holds
TEXT_SCORES = {"bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
ALIASES = {
    "#": "number",
    "lr": "train.learning_rate",
    "ppl": "perplexity",
    "loss": "eval_loss",
    "time": "train_seconds",
    "batch": "train.per_device_train_batch_size",
    "accum": "train.gradient_accumulation_steps",
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
    """Make a column of a change of perplexity in percent."""

    def read(round_: Round, rounds: Rounds) -> float | None:
        movement = change(round_, rounds)
        return None if movement is None else movement.percent

    return Column(key, title, read, format_percent, numeric=True)


def _moved_from_parent(round_: Round, rounds: Rounds) -> Movement | None:
    parent = rounds.get(round_.parent) if round_.parent is not None else None
    return None if parent is None else moved(parent, round_)


def _answers_column(name: str, title: str) -> Column:
    def read(round_: Round, _: Rounds) -> float | None:
        return round_.result.generation.get(name)

    return Column(name, title, read, partial(format_text_score, name), numeric=True, best="highest")


def _trial_column(name: str) -> Column:
    """Make a column of the part of a round in a sweep, which is unknown of a round that is not a trial."""
    return Column(name, name, lambda round_, _: getattr(round_.trial, name, None), numeric=True)


def interval_of(eval_loss_interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the interval of the perplexity, computed from that of the eval loss."""
    if eval_loss_interval is None:
        return None
    low, high = (math.exp(min(end, MAX_EXPONENT)) for end in eval_loss_interval)
    return low, high


def format_interval(value: tuple[float, float] | None) -> str:
    return "" if value is None else "–".join(map(format_perplexity, value))


def format_text_score(name: str, value: float | None) -> str:
    """Write a score on the library's own scale: BLEU and chrF to 100, ROUGE to 1."""
    return "" if value is None else f"{value:.3f}" if name.startswith("rouge") else f"{value:.1f}"


def format_loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def format_epochs(value: float | None) -> str:
    return "" if value is None else format_value(round(value, 2))


def format_percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"


@cache
def columns() -> dict[str, Column]:
    """Return every column by its key."""
    all_columns = [
        Column("number", "#", lambda round_, _: round_.number, numeric=True),
        Column("name", "name", lambda round_, _: round_.name),
        Column("status", "status", lambda round_, _: str(round_.status)),
        Column("tags", "tags", lambda round_, _: round_.tags or None, lambda tags: " ".join(tags or ())),
        Column("pinned", "pinned", lambda round_, _: round_.pinned),
        *map(_spec_column, spec_fields().values()),
        Column("effective_batch", "effective batch", lambda round_, _: round_.plan.effective_batch, numeric=True),
        Column("total_steps", "steps", lambda round_, _: round_.plan.total_steps, numeric=True),
        Column(
            "epochs",
            "epochs",
            lambda round_, _: planned_epochs(round_.spec.train, round_.plan),
            format_epochs,
            numeric=True,
        ),
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
        _result_column("energy_kwh", "energy", format_energy),
        Column("parent", "from", lambda round_, _: round_.parent, numeric=True),
        _trial_column("sweep"),
        _trial_column("setting"),
        Column("note", "note", lambda round_, _: round_.note),
        Column("message", "message", lambda round_, _: round_.message),
    ]
    return {column.key: column for column in all_columns}


def find_column(name: str) -> Column:
    """Find a column by its key, an alias (`lr`, `ppl`), or the last part of a spec key (`r`).

    Raises:
        SpecError: there is none, or the last part of several keys is the same; names them.
    """
    by_key = columns()
    if (key := ALIASES.get(name, name)) in by_key:
        return by_key[key]
    ending = [key for key in by_key if key.rpartition(".")[2] == name]
    if len(ending) == 1:
        return by_key[ending[0]]
    if ending:
        raise SpecError(f"{name!r} could be {' or '.join(ending)}: write it out")
    similar = get_close_matches(name.casefold().replace("-", "_"), [*ALIASES, *by_key], n=2, cutoff=0.7)
    if similar:
        raise SpecError(f"there is no column {name!r}: do you mean {' or '.join(similar)}?")
    raise SpecError(f"there is no column {name!r}: choose one of {', '.join([*ALIASES, *by_key])}")


def is_column(name: str) -> bool:
    """Return True if `find_column` finds a column by `name`, or several."""
    by_key = columns()
    return name in ALIASES or name in by_key or any(key.rpartition(".")[2] == name for key in by_key)
