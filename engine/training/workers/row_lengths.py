"""Lengths of rows in tokens: `python -P -m engine.training.workers.row_lengths`, for `engine.planning.length_request`.

It reads a spec as a line of JSON, tokenises some rows of each of its sets as the engine would, and replies with
`RowLengths`.
"""

from __future__ import annotations

import sys

import msgspec

from engine.dataset.load import check_source, count_rows, local_data_path, read_rows, rendered_alike
from engine.dataset.rows import Rows
from engine.errors import DatasetError
from engine.planning.row_lengths import RowLengths, SetLengths
from engine.spec.data import DataSpec
from engine.spec.held_out import held_out_set
from engine.spec.schema import Spec
from engine.spec.sources import data_to_read
from engine.training.runtime.imports import importing
from engine.training.workers.start import start_worker

MEASURED_ROWS = 10_000  # of each set: a second or two


def main() -> None:
    replies = start_worker()
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=Spec)
    with replies.errors_as_refusals():
        replies.send(measure(spec))


def measure(spec: Spec, most: int = MEASURED_ROWS) -> RowLengths:
    """Return the lengths of up to about `most` rows of each set that `spec` trains on.

    Raises:
        LoratuiError: as the engine for the same spec.
    """
    with importing(spec.model, spec.data, weights=False):
        from engine.training.data.chat_templates import choose_chat_template
        from engine.training.data.tokenize import tokenise
        from engine.training.model.loading import load_tokenizer

    tokenizer = load_tokenizer(spec.model)
    choose_chat_template(tokenizer, spec.data)
    parts = [part for part, _ in data_to_read(spec.data)]
    spread = [_spread_rows(part, most) for part in parts]
    sets = rendered_alike([rows for rows, _ in spread], spec.data)
    trained = sets if held_out_set(spec.data) is None else sets[:-1]
    measured = []
    for part, rows, (_, total) in zip(parts, trained, spread, strict=False):
        tokenised = tokenise(rows.usable, tokenizer, spec.data).examples
        examples = [example for example in tokenised if example.supervised_tokens]
        if not examples:
            raise DatasetError(f"none of {len(rows)} rows of {part.path} has a supervised token")
        usable = len(examples) if total is None else round(total * len(examples) / len(rows))
        firsts = tuple(int(example.supervised.int().argmax()) for example in examples)
        measured.append(SetLengths(usable, tuple(map(len, examples)), firsts, rows.format.name == "text"))
    return RowLengths(tuple(measured))


def _spread_rows(data: DataSpec, most: int) -> tuple[Rows, int | None]:
    """Return up to about `most` rows of a set, evenly spread, and the number of all of them if these are not all."""
    check_source(data)
    path = local_data_path(data.path)
    if path is None:
        from engine.training.data.hub import load_from_hub

        rows = load_from_hub(data)
        every = -(-len(rows) // most)
        if every == 1:
            return rows, None
        return msgspec.structs.replace(rows, usable=rows.usable[::every], passed_over=rows.passed_over[::every]), len(
            rows
        )
    counted = count_rows(path, data)
    total = counted.usable + counted.passed_over
    every = -(-total // most)
    return read_rows(path, data, every), (None if every == 1 else total)


if __name__ == "__main__":
    main()
