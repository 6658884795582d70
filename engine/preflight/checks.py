"""Check a spec's model and data before training, without torch and without the network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from msgspec import Struct

from engine.dataset.column_map import read_beside
from engine.dataset.hub_parts import check_hub_data
from engine.dataset.load import check_source, count_rows, local_data_path
from engine.dataset.rows import MeasuredExamples, RowCount
from engine.dataset.templates import advice
from engine.errors import LoratuiError, SpecError
from engine.preflight.adapter_size import AdapterSize, adapter_size
from engine.preflight.base_model import check_model, local_model_dir, read_config
from engine.preflight.initial_adapter import check_initial_adapter
from engine.preflight.target_modules import (
    check_experts,
    check_expression_in,
    check_names_in,
    check_target_parameters,
)
from engine.preflight.tied_embeddings import tied_warnings
from engine.spec.data import CHAT_TEMPLATES, DataSpec
from engine.spec.fields import format_value
from engine.spec.held_out import check_held_out, held_out_set, holds_nothing_out, name_held_out_field
from engine.spec.mix import as_data, name_mix, sources_of
from engine.spec.plan import WITHOUT_WARMUP, Plan, make_plan
from engine.spec.scheduler import scheduler_arguments
from engine.spec.schema import ModelSpec, Spec, TrainSpec
from engine.spec.sources import data_to_read

MANY_CHECKPOINTS = 20
WITHOUT_BITSANDBYTES = ("adamw_torch_fused", "adamw_torch", "adafactor")
ATTENTION_PACKAGES = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
UNKNOWN_WINDOWS = (
    "texts longer than data.max_length are cut into windows of that length: rows and steps are known once the data is "
    "tokenized"
)
NOTHING_HELD_OUT = "data.eval_fraction is 0: no perplexity is measured, so the round cannot be compared with others"


class Preflight(Struct, frozen=True):
    """The plan of a spec that passed the checks, and warnings to read before starting it.

    `rows` counts the rows of local data, `mixed` those of each source in `data.mix`; None for a dataset of the hub.
    `adapter` is None where its size is known only once the model is loaded. With `is_about` rows and steps follow from
    the lengths of a part of the rows.
    """

    plan: Plan
    warnings: tuple[str, ...]
    rows: RowCount | None
    mixed: tuple[RowCount | None, ...] = ()
    adapter: AdapterSize | None = None
    is_about: bool = False


def check(spec: Spec, measured: MeasuredExamples | None = None) -> Preflight:
    """Check `spec` and plan it, by the examples that were `measured` if the number of rows alone does not tell them.

    Raises:
        SpecError, DatasetError, ModelError: it cannot be trained; one sentence, with the way out.
    """
    check_pissa_precision(spec, spec.model.dtype)
    check_quantisation(spec)
    _check_optimizer(spec.train)
    check_initial_adapter(spec)
    check_target_parameters(spec.lora)
    check_attention_package(spec.model)
    check_held_out(spec)
    _check_chat_template(spec.data.chat_template)
    rows = _count(spec.data)
    own_set = held_out_set(spec.data)
    held_out_rows = _count_held_out(own_set) if own_set is not None else None
    mixed = _count_mixed(spec.data)
    check_model(spec)
    model_warnings, adapter = [], None
    if (directory := local_model_dir(spec.model.path)) is not None:
        check_experts(spec.lora, read_config(directory))
        check_expression_in(directory, spec.lora)
        check_names_in(directory, spec.lora)
        model_warnings = tied_warnings(directory, spec.lora)
        adapter = adapter_size(directory, spec.lora, quantised_by(spec.model) is not None)
    longest = spec.data.max_length
    number = rows.examples(longest) if rows is not None else spec.data.samples
    known = [
        count.examples(longest) if count else source.samples
        for source, count in zip(sources_of(spec.data), mixed, strict=True)
    ]
    are_unknown = number is None or None in known
    if are_unknown and measured is not None:
        number, known = measured.numbers[0], [*measured.numbers[1:]]
    plan = make_plan(spec, number, held_out_rows, known)
    scheduler_arguments(spec.train, plan)
    if plan.train_samples == 0:
        raise SpecError(
            f"data.eval_fraction is {spec.data.eval_fraction}: none of {number} rows would be left to train on: set it "
            f"lower",
            "data.eval_fraction",
        )
    data_warnings = (rows.warning(), advice(rows.first, spec.data.prompt_template)) if rows is not None else ()
    in_windows = any(count is not None and count.examples(longest) is None for count in (rows, *mixed))
    if in_windows and measured is None:
        data_warnings = (*data_warnings, UNKNOWN_WINDOWS)
    warnings = (*filter(None, data_warnings), *model_warnings, *plan_warnings(spec, plan))
    is_about = are_unknown and measured is not None and not measured.are_all
    return Preflight(plan, warnings, rows, mixed, adapter, is_about)


def ask_hub(spec: Spec) -> tuple[str, ...]:
    """Ask the hub for the datasets that `spec` names, if it passes the other checks; this may take some seconds.

    Returns:
        A warning for each dataset of which the hub does not say whether it has it, as where it cannot be reached.

    Raises:
        LoratuiError: the hub does not have one of them, or not so; or as `check`.
    """
    if all(local_data_path(part.data.path) is not None for part in data_to_read(spec.data)):
        return ()
    check(spec)
    return check_hub_data(spec.data)


def _check_chat_template(name: str | None) -> None:
    """Raise SpecError for a chat template that is neither one of those named nor a file."""
    if name is not None and name not in CHAT_TEMPLATES and not Path(name).expanduser().is_file():
        raise SpecError(
            f"data.chat_template is {name!r}, which is not a file: set it to one of {', '.join(CHAT_TEMPLATES)}, or to "
            f"the path of a .jinja file",
            "data.chat_template",
        )


def _count(data: DataSpec) -> RowCount | None:
    """Count the rows of local data; None for a dataset of the hub."""
    check_source(data)
    path = local_data_path(data.path)
    return count_rows(path, data) if path is not None else None


def _count_mixed(data: DataSpec) -> tuple[RowCount | None, ...]:
    """Count the rows of each source in `data.mix`."""
    try:
        return tuple(read_beside(_count, as_data(source, data)) for source in sources_of(data))
    except LoratuiError as error:
        raise name_mix(error) from error


def _count_held_out(data: DataSpec) -> int | None:
    """Return the number of rows in a separate held-out set, None if it is unknown."""
    try:
        rows = read_beside(_count, data)
    except LoratuiError as error:
        raise name_held_out_field(error) from error
    return rows.examples(data.max_length) if rows is not None else data.samples


def plan_warnings(spec: Spec, plan: Plan) -> list[str]:
    """Return warnings about a plan that can be run."""
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
    if spec.train.lr_scheduler_type in WITHOUT_WARMUP and spec.train.warmup_steps:
        warnings.append(
            f"train.lr_scheduler_type is {spec.train.lr_scheduler_type}, which has no warm-up: train.warmup_steps "
            f"{format_value(spec.train.warmup_steps)} is used only with constant_with_warmup, linear or cosine"
        )
    warnings.extend(_unused_by_optimizer(spec.train))
    warnings.extend(_checkpoint_warnings(spec.train, plan))
    if holds_nothing_out(spec.data):
        warnings.append(NOTHING_HELD_OUT)
    patience, evaluations = spec.train.early_stopping_patience, plan.evaluations
    if patience is not None and evaluations is not None and patience >= len(evaluations):
        warnings.append(
            f"train.early_stopping_patience is {patience}, but there are only {len(evaluations)} evaluations: it never "
            f"ends the round early; train.eval_strategy steps can plan more"
        )
    if plan.total_steps is None and local_data_path(spec.data.path) is None and spec.data.samples is None:
        warnings.append("data.samples is empty: the number of steps is known once the hub dataset is loaded")
    return warnings


def _unused_by_optimizer(train: TrainSpec) -> list[str]:
    """Warn of settings of Adam that the optimizer has not."""
    unused: tuple[str, ...] = ("adam_epsilon",) if "lion" in train.optim else ()
    if train.optim == "adafactor":
        unused = ("adam_beta1", "adam_beta2", "adam_epsilon")
    defaults = TrainSpec()
    changed = [name for name in unused if getattr(train, name) != getattr(defaults, name)]
    return [f"train.{name} has no effect: train.optim is {train.optim}, which does not use it" for name in changed]


def _checkpoint_warnings(train: TrainSpec, plan: Plan) -> list[str]:
    """Warn that checkpoints are added to a spec that would save none before the end, or that it saves very many.

    A round of a single step has no checkpoint before its end, which needs no warning.
    """
    checkpoints = plan.checkpoints
    if checkpoints is None:
        warning = "train.save_strategy is no: a checkpoint is still written halfway and at the end"
        return [warning] if train.save_strategy == "no" else []
    if plan.total_steps != 1 and checkpoints.besides and not checkpoints.every:
        reason = {
            "no": "train.save_strategy is no",
            "epoch": f"train.save_strategy is epoch, and no epoch ends before the last step, {plan.total_steps}",
            "steps": f"train.save_steps is {train.save_steps}, and the round has {plan.total_steps} steps",
        }[train.save_strategy]
        return [f"{reason}: checkpoints are written {checkpoints}, so that a run that dies can be resumed"]
    if train.save_total_limit is None and len(checkpoints) > MANY_CHECKPOINTS:
        return [f"{len(checkpoints):,} checkpoints will be kept: set train.save_total_limit to keep only the newest"]
    return []


def check_quantisation(spec: Spec) -> None:
    """Raise SpecError if the base model is to be held in two ways, or the package that quantises it is missing."""
    key = quantised_by(spec.model)
    if key is not None and spec.model.load_in_4bit and spec.model.load_in_8bit:
        raise SpecError("model.load_in_4bit and model.load_in_8bit are both true: set one of the two to false", key)
    if key is not None and importlib.util.find_spec("bitsandbytes") is None:
        raise SpecError(
            f"{key} needs the package bitsandbytes, which is not installed: pip install 'loratui[qlora]', or set it to "
            f"false",
            key,
        )


def _check_optimizer(train: TrainSpec) -> None:
    """Raise SpecError if the package of the optimizer is missing."""
    if is_of_bitsandbytes(train.optim) and importlib.util.find_spec("bitsandbytes") is None:
        raise SpecError(
            f"train.optim is {train.optim}, which needs the package bitsandbytes, which is not installed: pip install "
            f"'loratui[qlora]', or set it to one of {', '.join(WITHOUT_BITSANDBYTES)}",
            "train.optim",
        )


def is_of_bitsandbytes(optim: str) -> bool:
    """Return whether an optimizer is one of bitsandbytes."""
    return optim not in WITHOUT_BITSANDBYTES


def quantised_by(model: ModelSpec) -> str | None:
    """Return the key of the field by which the weights of a base model are quantised, None if they are not."""
    return "model.load_in_4bit" if model.load_in_4bit else "model.load_in_8bit" if model.load_in_8bit else None


def check_attention_package(model: ModelSpec) -> None:
    """Raise SpecError if the package of `model.attn_implementation` is missing."""
    package = ATTENTION_PACKAGES.get(model.attn_implementation)
    if package is not None and importlib.util.find_spec(package) is None:
        raise SpecError(
            f"model.attn_implementation is {model.attn_implementation}, which needs the package {package}, and that is "
            f"not installed: install it, or set model.attn_implementation to auto",
            "model.attn_implementation",
        )


def check_pissa_precision(spec: Spec, dtype: str) -> None:
    """Raise SpecError if PiSSA would split base weights in a precision in which the parts do not add up exactly."""
    init = spec.lora.init_lora_weights
    if not init.startswith("pissa"):
        return
    if (key := quantised_by(spec.model)) is not None:
        raise SpecError(
            f"lora.init_lora_weights is {init}, which splits the base weights, and those of {key} cannot be split: set "
            f"one of the two to its default",
            "lora.init_lora_weights",
        )
    if dtype not in ("float32", "auto"):
        raise SpecError(
            f"lora.init_lora_weights is {init}, which splits the base weights, and in {dtype} the parts do not add up "
            f"to them exactly: set model.dtype to float32",
            "model.dtype",
        )
