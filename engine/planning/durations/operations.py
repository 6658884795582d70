"""Count the floating-point operations of training and evaluation, two for each multiplication with its addition.

A token goes through every matrix, forward and backward, and through attention to its row; the output head is computed
for supervised tokens alone. Frozen weights have no gradient, which LoRA saves (J. Kaplan et al., arXiv 2001.08361,
count a model that is trained in full).
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from engine.planning.activations import number_in
from engine.preflight.adapter_size import AdapterSize, adapter_size
from engine.preflight.base_model import read_config
from engine.preflight.base_weights import base_weights
from engine.preflight.families import KNOWN, family_of
from engine.spec.lora import LoraSpec

# Of its forward: a fused kernel computes the scores again. It is not used where scores are capped, as in Gemma 2.
FUSED_BACKWARD, CAPPED_BACKWARD = 2.5, 2.0


class Operations(Struct, frozen=True):
    """Operations of a forward pass.

    Attributes:
        matrices: of a token in all matrices but the output head.
        head: of a supervised token in the output head.
        attention: of a token for each token of its row, those outside a sliding window too, which are masked.
        adapter: of a token in the adapter.
        attention_backward: those of the backward pass of attention, by those of its forward pass.
    """

    matrices: float
    head: float
    attention: float
    adapter: float
    attention_backward: float = FUSED_BACKWARD

    def training(self, context: float, supervised: float, *, recompute: bool) -> float:
        """Return those of a token in training, in a row of `context` tokens of which the share `supervised` counts."""
        forward = self.matrices + self.adapter + self.attention * context
        backward = self.matrices + 2 * self.adapter + self.attention_backward * self.attention * context
        return forward * (2 if recompute else 1) + backward + 2 * supervised * self.head

    def evaluation(self, context: float, supervised: float) -> float:
        """Return those of a token when held-out rows are scored."""
        return self.matrices + self.adapter + self.attention * context + supervised * self.head


def operations_of(directory: Path, lora: LoraSpec, adapter: AdapterSize | None = None) -> Operations | None:
    """Return the operations of a local model with its adapter, None for a family whose weights are not known here.

    `adapter` is the size of the adapter where the caller knows it.

    Raises:
        ModelError, SpecError: as `adapter_size`.
    """
    config = read_config(directory)
    if family_of(config) not in KNOWN or "quantization_config" in config:
        return None
    adapter = adapter or adapter_size(directory, lora)
    weights = base_weights(directory)
    heads = number_in(config, "num_attention_heads", "n_head")
    width = number_in(config, "hidden_size", "n_embd")
    if adapter is None or not heads or not width:
        return None
    share = number_in(config, "num_experts_per_tok", "num_experts_per_token") or 1
    active = sum(
        size * (share / weights.shapes[name][0] if name in weights.experts else 1)
        for name, size in weights.matrices.items()
    )
    layers = number_in(config, "num_hidden_layers", "n_layer")
    head_width = number_in(config, "head_dim") or width // heads
    return Operations(
        matrices=2 * active,
        head=2 * width * number_in(config, "vocab_size"),
        attention=4 * layers * heads * head_width,
        adapter=2 * adapter.parameters,
        attention_backward=CAPPED_BACKWARD if config.get("attn_logit_softcapping") else FUSED_BACKWARD,
    )
