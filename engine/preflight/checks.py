"""What can be known about a spec's model and data before training, without torch and without the network."""

from __future__ import annotations

import importlib.util

from msgspec import Struct

from engine.dataset.load import count_rows, local_data_file
from engine.dataset.rows import RowCount
from engine.dataset.templates import advice
from engine.errors import SpecError
from engine.preflight.base_model import check_model
from engine.spec.fields import format_value
from engine.spec.plan import Plan, make_plan
from engine.spec.presets import EMBEDDED
from engine.spec.schema import Spec, TrainSpec

MANY_CHECKPOINTS = 20


class Preflight(Struct, frozen=True):
    """The plan of a spec that passed, and what the person should know before starting it.

    `rows` is what local data holds, None while only the hub knows.
    """

    plan: Plan
    warnings: tuple[str, ...]
    rows: RowCount | None


def check(spec: Spec) -> Preflight:
    """Plan `spec`, or say what stands against it.

    Raises:
        SpecError, DatasetError, ModelError: in one sentence, with the way out.
    """
    check_pissa_precision(spec, spec.model.dtype)
    check_4_bits(spec)
    file = local_data_file(spec.data.path)
    rows = count_rows(file, spec.data) if file is not None else None
    check_model(spec)
    number = rows.usable if rows is not None else spec.data.samples
    plan = make_plan(spec, number)
    if plan.train_samples == 0:
        raise SpecError(
            f"data.eval_fraction is {spec.data.eval_fraction}: none of {number} rows would be left to train on",
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
