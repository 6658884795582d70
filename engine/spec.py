"""What decides a round: the spec, its fields, and how a person's text becomes their values.

The structs are the single source: types and bounds validate, descriptions explain a field wherever it is shown, and
peft's and transformers' own option names are kept where one of their options is meant.
"""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from engine.errors import SpecError

ModuleNames = tuple[Annotated[str, Meta(min_length=1)], ...]
# Of str.format's language nothing but these names, so that no row or spec reaches into an object.
PROMPT_TEMPLATE = (
    r"^(auto|alpaca|chat_template|(?=([^{}]|\{\{|\}\}|\{input\})*\{(instruction|prompt)\})"
    r"([^{}]|\{\{|\}\}|\{(instruction|input|prompt)\})*)\Z"
)
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
EMPTY_IS_OFF = {"empty": "off"}


class ModelSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The base model and the precision it is held in."""

    path: Annotated[str, Meta(min_length=1, description="Base model: a hub name or a local directory.")]
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(description="Precision of the base model; auto takes the best the device has natively."),
    ] = "auto"
    load_in_4bit: Annotated[
        bool, Meta(description="QLoRA: hold the base model in 4 bits (NF4); needs loratui's extra qlora.")
    ] = False


class DataSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The rows, how they are split, and which of their tokens are learned."""

    path: Annotated[
        str, Meta(min_length=1, description="Training data: a .json, .jsonl, .csv or .parquet file, or a hub dataset.")
    ]
    format: Annotated[
        Literal["auto", "alpaca", "sharegpt", "messages", "prompt-completion", "text"],
        Meta(description="Form of the rows; auto tells it by their columns."),
    ] = "auto"
    prompt_template: Annotated[
        str,
        Meta(
            pattern=PROMPT_TEMPLATE,
            description="Prompt of a row; auto: Alpaca's for Alpaca rows, the tokenizer's chat template for "
            "conversations, others as they stand.",
            extra={
                "allowed": r"auto, alpaca, chat_template, or your own text up to the response, with {prompt} or "
                r"{instruction} and {input} in it and \n for a line break"
            },
        ),
    ] = "auto"
    samples: Annotated[int, Meta(ge=2, description="Use the first N rows.", extra={"empty": "all"})] | None = None
    eval_fraction: Annotated[
        float, Meta(gt=0, lt=1, description="Share of the rows held out for perplexity, never trained on.")
    ] = 0.1
    max_length: Annotated[int, Meta(ge=8, description="Longest row in tokens; what is longer is cut off.")] = 512
    supervised_tokens: Annotated[
        Literal["response", "all"],
        Meta(description="Which tokens the loss and the perplexity count: the response's, or all."),
    ] = "response"
    seed: Annotated[Seed, Meta(description="Seed of the split into training and held-out rows.")] = 42


class LoraSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """peft's `LoraConfig`, in its spelling."""

    r: Annotated[int, Meta(ge=1, le=4096, description="Rank of the adapter matrices.")] = 8
    lora_alpha: Annotated[int, Meta(ge=1, description="Scaling: the update is multiplied by lora_alpha / r.")] = 32
    use_rslora: Annotated[
        bool, Meta(description="Rank-stabilised LoRA: multiply the update by lora_alpha / sqrt(r) instead.")
    ] = False
    lora_dropout: Annotated[float, Meta(ge=0, lt=1, description="Dropout on the adapter's input.")] = 0.1
    target_modules: Annotated[
        ModuleNames | Literal["all-linear"],
        Meta(description="Modules that get an adapter: names with commas between, or all-linear."),
    ] = ("q_proj", "v_proj")
    bias: Annotated[Literal["none", "all", "lora_only"], Meta(description="Which biases are trained along.")] = "none"
    use_dora: Annotated[
        bool, Meta(description="DoRA: train the length of each weight row apart from its direction; slower.")
    ] = False
    init_lora_weights: Annotated[
        Literal["true", "gaussian", "pissa", "pissa_niter_16"],
        Meta(description="Start of the adapter: true adds nothing; pissa takes the weights' largest singular values."),
    ] = "true"
    loraplus_lr_ratio: (
        Annotated[
            float,
            Meta(ge=1, le=1000, description="LoRA+: the B matrices learn this many times faster.", extra=EMPTY_IS_OFF),
        ]
        | None
    ) = None


class TrainSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """transformers' `TrainingArguments`, in their spelling."""

    learning_rate: Annotated[
        float,
        Meta(gt=0, le=10, description="Peak learning rate; where it goes from there, lr_scheduler_type says."),
    ] = 2e-4
    per_device_train_batch_size: Annotated[
        int, Meta(ge=1, description="Rows in one micro-batch; times accumulation it is the effective batch.")
    ] = 4
    gradient_accumulation_steps: Annotated[
        int,
        Meta(ge=1, description="Micro-batches per optimizer step; times the batch it is the effective batch."),
    ] = 8
    num_train_epochs: Annotated[
        float,
        Meta(gt=0, le=10000, description="How often the training rows are gone through; may be a fraction."),
    ] = 3.0
    warmup_steps: Annotated[
        float,
        Meta(ge=0, description="Steps over which the learning rate rises; below 1 it is a share of all steps."),
    ] = 0.0
    lr_scheduler_type: Annotated[
        Literal["linear", "cosine", "constant", "constant_with_warmup"],
        Meta(description="How the learning rate goes on after warm-up; constant has no warm-up."),
    ] = "linear"
    weight_decay: Annotated[
        float,
        Meta(ge=0, le=1, description="AdamW's decay of the weights towards 0, biases and norms left out."),
    ] = 0.0
    max_grad_norm: Annotated[
        float, Meta(ge=0, description="A gradient longer than this is scaled down to it; 0 leaves it as it is.")
    ] = 1.0
    logging_steps: Annotated[
        int, Meta(ge=1, description="Write the mean loss to the log every N steps; the curve has every step.")
    ] = 10
    save_strategy: Annotated[
        Literal["no", "epoch", "steps"],
        Meta(description="When checkpoints are written; at least one before the end, and one at the end, always are."),
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
        bool, Meta(description="Compile the model: pays in long runs only, as it starts minutes later.")
    ] = False
    seed: Annotated[Seed, Meta(description="Seed of the adapter's start, the order of rows and dropout.")] = 42


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides a round. Its JSON nests as its dotted keys do: `train.learning_rate`."""

    model: ModelSpec
    data: DataSpec
    lora: LoraSpec = LoraSpec()
    train: TrainSpec = TrainSpec()


class SpecField(Struct, frozen=True):
    """One hyperparameter as a person meets it.

    `allowed` says in words which values pass; `choices` is empty unless the field is a choice among words; `empty` is
    the word for a value left empty, such as "all" or "off", and "" where a value must be given.
    """

    key: str
    kind: Literal["text", "int", "float", "choice", "modules", "template"]
    description: str
    allowed: str
    choices: tuple[str, ...] = ()
    empty: str = ""

    @property
    def group(self) -> str:
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        return self.key.partition(".")[2]


DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".gz")
SECTIONS: dict[str, type[Struct]] = {
    "model": ModelSpec,
    "data": DataSpec,
    "lora": LoraSpec,
    "train": TrainSpec,
}
NUMBER_WORDS = {int: "a whole number", float: "a number"}


def _unwrap(annotation: Any) -> tuple[Any, Meta]:
    """The bare type and its merged constraints; None as an alternative is told by `extra["empty"]`."""
    args = get_args(annotation)
    if type(None) in args:
        annotation = next(arg for arg in args if arg is not type(None))
    metas: list[Meta] = []
    while get_origin(annotation) is Annotated:
        inner = get_args(annotation)
        metas.extend(item for item in inner[1:] if isinstance(item, Meta))
        annotation = inner[0]
    merged = {
        name: value
        for meta in reversed(metas)
        for name in ("ge", "gt", "le", "lt", "pattern", "description", "extra")
        if (value := getattr(meta, name)) is not None
    }
    return annotation, Meta(**merged)


def _allowed(bare: Any, meta: Meta) -> str:
    """The values a number field takes, in words."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{word} {format_value(bound)}" for name, word in words.items() if (bound := getattr(meta, name)) is not None
    ]
    return " ".join([NUMBER_WORDS[bare], " and ".join(bounds)]).strip()


def _words(bare: Any) -> dict[str, Any]:
    """The values of a field that is a choice among a few, by the word for each; empty for any other field."""
    if bare is bool:
        return {"true": True, "false": False}
    if get_origin(bare) is Literal:
        return {format_value(value): value for value in get_args(bare)}
    if get_origin(bare) in (Union, UnionType) and all(map(_words, get_args(bare))):
        return {word: value for part in reversed(get_args(bare)) for word, value in _words(part).items()}
    return {}


def _describe(key: str, annotation: Any) -> SpecField:
    bare, meta = _unwrap(annotation)
    description = meta.description or ""
    empty = (meta.extra or {}).get("empty", "")
    if words := _words(bare):
        allowed = " or ".join(words) if len(words) == 2 else "one of " + ", ".join(words)
        return SpecField(key, "choice", description, allowed, tuple(words))
    if bare is str:
        kind: Literal["text", "template"] = "template" if meta.pattern else "text"
        return SpecField(key, kind, description, (meta.extra or {}).get("allowed", "a name or a path"))
    if bare in NUMBER_WORDS:
        allowed = _allowed(bare, meta) + (f", or empty for {empty}" if empty else "")
        return SpecField(key, "int" if bare is int else "float", description, allowed, empty=empty)
    return SpecField(key, "modules", description, "module names with commas between, or all-linear")


@cache
def spec_fields() -> dict[str, SpecField]:
    """Every hyperparameter by its dotted key, in the order of the spec."""
    return {
        f"{section}.{name}": _describe(f"{section}.{name}", annotation)
        for section, struct in SECTIONS.items()
        for name, annotation in get_type_hints(struct, include_extras=True).items()
    }


@cache
def _annotations(section: str) -> dict[str, Any]:
    return get_type_hints(SECTIONS[section], include_extras=True)


def format_value(value: object) -> str:
    """A value as a person types it: `2e-4`, `0.1`, `3`, `q_proj, v_proj`, `true`, and nothing for None.

    `parse_value` reads the text back to the same value.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _format_float(value)
    if isinstance(value, (tuple, list)):
        return ", ".join(str(item) for item in value)
    return str(value)


def describe_value(key: str, value: object) -> str:
    """`format_value`, and for None the word for what it means in the field `key`, such as `all` or `off`."""
    return spec_fields()[key].empty if value is None else format_value(value)


def _format_float(value: float) -> str:
    if not math.isfinite(value):
        return repr(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if abs(value) >= 1e-3:
        return repr(value)
    shortest = next(text for digits in range(17) if float(text := f"{value:.{digits}e}") == value)
    mantissa, _, exponent = shortest.partition("e")
    return f"{mantissa}e{int(exponent)}"


def parse_value(key: str, text: str) -> Any:
    """The value that `text` means for the field `key`.

    Raises:
        SpecError: no such field, or a text that names none of the field's values; says which are allowed.
    """
    field = spec_fields().get(key)
    if field is None:
        raise SpecError(f"there is no field {key!r}; the fields are {', '.join(spec_fields())}", key)
    if field.kind != "template":  # whose spaces at the ends are meant
        text = text.strip()
    refusal = SpecError(f"{key} is {text!r}: it must be {field.allowed}", key)
    try:
        value = _read_text(field, text)
        return msgspec.convert(value, _annotations(field.group)[field.name])
    except (ValueError, OverflowError) as error:  # msgspec.ValidationError is a ValueError
        raise refusal from error


def _read_text(field: SpecField, text: str) -> Any:
    if field.empty and text in ("", field.empty):
        return None
    match field.kind:
        case "int":
            number = float(text) if "e" in text.lower() else int(text)
            if number != int(number):
                raise ValueError(text)
            return int(number)
        case "float":
            if not math.isfinite(value := float(text)):
                raise ValueError(text)
            return value
        case "choice":
            bare, _ = _unwrap(_annotations(field.group)[field.name])
            return _words(bare)[text.lower()] if text.lower() in field.choices else text
        case "modules":
            return text if text == "all-linear" else _module_names(text)
    return text


def _module_names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if not names or any(name.split() != [name] for name in names):
        raise ValueError(text)
    return names


def flatten(spec: Spec) -> dict[str, Any]:
    """The spec's values by dotted key, in order."""
    return {key: getattr(getattr(spec, field.group), field.name) for key, field in spec_fields().items()}


def build_spec(values: dict[str, Any]) -> Spec:
    """A spec from values by dotted key; what is left out keeps its default.

    Raises:
        SpecError: a field that does not exist, a value that is not allowed, or no model or data named.
    """
    nested: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in values.items():
        if key not in spec_fields():
            raise SpecError(f"there is no field {key!r}; the fields are {', '.join(spec_fields())}", key)
        field = spec_fields()[key]
        nested[field.group][field.name] = value
    for key in ("model.path", "data.path"):
        field = spec_fields()[key]
        if not nested[field.group].get(field.name):
            raise SpecError(f"{key} is empty: give one, for example --set {key}=PATH, or start from a preset", key)
    return decode_spec(nested)


def decode_spec(nested: Any) -> Spec:
    """A spec from its nested JSON form.

    Raises:
        SpecError: names the field and what is wrong with it.
    """
    try:
        return msgspec.convert(nested, Spec)
    except msgspec.ValidationError as error:
        raise SpecError(f"the spec does not hold together: {error}") from error


def changed_keys(spec: Spec, other: Spec) -> list[str]:
    """Dotted keys whose values differ between two specs, in the order of the spec."""
    ours, theirs = flatten(spec), flatten(other)
    return [key for key in ours if ours[key] != theirs[key]]


def looks_local(path: str) -> bool:
    """Whether a `model.path` or `data.path` means a place on this machine rather than a name on the hub."""
    return path.startswith((".", "/", "~")) or path.lower().endswith(DATA_SUFFIXES) or path.count("/") > 1


def with_absolute_paths(spec: Spec, directory: Path) -> Spec:
    """The spec with its local paths made absolute, so that it means the same in another process."""

    def absolute(path: str) -> str:
        candidate = os.path.join(directory, os.path.expanduser(path))
        return os.path.abspath(candidate) if looks_local(path) or os.path.exists(candidate) else path

    return msgspec.structs.replace(
        spec,
        model=msgspec.structs.replace(spec.model, path=absolute(spec.model.path)),
        data=msgspec.structs.replace(spec.data, path=absolute(spec.data.path)),
    )
