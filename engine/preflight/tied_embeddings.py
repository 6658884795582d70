"""Warn of an adapter on one of the two embeddings of a model that share their weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.preflight.base_model import ALSO_TARGETS, read_config, tensor_shapes
from engine.preflight.base_weights import base_weights
from engine.preflight.regular_expression import full_matches
from engine.spec.lora import LoraSpec

INPUT, OUTPUT = "the input embedding", "the output head"
OTHER = {"lm_head": INPUT, "embed_tokens": OUTPUT}


def adapted_alone(name: str, other: str) -> str:
    """Return the warning that a LoRA adapter changes `name`, but not `other`, which shares its weights."""
    return (
        f"lora.target_modules has {name}, whose weights {other} shares: the adapter changes {name} only, and a merge "
        f"into the base would change both: do not merge it, or name {name} in lora.modules_to_save instead"
    )


def saved_alone(name: str, other: str) -> str:
    """Return the warning that `name` is trained in full, but not `other`, which shares its weights."""
    return (
        f"lora.modules_to_save has {name}, whose weights {other} shares: only {name} is trained, and a merged model "
        f"holds both"
    )


def tied_warnings(directory: Path, lora: LoraSpec) -> list[str]:
    """Return the warnings on a local model, one for each embedding that the spec names."""
    if not ties_embeddings(directory):
        return []
    targets, saved = lora.target_modules, lora.modules_to_save or ()
    if isinstance(targets, str) and targets != "all-linear":
        targets = tuple(full_matches("lora.target_modules", targets, sorted(_paths_of_embeddings(directory))))
    in_full = _embeddings_in(saved)
    adapted = _embeddings_in(targets if isinstance(targets, tuple) else ()) - in_full
    alone = in_full if len(in_full) == 1 else set()
    return [adapted_alone(name, OTHER[name]) for name in sorted(adapted)] + [
        saved_alone(name, OTHER[name]) for name in alone
    ]


def _embeddings_in(names: Iterable[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names} & ALSO_TARGETS


def _paths_of_embeddings(directory: Path) -> set[str]:
    paths = {*base_weights(directory).layers, "lm_head"}
    return {path for path in paths if path.rpartition(".")[2] in ALSO_TARGETS}


def ties_embeddings(directory: Path) -> bool:
    """Return what the config says, or else whether the weights have no head of their own."""
    config = read_config(directory)
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        if isinstance(tied := part.get("tie_word_embeddings"), bool):
            return tied
    return not any(name.rpartition(".")[0].endswith("lm_head") for name in tensor_shapes(directory))
