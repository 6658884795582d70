"""Describe the fields of a spec for people: their meaning, their allowed values, and how their text is read."""

from __future__ import annotations

import math
from decimal import InvalidOperation
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from engine.errors import SpecError
from engine.spec.data import DataSpec
from engine.spec.lora import REGULAR_EXPRESSION, LoraSpec
from engine.spec.schema import GenerationSpec, ModelSpec, Spec, TrainSpec, decode_spec
from engine.text.numbers import read_float, read_int

SECTIONS: dict[str, type[Struct]] = {
    "model": ModelSpec,
    "data": DataSpec,
    "lora": LoraSpec,
    "train": TrainSpec,
    "generation": GenerationSpec,
}
# What most people set; a form folds all others away.
USUAL = (
    "model.path", "model.dtype", "model.load_in_4bit",
    "data.path", "data.samples", "data.eval_fraction", "data.max_length",
    "lora.r", "lora.lora_alpha", "lora.lora_dropout", "lora.target_modules",
    "train.learning_rate", "train.per_device_train_batch_size", "train.gradient_accumulation_steps",
    "train.num_train_epochs", "train.warmup_steps", "train.lr_scheduler_type", "train.save_strategy",
    "train.gradient_checkpointing", "train.seed",
)  # fmt: skip
MODULES_ALLOWED = (
    r"module names separated by commas, all-linear, or a regular expression such as .*\.layers\.[0-3]\..*_proj"
)
NUMBER_WORDS = {int: "a whole number", float: "a number"}


class SpecField(Struct, frozen=True):
    """One hyperparameter, described for people.

    `allowed` says in words which values are valid; `choices` is empty unless the field is a choice among words; `empty`
    is the word for an empty value, such as "all" or "off", and "" where a value is required; `empty_too`
    another one. `aliases` are other words for some of the choices.
    """

    key: str
    kind: Literal["text", "int", "float", "choice", "modules", "tokens", "template"]
    description: str
    allowed: str
    choices: tuple[str, ...] = ()
    empty: str = ""
    empty_too: str = ""
    aliases: dict[str, str] = {}

    @property
    def group(self) -> str:
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        return self.key.partition(".")[2]

    @property
    def usual(self) -> bool:
        return self.key in USUAL


def _unwrap(annotation: Any) -> tuple[Any, Meta]:
    """Return the bare type and its merged constraints; `extra["empty"]` stands for the alternative None."""
    args = get_args(annotation)
    if type(None) in args:
        annotation = next(arg for arg in args if arg is not type(None))
    metas: list[Meta] = []
    while get_origin(annotation) is Annotated:
        inner = get_args(annotation)
        metas.extend(meta for meta in inner[1:] if isinstance(meta, Meta))
        annotation = inner[0]
    merged = {
        name: value
        for meta in reversed(metas)
        for name in ("ge", "gt", "le", "lt", "pattern", "description", "extra")
        if (value := getattr(meta, name)) is not None
    }
    return annotation, Meta(**merged)


def _allowed(bare: Any, meta: Meta) -> str:
    """Describe the valid values of a number field in words."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{word} {format_value(bound)}" for name, word in words.items() if (bound := getattr(meta, name)) is not None
    ]
    return " ".join([NUMBER_WORDS[bare], " and ".join(bounds)]).strip()


def _words(bare: Any) -> dict[str, Any]:
    """Return the values of a choice field by the word for each; empty for any other field."""
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
    or_empty = f", or empty for {empty}" if empty else ""
    if words := _words(bare):
        allowed = " or ".join(words) if len(words) == 2 else "one of " + ", ".join(words)
        return SpecField(
            key, "choice", description, allowed, tuple(words), aliases=(meta.extra or {}).get("aliases", {})
        )
    if bare is str:
        kind: Literal["text", "template"] = "template" if meta.pattern else "text"
        allowed = (meta.extra or {}).get("allowed", "a name or a path") + or_empty
        return SpecField(key, kind, description, allowed, empty=empty)
    if bare in NUMBER_WORDS:
        return SpecField(
            key,
            "int" if bare is int else "float",
            description,
            _allowed(bare, meta) + or_empty,
            empty=empty,
            empty_too=(meta.extra or {}).get("empty_too", ""),
        )
    allowed = (meta.extra or {}).get("allowed", MODULES_ALLOWED) + or_empty
    return SpecField(key, "tokens" if bare == tuple[int | str, ...] else "modules", description, allowed, empty=empty)


@cache
def spec_fields() -> dict[str, SpecField]:
    """Return every hyperparameter by its dotted key, in the order of the spec."""
    return {
        f"{section}.{name}": _describe(f"{section}.{name}", annotation)
        for section, struct in SECTIONS.items()
        for name, annotation in get_type_hints(struct, include_extras=True).items()
    }


@cache
def _annotations(section: str) -> dict[str, Any]:
    return get_type_hints(SECTIONS[section], include_extras=True)


def format_value(value: object) -> str:
    """Format a value as a person types it: `2e-4`, `0.1`, `3`, `q_proj, v_proj`, `true`; "" for None.

    `parse_value` reads the text back as the same value.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _format_float(value)
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return str(value)


def describe_value(key: str, value: object) -> str:
    """Format a value of the field `key`, and None as the word for its meaning there, such as `all` or `off`."""
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
    """Return the value that `text` means for the field `key`.

    Raises:
        SpecError: an unknown field, or a text that is not a valid value; the message says which are allowed.
    """
    field = spec_fields().get(key)
    if field is None:
        raise SpecError(f"there is no field {key!r}; the fields are {', '.join(spec_fields())}", key)
    return _parse(field, _annotations(field.group)[field.name], text)


def parse_setting(struct: type[Struct], name: str, text: str) -> Any:
    """Do the same as `parse_value` for a field of any struct that describes its fields as a spec does."""
    return _parse(describe_setting(struct, name), get_type_hints(struct, include_extras=True)[name], text)


def describe_setting(struct: type[Struct], name: str) -> SpecField:
    """Describe a field of any struct that describes its fields as a spec does."""
    return _describe(name, get_type_hints(struct, include_extras=True)[name])


def _parse(field: SpecField, annotation: Any, text: str) -> Any:
    if field.kind != "template":  # spaces at the ends of a template are part of it
        text = text.strip()
    refusal = SpecError(f"{field.key} is {text!r}: it must be {field.allowed}", field.key)
    try:
        return msgspec.convert(_read_text(field, annotation, text), annotation)
    except (ValueError, OverflowError, InvalidOperation) as error:  # msgspec.ValidationError is a ValueError
        raise refusal from error


def _read_text(field: SpecField, annotation: Any, text: str) -> Any:
    if field.empty and text in ("", field.empty, field.empty_too):
        return None
    match field.kind:
        case "int":
            return read_int(text)
        case "float":
            return read_float(text)
        case "choice":
            bare, _ = _unwrap(annotation)
            word = field.aliases.get(text.lower(), text.lower())
            return _words(bare)[word] if word in field.choices else text
        case "modules":
            is_word = text == "all-linear" and not field.empty
            return text if is_word or REGULAR_EXPRESSION.search(text) else _module_names(text)
        case "tokens":
            parts = dict.fromkeys(part.strip() for part in text.split(","))
            return tuple(int(part) if part.isdecimal() else part for part in parts if part)
    return text


def _module_names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if not names or any(name.split() != [name] for name in names):
        raise ValueError(text)
    return names


def flatten(spec: Spec) -> dict[str, Any]:
    """Return the spec's values by dotted key, in order."""
    return {key: getattr(getattr(spec, field.group), field.name) for key, field in spec_fields().items()}


def build_spec(values: dict[str, Any]) -> Spec:
    """Build a spec from values by dotted key; missing fields keep their defaults.

    Raises:
        SpecError: an unknown field, a value that is not allowed, or no model or data.
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
            raise SpecError(f"{key} is empty: set it, for example --set {key}=PATH, or start from a preset", key)
    return decode_spec(nested)


def changed_keys(spec: Spec, other: Spec) -> list[str]:
    """Return the dotted keys whose values differ between two specs, in the order of the spec."""
    sections = ((section, getattr(spec, section), getattr(other, section)) for section in SECTIONS)
    return [
        f"{section}.{name}"
        for section, ours, theirs in sections
        if ours != theirs
        for name in ours.__struct_fields__
        if getattr(ours, name) != getattr(theirs, name)
    ]
