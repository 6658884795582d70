"""Define the spec, which decides a round.

The structs are the only source: their types and bounds validate, and their descriptions explain a field wherever it is
shown. Options of peft and transformers keep the names they have there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from engine.errors import SpecError
from engine.spec.data import DataSpec, Seed
from engine.spec.lora import EMPTY_IS_OFF, LoraSpec

SAMPLED_PROMPTS = 3  # that the model answers after each evaluation, with `train.sample_tokens`


class ModelSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The base model and the precision it is held in."""

    path: Annotated[str, Meta(min_length=1, description="Base model: a hub name or a local directory.")]
    revision: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Commit, tag or branch of a base model of the hub.",
                extra={"empty": "main", "allowed": "a commit, a tag or a branch"},
            ),
        ]
        | None
    ) = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(description="Precision of the base model; auto takes the best that the device computes natively."),
    ] = "auto"
    load_in_4bit: Annotated[
        bool, Meta(description="QLoRA: hold the base model in 4 bits (NF4); needs loratui's extra qlora.")
    ] = False
    load_in_8bit: Annotated[
        bool, Meta(description="Hold the base model in 8 bits (LLM.int8); needs loratui's extra qlora.")
    ] = False
    attn_implementation: Annotated[
        Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"],
        Meta(description="Attention, with rows padded; auto packs the rows where that gives the same results."),
    ] = "auto"
    trust_remote_code: Annotated[
        bool, Meta(description="Run Python code that comes with the model, with all your rights; few models need it.")
    ] = False


class TrainSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """transformers' `TrainingArguments`, in their spelling."""

    learning_rate: Annotated[
        float,
        Meta(gt=0, le=10, description="Peak learning rate; lr_scheduler_type decides how it changes."),
    ] = 2e-4
    per_device_train_batch_size: Annotated[
        int, Meta(ge=1, description="Rows in one micro-batch; effective batch = this × accumulation.")
    ] = 4
    gradient_accumulation_steps: Annotated[
        int,
        Meta(ge=1, description="Micro-batches per optimizer step; effective batch = batch × this."),
    ] = 8
    num_train_epochs: Annotated[
        float,
        Meta(gt=0, le=10000, description="Passes over the training rows; may be a fraction."),
    ] = 3.0
    max_steps: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Optimizer steps of the round, whatever num_train_epochs is.",
                extra={"empty": "off", "empty_too": "-1"},  # as transformers writes it
            ),
        ]
        | None
    ) = None
    warmup_steps: Annotated[
        float,
        Meta(
            ge=0, description="Steps over which the learning rate rises; below 1 a share of all steps (warmup_ratio)."
        ),
    ] = 0.0
    lr_scheduler_type: Annotated[
        Literal[
            "linear",
            "cosine",
            "cosine_with_restarts",
            "cosine_with_min_lr",
            "cosine_warmup_with_min_lr",
            "polynomial",
            "inverse_sqrt",
            "warmup_stable_decay",
            "constant",
            "constant_with_warmup",
            "reduce_lr_on_plateau",
            "greedy",
        ],
        Meta(description="How the learning rate changes after warm-up; the last two go by the eval loss, without one."),
    ] = "linear"
    lr_scheduler_kwargs: (
        Annotated[
            str,
            Meta(
                pattern=r"^\s*\w+\s*=\s*[^,=\s]+\s*(,\s*\w+\s*=\s*[^,=\s]+\s*)*\Z",
                description="Arguments of the scheduler by transformers' names, such as num_cycles=2.",
                extra={"empty": "none", "allowed": "pairs such as min_lr_rate=0.1, num_cycles=0.5"},
            ),
        ]
        | None
    ) = None
    optim: Annotated[
        Literal[
            "adamw_torch_fused",
            "adamw_torch",
            "adamw_8bit",
            "paged_adamw_8bit",
            "paged_adamw_32bit",
            "adafactor",
            "lion_32bit",
            "lion_8bit",
            "paged_lion_8bit",
        ],
        Meta(
            description="Optimizer; those with 8bit, 32bit or paged in their name need loratui's extra qlora.",
            extra={"aliases": {"lion": "lion_32bit", "adamw_bnb_8bit": "adamw_8bit"}},
        ),
    ] = "adamw_torch_fused"
    adam_beta1: Annotated[float, Meta(ge=0, lt=1, description="Decay of the mean of gradients, in AdamW and Lion.")] = (
        0.9
    )
    adam_beta2: Annotated[
        float,
        Meta(ge=0, lt=1, description="Decay of the mean of squared gradients in AdamW, of the update in Lion."),
    ] = 0.999
    adam_epsilon: Annotated[
        float, Meta(gt=0, le=1, description="Added to AdamW's denominator, so that it is not zero.")
    ] = 1e-8
    weight_decay: Annotated[
        float,
        Meta(ge=0, le=1, description="Decay of the weights towards 0; not for biases and norms."),
    ] = 0.0
    max_grad_norm: Annotated[
        float, Meta(ge=0, description="A gradient with a larger norm is scaled down to this norm; 0 is off.")
    ] = 1.0
    logging_steps: Annotated[
        int, Meta(ge=1, description="Write the mean loss to the log every N steps; the curve has every step.")
    ] = 10
    eval_strategy: Annotated[
        Literal["no", "epoch", "steps"],
        Meta(description="When the held-out rows are scored; always before the first step and after the last."),
    ] = "epoch"
    eval_steps: Annotated[
        float,
        Meta(
            gt=0,
            description="Steps between evaluations when eval_strategy is steps; below 1 it is a share of all steps.",
        ),
    ] = 50.0
    save_strategy: Annotated[
        Literal["no", "epoch", "steps"],
        Meta(description="When checkpoints are written; always at least one before the end, and one at the end."),
    ] = "epoch"
    save_steps: Annotated[int, Meta(ge=1, description="Steps between checkpoints when save_strategy is steps.")] = 50
    save_total_limit: (
        Annotated[
            int, Meta(ge=1, description="Keep only the newest N checkpoints, and the best.", extra={"empty": "all"})
        ]
        | None
    ) = None
    early_stopping_patience: (
        Annotated[
            int,
            Meta(ge=1, description="End after N evaluations in a row without a lower eval loss.", extra=EMPTY_IS_OFF),
        ]
        | None
    ) = None
    load_best_model_at_end: Annotated[
        bool, Meta(description="Keep the adapter with the lowest eval loss instead of the last one.")
    ] = False
    sample_tokens: Annotated[
        int, Meta(ge=0, le=4096, description="Length of the sample answers after each evaluation; 0 makes none.")
    ] = 40
    gradient_checkpointing: Annotated[
        bool | Literal["auto"],
        Meta(description="Recompute activations: less memory, more time; auto does it only if a row does not fit."),
    ] = "auto"
    micro_batches: Annotated[
        Literal["auto", "fixed"],
        Meta(description="Slice the effective batch as written (fixed), or as memory allows; results are the same."),
    ] = "auto"
    torch_compile: Annotated[
        bool, Meta(description="Compile the model: training starts minutes later, which pays off in long runs only.")
    ] = False
    seed: Annotated[Seed, Meta(description="Seed of the adapter's start, the order of rows and dropout.")] = 42

    def __post_init__(self) -> None:
        if self.eval_steps >= 1 and not self.eval_steps.is_integer():
            raise ValueError(f"eval_steps is {self.eval_steps}: from 1 on it must be a whole number")


class GenerationSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Greedy answers to held-out prompts, scored with BLEU, chrF and ROUGE; transformers' `GenerationConfig`."""

    examples: Annotated[
        int,
        Meta(ge=0, description="Score answers to the first N held-out prompts, before and after; 0 scores none."),
    ] = 0
    max_new_tokens: Annotated[int, Meta(ge=1, le=4096, description="Length of a scored answer in tokens, at most.")] = (
        128
    )


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides a round. Its JSON nests as its dotted keys do: `train.learning_rate`."""

    model: ModelSpec
    data: DataSpec
    lora: LoraSpec = LoraSpec()
    train: TrainSpec = TrainSpec()
    generation: GenerationSpec = GenerationSpec()


def decode_spec(nested: Any) -> Spec:
    """Convert the nested JSON form of a spec.

    Raises:
        SpecError: the message names the field and what is wrong with it.
    """
    try:
        return msgspec.convert(nested, Spec)
    except msgspec.ValidationError as error:
        raise SpecError(f"the spec is not valid: {error}") from error
