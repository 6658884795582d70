"""What can be known about a spec's model and data before training, without torch and without the network."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.dataset import count_rows, local_data_file, local_path, reason_of
from engine.dataset.prompts import advice
from engine.dataset.rows import RowCount
from engine.errors import ModelError, SpecError
from engine.fields import format_value
from engine.plan import Plan, make_plan
from engine.presets import EMBEDDED, embedded_model
from engine.spec import Spec, TrainSpec

MANY_CHECKPOINTS = 20
MAX_HEADER_BYTES = 25_000_000  # as huggingface_hub has it (SAFETENSORS_MAX_HEADER_LENGTH)
MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_LAYERS = 10_000  # and the library makes an object for each before it looks at the weights

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
ALSO_TARGETS = frozenset({"lm_head", "embed_tokens"})  # peft takes them by name, though `all-linear` leaves them out


class Preflight(Struct, frozen=True):
    """The plan of a spec that passed, and what the person should know before starting it.

    `rows` is what local data holds, None while only the hub knows.
    """

    plan: Plan
    warnings: tuple[str, ...]
    rows: RowCount | None


def local_model_dir(path: str) -> Path | None:
    """The local directory that `model.path` means, None for a name on the hub."""
    if path == EMBEDDED:
        return embedded_model()
    return local_path(path)


def check(spec: Spec) -> Preflight:
    """Plan `spec`, or say what stands against it.

    Raises:
        SpecError, DatasetError, ModelError: in one sentence, with the way out.
    """
    check_pissa_precision(spec, spec.model.dtype)
    check_4_bits(spec)
    file = local_data_file(spec.data.path)
    rows = count_rows(file, spec.data) if file is not None else None
    _check_model(spec)
    number = rows.usable if rows is not None else spec.data.samples
    plan = make_plan(spec, number)
    if plan.train_samples == 0:
        raise SpecError(
            f"data.eval_fraction is {spec.data.eval_fraction}: of {number} rows none would be left to train on",
            "data.eval_fraction",
        )
    told = (rows.warning(), advice(rows.first, spec.data.prompt_template)) if rows is not None else ()
    return Preflight(plan, (*(text for text in told if text), *plan_warnings(spec, plan)), rows)


def plan_warnings(spec: Spec, plan: Plan) -> list[str]:
    """What a person would want to know about a plan that can be run."""
    warnings = []
    if spec.model.trust_remote_code:
        warnings.append(
            f"model.trust_remote_code is true: Python code that comes with {spec.model.path} will run with all your "
            f"rights"
        )
    if plan.warmup_share is not None and plan.warmup_share >= 1:
        warnings.append(
            f"warm-up is {plan.warmup_steps} of {plan.total_steps} steps: the learning rate never reaches its peak"
        )
    if spec.train.lr_scheduler_type == "constant" and spec.train.warmup_steps:
        warnings.append(
            f"train.lr_scheduler_type is constant, which has no warm-up: train.warmup_steps "
            f"{format_value(spec.train.warmup_steps)} counts only with constant_with_warmup, linear or cosine"
        )
    warnings.extend(_checkpoint_warnings(spec.train, plan))
    patience, evaluations = spec.train.early_stopping_patience, plan.evaluations
    if patience is not None and evaluations is not None and patience >= evaluations:
        warnings.append(
            f"train.early_stopping_patience is {patience}, but there are only {evaluations} evaluations: it never "
            f"ends the round early"
        )
    if spec.data.path != EMBEDDED and local_data_file(spec.data.path) is None and spec.data.samples is None:
        warnings.append("data.samples is empty: the steps are known once the hub dataset is loaded")
    return warnings


def _checkpoint_warnings(train: TrainSpec, plan: Plan) -> list[str]:
    """What the plan does about a spec that by itself would save nothing before the end, and about one that saves much.

    A round of a single step has no checkpoint before its end, and nothing is said of it.
    """
    checkpoints = plan.checkpoints
    if checkpoints is None:
        told = "a checkpoint is written halfway and at the end all the same"
        return [f"train.save_strategy is no: {told}"] if train.save_strategy == "no" else []
    if plan.total_steps != 1 and checkpoints.besides and not checkpoints.every:
        asked = {
            "no": "train.save_strategy is no",
            "epoch": f"train.save_strategy is epoch, and no epoch ends before the last step, {plan.total_steps}",
            "steps": f"train.save_steps is {train.save_steps}, and the round has {plan.total_steps} steps",
        }[train.save_strategy]
        return [f"{asked}: so that something is kept if the run dies, checkpoints are written {checkpoints}"]
    if train.save_total_limit is None and len(checkpoints) > MANY_CHECKPOINTS:
        return [f"{len(checkpoints):,} checkpoints will be kept: train.save_total_limit keeps only the newest"]
    return []


def _check_model(spec: Spec) -> None:
    directory = local_model_dir(spec.model.path)
    if directory is None:
        return
    if not os.path.isfile(directory / "config.json"):
        raise ModelError(f"model.path is {str(directory)!r}: there is no config.json in it, so it holds no model")
    if not any(os.path.isfile(directory / name) for name in TOKENIZER_FILES):
        raise ModelError(f"model.path is {str(directory)!r}: there is no tokenizer in it: save the tokenizer beside it")
    if next(directory.glob("*.safetensors"), None) is None:
        raise ModelError(
            f"model.path is {str(directory)!r}: there are no .safetensors weights in it, and no others are loaded: "
            f"save the model as safetensors"
        )
    if os.path.isfile(directory / "adapter_config.json"):
        raise ModelError(
            f"model.path is {str(directory)!r}: there is an adapter_config.json in it, so it holds an adapter: name "
            f"its base model, or merge the two"
        )
    config = _read_config(directory / "config.json")
    check_layers(config, spec.model.path)
    positions = config.get("max_position_embeddings")
    check_positions(spec, positions if isinstance(positions, int) else None)
    if spec.lora.target_modules != "all-linear":
        check_target_modules(spec.lora.target_modules, linear_modules(directory))


def _read_config(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(stream.read(MAX_CONFIG_BYTES), type=dict[str, object])
    except OSError as error:
        raise ModelError(f"{file}: {reason_of(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{file} is no JSON object: {error}") from error


def check_layers(config: Mapping[str, object], path: str) -> None:
    """Raise ModelError if a model's config asks for so many layers that making them would never end."""
    for key, value in config.items():
        if key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") and isinstance(value, int | float):
            if value > MAX_LAYERS:
                raise ModelError(
                    f"model.path is {path!r}: its config.json has more than {MAX_LAYERS:,} as {key}: no model has"
                )
        elif key == "text_config" and isinstance(value, dict):
            check_layers(value, path)


def check_4_bits(spec: Spec) -> None:
    """Raise SpecError if the base model cannot be held in 4 bits, as the package that does so is missing."""
    if spec.model.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise SpecError(
            "model.load_in_4bit needs the package bitsandbytes, which is not installed: pip install 'loratui[qlora]', "
            "or set it to false",
            "model.load_in_4bit",
        )


def check_pissa_precision(spec: Spec, dtype: str) -> None:
    """Raise SpecError if PiSSA would split base weights of a precision in which the parts do not add up again."""
    init = spec.lora.init_lora_weights
    if not init.startswith("pissa"):
        return
    if spec.model.load_in_4bit:
        raise SpecError(
            f"lora.init_lora_weights is {init}, which splits the base weights, and those of model.load_in_4bit cannot "
            f"be split: set one of the two to its default",
            "lora.init_lora_weights",
        )
    if dtype not in ("float32", "auto"):
        raise SpecError(
            f"lora.init_lora_weights is {init}, which splits the base weights, and in {dtype} the parts would not add "
            f"up to them again: set model.dtype to float32",
            "model.dtype",
        )


def check_positions(spec: Spec, positions: int | None) -> None:
    """Raise SpecError if rows may be longer than the model has positions for."""
    if positions is not None and spec.data.max_length > positions:
        raise SpecError(
            f"data.max_length is {spec.data.max_length}, but this model has {positions} positions: "
            f"set it to at most {positions}",
            "data.max_length",
        )


def check_target_modules(wanted: tuple[str, ...], modules: frozenset[str]) -> None:
    """Raise SpecError if one of `wanted` is none of the model's `modules`, and name those."""
    for name in wanted:
        if name.rpartition(".")[2] not in modules | ALSO_TARGETS:
            raise SpecError(
                f"lora.target_modules has {name!r}, which this model lacks: it has {', '.join(sorted(modules))}",
                "lora.target_modules",
            )


def linear_modules(directory: Path) -> frozenset[str]:
    """Names of the modules of a local model that can take an adapter, read from its safetensors headers.

    A module is known by its weight matrix; embeddings and the output head are left out, as peft's `all-linear` does.

    Raises:
        ModelError: a weights file that is broken.
    """
    return frozenset(name for name in module_counts(directory) if "embed" not in name and name != "lm_head")


def module_counts(directory: Path) -> dict[str, int]:
    """How many modules with a weight matrix a local model has, by the last part of their names, as they come.

    Raises:
        ModelError: a weights file that is broken.
    """
    counts: Counter[str] = Counter()
    for file in sorted(directory.glob("*.safetensors")):
        try:
            status = file.stat()
        except OSError as error:  # a link into a cache that was cleaned up
            raise ModelError(f"{file}: {reason_of(error)}") from error
        counts.update(_matrix_modules(file, status.st_mtime_ns, status.st_size))
    return dict(counts)


@lru_cache(maxsize=64)
def _matrix_modules(file: Path, mtime_ns: int, size: int) -> tuple[str, ...]:
    """Last names of the modules with a two-dimensional weight in one file, one for each module.

    The format: 8 bytes little-endian header length, then a JSON object of tensors with their shapes
    (https://github.com/huggingface/safetensors#format).
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size, MAX_HEADER_BYTES):
                raise ModelError(f"{file} is cut off or no safetensors file: copy the model again")
            header = msgspec.json.decode(stream.read(length), type=dict[str, dict[str, object]])
    except OSError as error:
        raise ModelError(f"{file}: {reason_of(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{file} is cut off or no safetensors file: copy the model again") from error
    matrices = (
        key.removesuffix(".weight")
        for key, tensor in header.items()
        if key.endswith(".weight") and len(shape if isinstance(shape := tensor.get("shape"), list) else ()) == 2
    )
    return tuple(key.rpartition(".")[2] for key in matrices)
