"""A small model of the same code as a large one, on which operations are tried where a trace has no numbers to compare.

Which operations agree with a model's own depends on its code and not on how many layers it has.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig

from engine.spec.schema import Spec
from engine.training.kernels.replacement import Site
from engine.training.model.adapter import add_adapter
from engine.training.model.forward import choose_forward
from engine.training.model.loading import auto_class
from engine.training.model.operations import OPERATIONS

LAYERS, VOCABULARY = 2, 512
# The hidden size and the heads stay: kernels are chosen by them, and the angles of some models belong to them.
WIDTHS = {"intermediate_size": 256, "ffn_dim": 256, "n_inner": 256, "moe_intermediate_size": 64,
          "shared_expert_intermediate_size": 64}  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """Choices of `choose_forward` for a model, which hold for others of the same code.

    Attributes:
        packed, fused_head: as of `Forward`.
        sites: kinds of places whose operation is replaced.
    """

    packed: bool
    fused_head: bool
    sites: frozenset[tuple[str, str]]


def sites_of(model: torch.nn.Module, device_type: str) -> list[Site]:
    """Return the places of `model` whose operations may be replaced on a type of device."""
    return [site for find, devices in OPERATIONS if device_type in devices for site in find(model)]


def kind_of(site: Site) -> tuple[str, str]:
    """Return the operation of a place, and the class of its module."""
    return site.operation, type(getattr(site, "module", None)).__name__


def choices_for(spec: Spec, config: PretrainedConfig, dtype: torch.dtype, longest: int) -> Choices:
    """Return what the engine would choose for the round of `spec` on a processor, by a small model of random weights.

    A kind of place is replaced only if all of its places in the small model are.
    """
    model: Any = auto_class(config).from_config(_small(config), dtype=dtype)
    adapted = add_adapter(model, spec)
    own_attention = spec.model.attn_implementation != "auto"
    tried = {(*kind_of(site), site.alike): kind_of(site) for site in sites_of(adapted, "cpu")}
    forward = choose_forward(adapted, torch.device("cpu"), dtype, longest, own_attention=own_attention)
    replaced = {(*kind_of(site), site.alike) for site in forward.replacements.sites}
    refused = {kind for key, kind in tried.items() if key not in replaced}
    return Choices(forward.packed, forward.fused_head, frozenset(set(tried.values()) - refused))


def _small(config: PretrainedConfig) -> PretrainedConfig:
    """Return a copy of `config` with fewer layers, tokens and inner units."""
    small = copy.deepcopy(config)
    text: Any = small.get_text_config()
    _cut_layers(text)
    for name, most in {**WIDTHS, "vocab_size": VOCABULARY}.items():
        size = getattr(text, name, None)
        if isinstance(size, int) and size > most:
            setattr(text, name, most)
    for part in (small, text):
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            setattr(part, name, None)
    return small


def _cut_layers(text: Any) -> None:
    """Leave as many layers as show each kind of them."""
    layers = text.num_hidden_layers
    lists = {name: values for name, values in vars(text).items() if isinstance(values, list) and len(values) == layers}
    firsts = [values.index(value) + 1 for values in lists.values() for value in values]
    fewer = min(layers, max([LAYERS, *firsts]))
    for name, values in lists.items():
        setattr(text, name, values[:fewer])
    text.num_hidden_layers = fewer
