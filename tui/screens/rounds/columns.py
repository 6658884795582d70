"""The columns a table of rounds can have, and how a round reads in each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from msgspec import Struct

from engine.compare.columns import Rounds, columns
from engine.spec.fields import format_value
from engine.spec.round import ACTIVE, Round, Status
from tui.widgets.table.cells import TableColumn

STATUS_STYLES = {
    Status.RUNNING: "bold $text-primary", Status.STOPPING: "bold $text-warning", Status.QUEUED: "$text-primary",
    Status.HELD: "$text-warning", Status.FINISHED: "$text-success", Status.STOPPED: "$text-warning",
    Status.FAILED: "bold $text-error", Status.INTERRUPTED: "bold $text-error", Status.IMPORTED: "$text-muted",
}  # fmt: skip


class RoundColumn(Struct, frozen=True):
    """A column as the table shows it.

    Those of rank 0 are always shown, the others by their rank as far as there is room, None only if asked for.
    """

    column: TableColumn
    text: Callable[[Round, Rounds], str]
    rank: int | None = None


def row_note(round_: Round) -> str:
    """What a row says in words: why it failed if it did or what is amiss while it runs, else its note."""
    amiss = round_.status in (Status.FAILED, Status.INTERRUPTED, *ACTIVE)
    return round_.message if amiss and round_.message else round_.note


def _batch(round_: Round) -> str:
    train = round_.spec.train
    return f"{train.per_device_train_batch_size}×{train.gradient_accumulation_steps}"


def _rank(round_: Round) -> str:
    return f"{round_.spec.lora.r}/{round_.spec.lora.lora_alpha}"


def _model(round_: Round) -> str:
    return round_.spec.model.path.rstrip("/").rpartition("/")[2]


FIRST: tuple[tuple[str, str, int], ...] = (  # key, title, rank
    ("number", "#", 0), ("name", "name", 4), ("status", "status", 0), ("model.path", "model", 7),
    ("train.learning_rate", "lr", 0), ("effective_batch", "batch", 0), ("lora.r", "r/alpha", 2),
    ("train.num_train_epochs", "ep", 0), ("train.warmup_steps", "warm", 0), ("train_seconds", "time", 0),
    ("eval_loss", "loss", 0), ("perplexity", "ppl", 0), ("perplexity_interval", "95 % interval", 5),
    ("against_parent", "vs parent", 3), ("base_perplexity", "base ppl", 8), ("against_base", "vs base", 6),
    ("tags", "tags", 1), ("note", "note", 0),
)  # fmt: skip
TEXTS: dict[str, Callable[[Round], str]] = {
    "effective_batch": _batch,
    "lora.r": _rank,
    "model.path": _model,
    "note": row_note,
    "train.num_train_epochs": lambda round_: format_value(round_.spec.train.num_train_epochs),
}
PARTS = {  # what a column tells beside what it is sorted by
    "effective_batch": ("train.per_device_train_batch_size", "train.gradient_accumulation_steps"),
    "lora.r": ("lora.lora_alpha",),
}
RIGHT = frozenset({"effective_batch", "lora.r", "perplexity_interval"})


@cache
def round_columns() -> dict[str, RoundColumn]:
    """Every column by the key of what it shows (`engine.compare.columns`), in the order a new table has them."""
    first = {key: (title, rank) for key, title, rank in FIRST}
    others = [key for key in columns() if key not in first]
    listed = {}
    for key in (*first, *others):
        known = columns()[key]
        title, rank = first.get(key, (known.title.rpartition(".")[2], None))
        shape = TableColumn(key, title, right=known.numeric or key in RIGHT, fills=key == "note")
        listed[key] = RoundColumn(shape, _text_of(key), rank)
    return listed


def _text_of(key: str) -> Callable[[Round, Rounds], str]:
    """How a round reads in a column, the other rounds given by number."""
    own = TEXTS.get(key)
    return columns()[key].text if own is None else lambda round_, _: own(round_)
