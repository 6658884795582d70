"""A separate held-out set: what `data.eval_path` and the fields after it mean."""

from __future__ import annotations

import re

from engine.errors import DatasetError, LoratuiError, SpecError
from engine.spec.data import DataSpec
from engine.spec.local_paths import split_revision
from engine.spec.schema import Spec

SPLIT = "train"  # of a dataset on the hub whose split is not named
TRAINING_KEY = re.compile(r"^data\.(path|name|split|samples)\b")


def held_out_set(data: DataSpec) -> DataSpec | None:
    """Return the separate held-out set as data to be read; None if rows of the training data are held out.

    Without `data.eval_path` it is another split, or another configuration, of the dataset at `data.path`.
    """
    if data.eval_path is None and data.eval_name is None and data.eval_split is None:
        return None
    path, revision = (data.path, None) if data.eval_path is None else split_revision(data.eval_path)
    return data.of_one_set(
        path=path,
        name=data.eval_name or (data.name if data.eval_path is None else None),
        split=data.eval_split,
        revision=revision or (data.revision if path == data.path else None),
        samples=data.eval_samples,
    )


def holds_nothing_out(data: DataSpec) -> bool:
    """Return whether a round trains on all rows and measures no perplexity."""
    return held_out_set(data) is None and not data.eval_fraction


def name_held_out_field(error: LoratuiError) -> LoratuiError:
    """Return an error of reading the held-out set with its own fields in it, `data.eval_path` for `data.path`."""
    message = TRAINING_KEY.sub(r"data.eval_\1", error.message)
    if isinstance(error, SpecError):
        return SpecError(message, TRAINING_KEY.sub(r"data.eval_\1", error.key))
    return DatasetError(message) if isinstance(error, DatasetError) else error


def _place(data: DataSpec) -> tuple[str, str | None, str]:
    return data.path, data.name, data.split or SPLIT


def check_held_out(spec: Spec) -> None:
    """Raise SpecError for a held-out set that is the training data, and for what cannot be done without any."""
    data = spec.data
    own_set = held_out_set(data)
    if own_set is not None:
        if _place(own_set) == _place(data):
            raise SpecError(
                "the held-out set would be the training data itself: name another split of it in data.eval_split, or "
                "another file or dataset in data.eval_path",
                "data.eval_split",
            )
        return
    if data.eval_samples is not None:
        raise SpecError(
            f"data.eval_samples is {data.eval_samples}, but no held-out set is named: set data.eval_path or "
            f"data.eval_split, or use data.eval_fraction",
            "data.eval_samples",
        )
    if not holds_nothing_out(data):
        return
    needs = {
        "train.early_stopping_patience": spec.train.early_stopping_patience is not None,
        "train.load_best_model_at_end": spec.train.load_best_model_at_end,
        "generation.examples": spec.generation.examples > 0,
    }
    for key, wanted in needs.items():
        if wanted:
            raise SpecError(
                f"{key} needs held-out rows, and data.eval_fraction is 0: set it above 0, or name a held-out set in "
                f"data.eval_path",
                key,
            )
