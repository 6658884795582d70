"""Define what a spec says of the adapter."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

ModuleNames = tuple[Annotated[str, Meta(min_length=1)], ...]
# A text without any of the characters of a regular expression is a name, whichever way it was written.
REGULAR_EXPRESSION = re.compile(r"[\\^$*+?|()\[\]{}]")
EMPTY_IS_OFF = {"empty": "off"}


class LoraSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """peft's `LoraConfig`, in its spelling."""

    r: Annotated[int, Meta(ge=1, le=4096, description="Rank of the adapter matrices.")] = 8
    lora_alpha: Annotated[int, Meta(ge=1, description="Scaling: the update is multiplied by lora_alpha / r.")] = 32
    use_rslora: Annotated[
        bool, Meta(description="Rank-stabilised LoRA: multiply the update by lora_alpha / sqrt(r) instead.")
    ] = False
    lora_dropout: Annotated[float, Meta(ge=0, lt=1, description="Dropout on the adapter's input.")] = 0.1
    target_modules: Annotated[
        ModuleNames | str,
        Meta(description="Modules that get an adapter: names, all-linear, or a regular expression for whole paths."),
    ] = ("q_proj", "v_proj")
    target_parameters: (
        Annotated[
            ModuleNames,
            Meta(
                description="Parameters that get an adapter, such as mlp.experts.down_proj; with lora_dropout 0 only.",
                extra={"empty": "none", "allowed": "names of parameters separated by commas"},
            ),
        ]
        | None
    ) = None
    exclude_modules: (
        Annotated[
            ModuleNames | str,
            Meta(
                description="Modules that get no adapter: names, or a regular expression for whole paths.",
                extra={"empty": "none", "allowed": "module names separated by commas, or a regular expression"},
            ),
        ]
        | None
    ) = None
    modules_to_save: (
        Annotated[
            ModuleNames,
            Meta(
                description="Modules that are trained in full and saved with the adapter, such as lm_head.",
                extra={"empty": "none", "allowed": "module names separated by commas"},
            ),
        ]
        | None
    ) = None
    trainable_token_indices: (
        Annotated[
            tuple[int | str, ...],
            Meta(
                description="Tokens whose embeddings are trained too: ids, or tokens as the tokenizer spells them.",
                extra={"empty": "none", "allowed": "ids of tokens, or tokens, separated by commas"},
            ),
        ]
        | None
    ) = None
    bias: Annotated[Literal["none", "all", "lora_only"], Meta(description="Which biases are trained too.")] = "none"
    use_dora: Annotated[
        bool, Meta(description="DoRA: train the length of each weight row separately from its direction; slower.")
    ] = False
    init_lora_weights: Annotated[
        Literal["true", "gaussian", "pissa", "pissa_niter_16"],
        Meta(description="Start of the adapter: true adds nothing; pissa takes the weights' largest singular values."),
    ] = "true"
    initial_adapter: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Adapter that training starts from, of the same shape as this one.",
                extra={"empty": "a fresh one", "allowed": "the number of a round, or the directory of an adapter"},
            ),
        ]
        | None
    ) = None
    loraplus_lr_ratio: (
        Annotated[
            float,
            Meta(ge=1, le=1000, description="LoRA+: the B matrices learn this many times faster.", extra=EMPTY_IS_OFF),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:  # msgspec 0.22 crashes at a pattern for one type of a union
        for name in ("target_modules", "exclude_modules"):
            value = getattr(self, name)
            is_word = name == "target_modules" and value == "all-linear"
            if isinstance(value, str) and not is_word and not REGULAR_EXPRESSION.search(value):
                raise ValueError(f"{name} is {value!r}, which is not a regular expression: put names into a list")
