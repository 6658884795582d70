"""From rows to tokens: the prompt, which tokens are supervised, and the split."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from engine.dataset import Row, Rows, local_data_file, read_rows, usable_rows
from engine.errors import DatasetError, SpecError
from engine.spec import DataSpec
from engine.training.hub import explain

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
TOKENISED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One row.

    Attributes:
        tokens: int32 [length], the row's token ids.
        supervised: bool [length], True for the tokens that are predicted and counted in the loss; never for the
            first, as nothing predicts it.
    """

    tokens: torch.Tensor
    supervised: torch.Tensor

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def supervised_tokens(self) -> int:
        """How many tokens count."""
        return int(self.supervised.sum())


def make_example(tokens: Sequence[int], supervised_from: int) -> Example:
    """An example whose tokens from `supervised_from`, at least 1, on are supervised."""
    supervised = torch.arange(len(tokens)) >= max(1, supervised_from)
    return Example(torch.tensor(tokens, dtype=torch.int32), supervised)


def load_rows(data: DataSpec) -> Rows:
    """The rows that `data` names, from a local file or the hub.

    Raises:
        DatasetError: they cannot be had, or are not what the spec says.
    """
    file = local_data_file(data.path)
    return read_rows(file, data.samples) if file is not None else _load_from_hub(data)


def _load_from_hub(data: DataSpec) -> Rows:
    import datasets

    datasets.disable_progress_bars()
    try:
        # The slice may ask for more rows than there are: then all come, and `usable_rows` says how many those are.
        split = "train" if data.samples is None else f"train[:{data.samples}]"
        dataset = datasets.load_dataset(data.path, split=split)
    except Exception as error:  # the library raises whatever its readers and the network raise
        reason = explain(error, f"datasets/{data.path}", "a .json or .jsonl file")
        raise DatasetError(f"data.path is {data.path!r}: {reason}") from error
    return usable_rows(list(dataset), data.samples, data.path)


def render_prompt(row: Row) -> str:
    """Alpaca's prompt, up to where the response begins (https://github.com/tatsu-lab/stanford_alpaca)."""
    template = WITH_INPUT if row.input.strip() else WITHOUT_INPUT
    return template.format(instruction=row.instruction, input=row.input)


def tokenise(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, data: DataSpec
) -> Iterator[tuple[list[Example], int]]:
    """Batches of (examples whole, end-of-sequence token included, not yet cut; rows done so far)."""
    for start in range(0, len(rows), TOKENISED_AT_ONCE):
        batch = rows[start : start + TOKENISED_AT_ONCE]
        prompts = [render_prompt(row) for row in batch]
        texts = [prompt + row.output for prompt, row in zip(prompts, batch, strict=True)]
        with redirect_stderr(io.StringIO()):  # the tokenizer warns of rows that are cut here anyway
            prompt_ids = tokenizer(prompts)["input_ids"]
            text_ids = tokenizer(texts)["input_ids"]
        examples = [
            _example(prompt, text, tokenizer.eos_token_id, data.supervised_tokens == "all")
            for prompt, text in zip(prompt_ids, text_ids, strict=True)
        ]
        yield examples, start + len(batch)


def _example(prompt: list[int], text: list[int], eos: int | None, supervise_all: bool) -> Example:
    """The response begins where prompt and whole text part: a token that spans both belongs to the response."""
    common = next(
        (i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), min(len(prompt), len(text))
    )
    tokens = text if eos is None or text[-1:] == [eos] else [*text, eos]
    return make_example(tokens, 1 if supervise_all else common)


def _verbs(count: int) -> tuple[str, str]:
    return ("is", "was") if count == 1 else ("are", "were")


@dataclass(frozen=True)
class CutExamples:
    """Examples no longer than `max_length`, and how many rows were cut or lost their whole response to the cut."""

    examples: list[Example]
    cut: int
    dropped: int

    def warnings(self, max_length: int) -> list[str]:
        total, told = len(self.examples) + self.dropped, []
        if self.cut:
            are, were = _verbs(self.cut)
            told.append(
                f"{self.cut} of {total} rows {are} longer than data.max_length {max_length} tokens and {were} cut"
            )
        if self.dropped:
            _, were = _verbs(self.dropped)
            told.append(
                f"{self.dropped} of {total} rows {were} left out: cut at data.max_length {max_length} tokens, "
                f"no supervised token is left"
            )
        return told


def cut(examples: Sequence[Example], max_length: int) -> CutExamples:
    """Cut examples to `max_length` tokens and leave out those with no supervised token left.

    Raises:
        SpecError: fewer than two are left.
    """
    long = sum(len(example) > max_length for example in examples)
    shortened = [Example(example.tokens[:max_length], example.supervised[:max_length]) for example in examples]
    kept = [example for example in shortened if example.supervised_tokens > 0]
    if len(kept) < 2:
        raise SpecError(
            f"data.max_length is {max_length} tokens: cut there, {len(kept)} of {len(examples)} rows keep any "
            f"supervised token, and at least 2 are needed",
            "data.max_length",
        )
    return CutExamples(kept, long, len(shortened) - len(kept))


def split(examples: Sequence[Example], data: DataSpec) -> tuple[list[Example], list[Example]]:
    """(train, held-out) examples, as `datasets.Dataset.train_test_split` divides them with this seed."""
    from datasets import Dataset

    indices = Dataset.from_dict({"index": range(len(examples))}).train_test_split(
        test_size=data.eval_fraction, seed=data.seed
    )
    train, held_out = ([examples[index] for index in indices[part]["index"]] for part in ("train", "test"))
    return train, held_out
