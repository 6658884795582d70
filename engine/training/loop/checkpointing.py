"""Checkpoints: written whole or not at all, checked before they are read, and free of pickle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.errors import SpecError, TrainingError
from engine.files.atomic import NoPlainFile, open_plain
from engine.files.directories import write_directory
from engine.preflight.initial_adapter import KEY as INITIAL_ADAPTER
from engine.runs.checkpoints import STATE, TENSORS, checkpoints_in, write_manifest
from engine.spec.fields import changed_keys, describe_value, flatten
from engine.spec.portable import with_paths
from engine.spec.schema import Spec, decode_spec
from engine.training.loop.state import Training, TrainingProgress
from engine.training.model.adapter import save_adapter, trainable_parameters
from engine.training.model.pissa import WEIGHTS, Tensors, is_pissa, read_plain, split_base_again
from engine.training.runtime.hub_errors import first_line


class _State(TrainingProgress, frozen=True):
    """`state.json`: progress, float16's gradient scaler, the spec, and what the optimizer keeps that is no tensor.

    Older checkpoints lack all but the first. `optimizer` has values by the parameter's index and their name.
    """

    scaler: dict[str, int | float] = msgspec.field(default_factory=dict)
    spec: dict[str, Any] | None = None
    optimizer: dict[str, int | float] = msgspec.field(default_factory=dict)


def save_checkpoint(training: Training) -> Path:
    """Write `checkpoint-<step>` among the run's checkpoints.

    Raises:
        OSError: the disk refuses it; no part of the checkpoint remains.
        TrainingError: a trained weight is not finite; nothing is written.
    """
    spec, progress = training.spec, training.progress
    if not all(torch.isfinite(parameter).all() for parameter in trainable_parameters(training.model)):
        raise TrainingError(
            f"the adapter's weights are not finite after step {progress.step}: train.learning_rate "
            f"{spec.train.learning_rate:g} is probably too high; try a tenth of it, or a longer warm-up"
        )
    scaler: dict[str, int | float] = training.scaler.state_dict()
    tensors, numbers = _training_state(training.model, training.optimizer)
    state = _State(**msgspec.structs.asdict(progress), scaler=scaler, spec=msgspec.to_builtins(spec), optimizer=numbers)

    def write(directory: Path) -> None:
        save_adapter(training.model, training.tokenizer, training.spec, training.pissa_initial, directory)
        save_file(tensors, directory / TENSORS)
        (directory / STATE).write_bytes(msgspec.json.encode(state))
        write_manifest(directory)

    target = training.run.checkpoint(progress.step)
    write_directory(target, write)
    return target


def prune_checkpoints(parent: Path, step: int, limit: int, best: int | None) -> None:
    """Delete the checkpoints up to `step`, except the newest `limit` and that of step `best`."""
    steps = sorted(number for number in checkpoints_in(parent) if number <= step)
    for number in steps[:-limit]:
        if number != best:
            shutil.rmtree(checkpoints_in(parent)[number])


def restore(training: Training, step: int) -> None:
    """Restore the round as it was after `step`: adapter, optimizer state, gradient scaler and random state.

    Raises:
        SpecError: the checkpoint was written with another spec.
        TrainingError: its tensors do not fit this model.
    """
    checkpoint = training.run.checkpoint(step)
    state = msgspec.json.decode((checkpoint / STATE).read_bytes(), type=_State)
    if state.spec is not None:
        _check_spec(checkpoint.name, decode_spec(state.spec), training.spec)
    try:
        adapter, training.pissa_initial = _read_adapter(training, step)
        if training.pissa_initial:
            split_base_again(training.model, training.pissa_initial)
        _put_adapter(training.model, adapter)
        tensors = load_file(checkpoint / TENSORS)
        _restore_optimizer(tensors, state.optimizer, training.model, training.optimizer)
        _restore_random_state(tensors)
    except (KeyError, RuntimeError) as error:
        raise TrainingError(
            f"{checkpoint.name} does not fit the model of this round ({first_line(error)}): start a new round"
        ) from error
    if state.scaler:
        training.scaler.load_state_dict(state.scaler)
    training.progress = TrainingProgress(state.step, state.train_seconds, state.trained_tokens)
    training.saved_step = step


def restore_adapter(training: Training, step: int) -> None:
    """Restore only the adapter as it was after `step`, in a round that has trained on since."""
    _put_adapter(training.model, _read_adapter(training, step)[0])


def load_initial_adapter(training: Training, directory: Path) -> None:
    """Put the adapter in `directory` on the model in place of the fresh one.

    Raises:
        SpecError: it cannot be read, does not fit, or has weights that are not finite.
    """
    refused = f"{INITIAL_ADAPTER} is {str(directory)!r}: its weights"
    try:
        with open_plain(directory / WEIGHTS, follow_link=True):
            adapter = load_file(directory / WEIGHTS)
        if not all(torch.isfinite(tensor).all() for tensor in adapter.values() if tensor.is_floating_point()):
            raise SpecError(f"{refused} are not finite: start from another one", INITIAL_ADAPTER)
        _put_adapter(training.model, adapter)
    except (OSError, NoPlainFile, SafetensorError) as error:
        raise SpecError(f"{refused} cannot be read ({first_line(error)}): save it again", INITIAL_ADAPTER) from error
    except (KeyError, RuntimeError) as error:
        raise SpecError(
            f"{refused} do not fit the adapter that the spec describes ({first_line(error)}): give lora the settings "
            f"that it was trained with",
            INITIAL_ADAPTER,
        ) from error


def _read_adapter(training: Training, step: int) -> tuple[Tensors, Tensors]:
    """Return (the adapter as it is trained, the initial adapter of PiSSA)."""
    state = load_file(training.run.checkpoint(step) / WEIGHTS)
    return read_plain(state) if is_pissa(training.spec) else (state, {})


def _put_adapter(model: Any, adapter: Tensors) -> None:
    """Load `adapter`; raises KeyError or RuntimeError if a name or shape differs, where peft would load a part."""
    ours = get_peft_model_state_dict(model, save_embedding_layers=False)
    if other := sorted(ours.keys() ^ adapter.keys()):
        raise KeyError(other[0])
    set_peft_model_state_dict(model, adapter)


def _check_spec(name: str, then: Spec, now: Spec) -> None:
    """Raise SpecError if the two differ in more than the paths of model and data."""
    changed = changed_keys(*(with_paths(spec, lambda _: "-") for spec in (then, now)))
    if changed:
        old, new = flatten(then), flatten(now)
        changes = [
            f"{key} was {describe_value(key, old[key])} and is {describe_value(key, new[key])}" for key in changed
        ]
        raise SpecError(
            f"{name} was written with another spec, {', '.join(changes)}: restore spec.json as it was, or start a new "
            f"round",
            changed[0],
        )


def _restore_optimizer(
    tensors: Tensors, numbers: dict[str, int | float], model: Any, optimizer: torch.optim.Optimizer
) -> None:
    """Put the saved state of each parameter into the optimizer, as its own class reads it."""
    saved: dict[int, dict[str, Any]] = {}
    for key, value in (*tensors.items(), *numbers.items()):
        index, _, name = key.partition(".")
        if index.isdecimal():
            saved.setdefault(int(index), {})[name] = value
    # Its own numbers follow its groups, those of a checkpoint the order of the model.
    place = {id(parameter): index for index, parameter in enumerate(_parameters_of(optimizer))}
    parameters = trainable_parameters(model)
    state = {place[id(parameters[index])]: values for index, values in saved.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _restore_random_state(tensors: Tensors) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _training_state(model: Any, optimizer: torch.optim.Optimizer) -> tuple[Tensors, dict[str, int | float]]:
    """Return (the tensors, the numbers) of the optimizer by index and name, and the random state among the tensors."""
    tensors: Tensors = {}
    numbers: dict[str, int | float] = {}
    for index, parameter in enumerate(trainable_parameters(model)):
        # A parameter has no state before its first update: float16 scaling skips steps, an expert may get no tokens.
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.detach().cpu().contiguous().clone()
            elif value is not None:
                numbers[f"{index}.{name}"] = value
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    return tensors, numbers
