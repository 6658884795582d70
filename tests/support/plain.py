"""The figures of a round, computed in the plainest way by transformers and peft alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.files.paths import RunDir
from engine.runs.events import AnyEvent, Evaluated, Finished
from tests.support.rounds_to_train import POSITIONS, spec_of

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n"
    "### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)


def load(directory: Path) -> Any:
    """The base model, ready to be asked."""
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    return model.eval()


def plain_scores(model: Any, directory: Path, run: RunDir, *, all_tokens: bool = False) -> list[tuple[float, int]]:
    """NLL and count of each held-out row's tokens: one row at a time, no padding, straight from the logits."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    data = spec_of(run).data
    rows = [json.loads(line) for line in Path(data.path).read_text().splitlines()]
    held_out = Dataset.from_list(rows).train_test_split(test_size=data.eval_fraction, seed=data.seed)["test"]
    scores = []
    for row in held_out:
        prompt = (WITH_INPUT if row["input"] else WITHOUT_INPUT).format(**row)
        start = 1 if all_tokens else len(tokenizer(prompt).input_ids)
        tokens = [*tokenizer(prompt + row["output"]).input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0].double()
        places = range(start, len(tokens))
        nlls = [float(torch.logsumexp(logits[at - 1], 0) - logits[at - 1][tokens[at]]) for at in places]
        scores.append((sum(nlls), len(nlls)))
    return scores


def plain_eval_loss(model: Any, directory: Path, run: RunDir, *, all_tokens: bool = False) -> tuple[float, int]:
    """Mean NLL and count of the held-out tokens."""
    nlls, counts = zip(*plain_scores(model, directory, run, all_tokens=all_tokens), strict=True)
    return sum(nlls) / sum(counts), sum(counts)


def evaluations_of(events: list[AnyEvent]) -> dict[int, Evaluated]:
    return {event.step: event for event in events if isinstance(event, Evaluated)}


def result_loss(events: list[AnyEvent]) -> float:
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.result.eval_loss is not None
    return last.result.eval_loss


def plain_answer(model: Any, tokenizer: Any, prompt: str, count: int) -> str:
    """The most likely token, one after the other, without a cache."""
    tokens = tokenizer(prompt).input_ids
    start = len(tokens)
    while len(tokens) < min(start + count, POSITIONS) and tokenizer.eos_token_id not in tokens[start:]:
        with torch.no_grad():
            tokens = [*tokens, int(model(torch.tensor([tokens])).logits[0, -1].argmax())]
    return str(tokenizer.decode(tokens[start:], skip_special_tokens=True)).strip()
