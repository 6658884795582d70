"""The columns a table of rounds can have, and the text of a round in each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache

from msgspec import Struct

from engine.compare.columns import Rounds, columns
from engine.spec.round import ACTIVE, WAITING, Round, Status, in_queue_order
from tui.widgets.table.cells import TableColumn

STATUS_STYLES = {
    Status.RUNNING: "bold $text-primary", Status.STOPPING: "bold $text-warning", Status.QUEUED: "$text-primary",
    Status.HELD: "$text-warning", Status.FINISHED: "$text-success", Status.STOPPED: "$text-warning",
    Status.FAILED: "bold $text-error", Status.INTERRUPTED: "bold $text-error", Status.IMPORTED: "$text-muted",
}  # fmt: skip


class RoundColumn(Struct, frozen=True):
    """A column as the table shows it.

    Attributes:
        column: its key, title and shape.
        text: returns the text of a round's cell; it takes the round and all rounds by number.
        rank: 0 for a column that is always shown, though one of `GIVE_WAY` only if there is room; the others are
            shown from rank 1 upwards while there is room. A column without a rank is shown only if the person chooses
            it.
    """

    column: TableColumn
    text: Callable[[Round, Rounds], str]
    rank: int | None = None

    @property
    def key(self) -> str:
        return self.column.key


def row_note(round_: Round) -> str:
    """Return the message of a round that failed or runs, if it has one; else its note."""
    may_have_trouble = round_.status in (Status.FAILED, Status.INTERRUPTED, *ACTIVE)
    return round_.message if may_have_trouble and round_.message else round_.note


def status_words(rounds: Collection[Round], progress: Mapping[int, str]) -> dict[int, str]:
    """Return what the table adds to a status, by number: the `progress` of a run, or the place in the queue."""
    waiting = in_queue_order(round_ for round_ in rounds if round_.status in WAITING)
    words = {round_.number: str(place) for place, round_ in enumerate(waiting, 1) if round_.status is Status.QUEUED}
    active = {round_.number for round_ in rounds if round_.status in ACTIVE}
    return words | {number: text for number, text in progress.items() if number in active}


def _batch(round_: Round) -> str:
    train = round_.spec.train
    return f"{train.per_device_train_batch_size}×{train.gradient_accumulation_steps}"


def _rank(round_: Round) -> str:
    return f"{round_.spec.lora.r}/{round_.spec.lora.lora_alpha}"


def _sweep(round_: Round) -> str:
    return "" if round_.trial is None else f"{round_.trial.sweep}.{round_.trial.setting}"


def _model(round_: Round) -> str:
    return round_.spec.model.path.rstrip("/").rpartition("/")[2]


FIRST: tuple[tuple[str, str, int], ...] = (  # key, title, rank
    ("number", "#", 0), ("name", "name", 0), ("status", "status", 0), ("model.path", "model", 9),
    ("train.learning_rate", "lr", 0), ("effective_batch", "batch", 0), ("lora.r", "r/alpha", 5),
    ("epochs", "ep", 0), ("train.warmup_steps", "warm", 3), ("train_seconds", "time", 0),
    ("eval_loss", "loss", 0), ("perplexity", "ppl", 0), ("perplexity_interval", "95 % interval", 7),
    ("against_parent", "vs parent", 6), ("base_perplexity", "base ppl", 10), ("against_base", "vs base", 8),
    ("sweep", "sweep", 2), ("tags", "tags", 4), ("note", "note", 1),
)  # fmt: skip
# Left out, the first first, where not even cut names make room for them: the perplexity says what the loss says.
GIVE_WAY = ("eval_loss", "effective_batch", "epochs", "train_seconds", "train.learning_rate")
TEXTS: dict[str, Callable[[Round], str]] = {  # shorter than in `engine.compare.columns`
    "effective_batch": _batch,
    "lora.r": _rank,
    "model.path": _model,
    "sweep": _sweep,
    "note": row_note,
}
PARTS = {  # the other fields that the text of a column holds
    "effective_batch": ("train.per_device_train_batch_size", "train.gradient_accumulation_steps"),
    "epochs": ("train.num_train_epochs", "train.max_steps"),
    "lora.r": ("lora.lora_alpha",),
    "sweep": ("setting",),
}
RIGHT = frozenset({"effective_batch", "lora.r", "perplexity_interval"})


@cache
def round_columns() -> dict[str, RoundColumn]:
    """Return every column by its key in `engine.compare.columns`, in the order of a table that nobody changed."""
    first = {key: (title, rank) for key, title, rank in FIRST}
    others = [key for key in columns() if key not in first]
    all_columns = {}
    for key in (*first, *others):
        source = columns()[key]
        title, rank = first.get(key, (source.title.rpartition(".")[2], None))
        column = TableColumn(
            key, title, right=source.numeric or key in RIGHT, fills=key == "note", shrinks=key == "name"
        )
        all_columns[key] = RoundColumn(column, _text_of(key), rank)
    return all_columns


def _text_of(key: str) -> Callable[[Round, Rounds], str]:
    """Return the `text` of a column."""
    short_text = TEXTS.get(key)
    return columns()[key].text if short_text is None else lambda round_, _: short_text(round_)
