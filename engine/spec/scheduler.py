"""Arguments of learning rate schedulers: what the text of `train.lr_scheduler_kwargs` means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from engine.errors import SpecError
from engine.spec.plan import Plan
from engine.spec.schema import TrainSpec

KEY = "train.lr_scheduler_kwargs"
Curve = Literal["linear", "cosine", "1-sqrt"]
Share = Annotated[float, Meta(ge=0, le=1)]
Cycles = Annotated[float, Meta(gt=0, le=1e6)]
Steps = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]


class _None(Struct, forbid_unknown_fields=True):
    pass


class _Cosine(Struct, forbid_unknown_fields=True):
    num_cycles: Cycles | UnsetType = UNSET


class _CosineWithRestarts(Struct, forbid_unknown_fields=True):
    num_cycles: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType = UNSET


class _Polynomial(Struct, forbid_unknown_fields=True):
    lr_end: Annotated[float, Meta(ge=0)] = 1e-7
    power: Annotated[float, Meta(gt=0, le=1000)] | UnsetType = UNSET


class _InverseSqrt(Struct, forbid_unknown_fields=True):
    timescale: Steps | UnsetType = UNSET


class _CosineWithMinLr(Struct, forbid_unknown_fields=True):
    num_cycles: Cycles | UnsetType = UNSET
    min_lr: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    min_lr_rate: Share | UnsetType = UNSET


class _CosineWarmupWithMinLr(_CosineWithMinLr):
    warmup_lr_rate: Share | UnsetType = UNSET


class _WarmupStableDecay(Struct, forbid_unknown_fields=True):
    num_decay_steps: Steps
    num_stable_steps: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    warmup_type: Curve | UnsetType = UNSET
    decay_type: Curve | UnsetType = UNSET
    min_lr_ratio: Share | UnsetType = UNSET
    num_cycles: Cycles | UnsetType = UNSET


class _ByEvalLoss(Struct, forbid_unknown_fields=True):
    factor: Annotated[float, Meta(gt=0, lt=1)] | UnsetType = UNSET
    patience: Count | UnsetType = UNSET
    threshold: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    threshold_mode: Literal["rel", "abs"] | UnsetType = UNSET
    cooldown: Count | UnsetType = UNSET
    min_lr: Annotated[float, Meta(ge=0)] = 0.0
    eps: Annotated[float, Meta(ge=0)] | UnsetType = UNSET


class _Greedy(_ByEvalLoss):
    min_lr: Annotated[float, Meta(ge=0)] = 1e-3
    max_lr: Annotated[float, Meta(gt=0)] = 1.0
    warmup: Count | UnsetType = UNSET
    smooth: bool | UnsetType = UNSET
    window_size: Steps | UnsetType = UNSET
    reset_start: Count | UnsetType = UNSET


# What the functions behind transformers' `get_scheduler` take beside the steps of the round and of the warm-up.
ARGUMENTS: dict[str, type[Struct]] = {
    "linear": _None,
    "cosine": _Cosine,
    "cosine_with_restarts": _CosineWithRestarts,
    "polynomial": _Polynomial,
    "constant": _None,
    "constant_with_warmup": _None,
    "inverse_sqrt": _InverseSqrt,
    "cosine_with_min_lr": _CosineWithMinLr,
    "cosine_warmup_with_min_lr": _CosineWarmupWithMinLr,
    "warmup_stable_decay": _WarmupStableDecay,
    "reduce_lr_on_plateau": _ByEvalLoss,
    "greedy": _Greedy,
}
BY_EVAL_LOSS = frozenset({"reduce_lr_on_plateau", "greedy"})


def scheduler_arguments(train: TrainSpec, plan: Plan) -> dict[str, Any]:
    """Return the arguments in `train.lr_scheduler_kwargs` for transformers' `get_scheduler`.

    Raises:
        SpecError: the scheduler does not take one of them, lacks one, or `plan` has too few steps for them.
    """
    name, text = train.lr_scheduler_type, train.lr_scheduler_kwargs or ""
    pairs = dict(pair.split("=", 1) for pair in text.split(",") if pair.strip())
    typed = {key.strip(): value.strip() for key, value in pairs.items()}
    try:
        fields = msgspec.structs.asdict(msgspec.convert(typed, ARGUMENTS[name], strict=False))
    except msgspec.ValidationError as error:
        raise _refusal(train, str(error)) from error
    arguments = {key: value for key, value in fields.items() if value is not UNSET}
    _check(train, plan, arguments)
    return arguments


def _check(train: TrainSpec, plan: Plan, arguments: dict[str, Any]) -> None:
    """Raise SpecError for arguments that do not go together, or with the rate and the steps of the round."""
    if "min_lr_rate" in ARGUMENTS[train.lr_scheduler_type].__struct_fields__ and (
        len(arguments.keys() & {"min_lr", "min_lr_rate"}) != 1
    ):
        raise _refusal(train, "exactly one of min_lr and min_lr_rate is needed")
    for key in ("min_lr", "lr_end"):
        if arguments.get(key, 0.0) >= train.learning_rate:
            raise _refusal(train, f"{key} must be below train.learning_rate {train.learning_rate:g}")
    if arguments.get("max_lr", train.learning_rate) < train.learning_rate:
        raise _refusal(train, f"max_lr must be at least train.learning_rate {train.learning_rate:g}")
    _check_stages(train, plan, arguments)
    _check_evaluations(train, plan)


def _check_evaluations(train: TrainSpec, plan: Plan) -> None:
    """Raise SpecError if the eval loss decides on the rate, and is not measured before the last step."""
    if train.lr_scheduler_type not in BY_EVAL_LOSS or plan.evaluations is None:
        return
    if next(iter(plan.evaluations), plan.total_steps) == plan.total_steps:
        raise SpecError(
            f"train.lr_scheduler_type is {train.lr_scheduler_type}, which goes by the eval loss, and none is measured "
            f"before the last step: hold rows out with data.eval_fraction, and set train.eval_strategy to steps",
            "train.lr_scheduler_type",
        )


def _check_stages(train: TrainSpec, plan: Plan, arguments: dict[str, Any]) -> None:
    """Raise SpecError if the stages of warmup_stable_decay are longer than the round."""
    if "num_decay_steps" not in arguments or plan.total_steps is None or plan.warmup_steps is None:
        return
    steps = arguments["num_decay_steps"] + arguments.get("num_stable_steps", 0)
    if steps + plan.warmup_steps > plan.total_steps:
        raise _refusal(
            train,
            f"{steps} steps and a warm-up of {plan.warmup_steps} are more than the {plan.total_steps} of the round",
        )


def _refusal(train: TrainSpec, reason: str) -> SpecError:
    name = train.lr_scheduler_type
    takes = ", ".join(ARGUMENTS[name].__struct_fields__) or "no arguments"
    return SpecError(
        f"{KEY} is {train.lr_scheduler_kwargs or ''!r}: {reason[:1].lower()}{reason[1:]}; {name} takes {takes}", KEY
    )
