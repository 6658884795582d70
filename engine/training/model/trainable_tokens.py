"""The tokens whose embeddings are trained, each by itself (`lora.trainable_token_indices`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from transformers import PreTrainedTokenizerBase

from engine.errors import SpecError
from engine.preflight.base_model import check_token_ids
from engine.spec.lora import LoraSpec
from engine.training.model.loading import LARGER_EMBEDDING

KEY = "lora.trainable_token_indices"


def trainable_tokens(lora: LoraSpec, tokenizer: PreTrainedTokenizerBase, embedded: int | None = None) -> list[int]:
    """Return the ids of the spec's tokens.

    Raises:
        SpecError: a text is not one token of `tokenizer`, or one beyond those that the model has `embedded`.
    """
    ids = []
    for token in lora.trainable_token_indices or ():
        known = token if isinstance(token, int) else tokenizer.get_vocab().get(token)
        if known is None:
            raise SpecError(
                f"{KEY} has {token!r}, which is not one token of this tokenizer: name one that it has, or add it "
                f"to the model and its tokenizer first",
                KEY,
            )
        if isinstance(token, str) and embedded is not None and known >= embedded:
            raise SpecError(
                f"{KEY} has {token!r}, token {known} of the tokenizer, but the model embeds only {embedded}: "
                f"{LARGER_EMBEDDING}",
                KEY,
            )
        ids.append(known)
    return list(dict.fromkeys(ids))


def check_tokens(config: LoraConfig, tokens: Sequence[int], model: Any) -> None:
    """Raise SpecError if `tokens` cannot be trained beside all else that `config` has peft train in `model`."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    check_token_ids(tokens, embedding.num_embeddings)
    tied = head is not None and head.weight is embedding.weight
    for path, module in model.named_modules():
        if module is not embedding and not (tied and module is head):
            continue
        in_full = any(path.endswith(name) for name in config.modules_to_save or ())
        if in_full or check_target_module_exists(config, path):
            raise SpecError(
                f"{KEY} trains single rows of {path}, and lora.{'modules_to_save' if in_full else 'target_modules'} "
                f"trains all of it: take it out of one of the two",
                KEY,
            )
