"""Rows as tokens: which of these are supervised, and the split into training and held-out rows."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from engine.dataset.rows import Row, Unusable
from engine.errors import DatasetError, ModelError
from engine.spec.data import DataSpec
from engine.spec.held_out import held_out_set
from engine.spec.mix import sources_of
from engine.spec.plan import split_sizes
from engine.training.data.answer_ends import answer_ends
from engine.training.data.render import RenderedRow, Renderer

TOKENISED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One row as tokens.

    Attributes:
        tokens: int32 [length], the row's token ids.
        supervised: bool [length], True for the tokens that count in the loss; never for the first, which nothing
            predicts.
    """

    tokens: torch.Tensor
    supervised: torch.Tensor

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def supervised_tokens(self) -> int:
        """Number of tokens that count in the loss."""
        return int(self.supervised.sum())


@dataclass(frozen=True)
class TokenisedRows:
    """Examples in full length, before they are cut.

    Attributes:
        warnings: one sentence for each kind of row or answer that is not learned, or is rendered unexpectedly.
        plain_template: whether the tokenizer had no chat template and got a plain one.
    """

    examples: list[Example]
    warnings: tuple[str, ...]
    plain_template: bool


def tokenise(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    data: DataSpec,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> TokenisedRows:
    """Tokenise the rows; `progress(done, total)` is called after each thousand.

    Raises:
        ModelError: the tokenizer cannot locate its tokens in the text, or has several chat templates and no default.
        DatasetError: the chat template leaves fewer than two rows.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} cannot tell where its tokens lie in the text: convert it to "
            f"a tokenizer.json"
        )
    renderer = Renderer(rows, tokenizer, data)
    examples: list[Example] = []
    refused: list[str] = []
    for start in range(0, len(rows), TOKENISED_AT_ONCE):
        batch = rows[start : start + TOKENISED_AT_ONCE]
        rendered = []
        for row in batch:
            try:
                rendered.append(renderer.render(row))
            except Unusable as error:
                refused.append(str(error))
        examples += make_examples(rendered, tokenizer)
        progress(start + len(batch), len(rows))
    if refused and len(examples) < 2:
        raise DatasetError(f"{len(refused)} of {len(rows)} rows of {data.path} cannot be used: {refused[0]}")
    warnings = _tokenising_warnings(renderer, refused, len(rows), data)
    return TokenisedRows(examples, tuple(warnings), renderer.plain_template)


def _tokenising_warnings(renderer: Renderer, refused: list[str], total: int, data: DataSpec) -> list[str]:
    warnings = []
    if data.chat_template is not None and not renderer.uses_chat_template:
        warnings.append(
            f"data.chat_template is {data.chat_template}, but no row is rendered by it: set data.prompt_template to "
            f"chat_template"
        )
    if renderer.plain_template:
        warnings.append(
            "the tokenizer has no chat template: conversations are written with USER: and ASSISTANT:, by a template "
            "that is saved with the adapter"
        )
    if refused:
        _, were = verbs(len(refused))
        warnings.append(f"{len(refused)} of {total} rows {were} left out; the first because {refused[0]}")
    if renderer.begun:
        warnings.append(
            f"{renderer.begun} of {total} rows begin with the start token: the tokenizer does not add a second one"
        )
    if renderer.rewritten:
        are, _ = verbs(renderer.rewritten)
        warnings.append(
            f"{renderer.rewritten} answers {are} not learned: the chat template writes them differently when more "
            f"messages follow"
        )
    return warnings


def make_examples(rendered: Sequence[RenderedRow], tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    """Tokenise each text; a token is supervised if any of it lies in a supervised part."""
    examples: list[Example | None] = [None] * len(rendered)
    ends = answer_ends(tokenizer)
    for add_special_tokens in (True, False):
        indices = [index for index, row in enumerate(rendered) if row.add_special_tokens is add_special_tokens]
        if not indices:
            continue
        with redirect_stderr(io.StringIO()):  # the tokenizer warns of long rows, which are cut later
            encoded = tokenizer(
                [rendered[index].text for index in indices],
                add_special_tokens=add_special_tokens,
                return_offsets_mapping=True,
            )
        for index, tokens, offsets in zip(indices, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            examples[index] = _example(rendered[index], tokens, offsets, ends)
    return [example for example in examples if example is not None]


def _example(
    rendered: RenderedRow, tokens: list[int], offsets: list[tuple[int, int]], last_tokens: tuple[int, ...]
) -> Example:
    """Make an example; where its text does not end an answer, the first of `last_tokens` does."""
    starts, ends = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
    before = np.maximum.accumulate(np.concatenate(([0], ends)))[:-1]
    starts = np.where(starts == ends, before, starts)  # some tokenizers leave spaces out of a token's offsets
    supervised = np.zeros(len(tokens) + 1, dtype=bool)
    for start, end in rendered.supervised:
        supervised[:-1] |= (ends > start) & (starts < end)
    if rendered.append_eos and not (tokens and tokens[-1] in last_tokens):
        tokens = [*tokens, last_tokens[0]]
    supervised = supervised[: len(tokens)]
    if rendered.append_eos:
        supervised[-1] = True
    supervised[:1] = False
    return Example(torch.tensor(tokens, dtype=torch.int32), torch.from_numpy(supervised))


def verbs(count: int) -> tuple[str, str]:
    """Return `is` and `was` for one, else `are` and `were`."""
    return ("is", "was") if count == 1 else ("are", "were")


def split(examples: Sequence[Example], data: DataSpec) -> tuple[list[Example], list[Example]]:
    """Return (train, held-out) examples, as `datasets.Dataset.train_test_split` divides them with this seed.

    Nothing is held out if there is a separate held-out set.
    """
    order = np.random.default_rng(data.seed).permutation(len(examples))
    _, held_out = split_sizes(len(examples), data.eval_fraction) if held_out_set(data) is None else (0, 0)
    return [examples[index] for index in order[held_out:]], [examples[index] for index in order[:held_out]]


def mix(parts: Sequence[Sequence[Example]], data: DataSpec) -> list[Example]:
    """Return the training rows of an epoch: the first part once, each other as often as its source in `data.mix` says.

    Of a part that does not come a whole number of times, the rows that come once more are the same in every epoch.
    """
    first, *others = parts
    mixed = list(first)
    for source, part in zip(sources_of(data), others, strict=True):
        mixed += itertools.islice(itertools.cycle(part), source.times(len(part)))
    return mixed
