"""The adapter that a round starts from: what is in its directory, and whether it has the shape that the spec says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import SpecError, reason_of
from engine.files.atomic import NoPlainFile, read_plain
from engine.spec.lora import LoraSpec
from engine.spec.overrides import set_words
from engine.spec.schema import Spec

KEY = "lora.initial_adapter"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1024 * 1024


class _Config(Struct):
    """The fields of peft's `adapter_config.json` that decide what the numbers of an adapter mean, by its defaults."""

    peft_type: str = ""
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    use_dora: bool = False
    bias: str = "none"
    target_modules: tuple[str, ...] | str | None = None
    rank_pattern: dict[str, Any] | None = None
    alpha_pattern: dict[str, Any] | None = None


def adapter_dir(lora: LoraSpec) -> Path | None:
    """Return the directory of the adapter that training starts from; None if it starts from a fresh one."""
    return Path(lora.initial_adapter).expanduser() if lora.initial_adapter is not None else None


def check_initial_adapter(spec: Spec) -> None:
    """Raise SpecError if the adapter to start from cannot be read, or is not of the shape that the spec says.

    Names and sizes of its weights are compared once the model is loaded.
    """
    directory = adapter_dir(spec.lora)
    if directory is None:
        return
    if spec.lora.init_lora_weights.startswith("pissa"):
        raise SpecError(
            f"lora.init_lora_weights is {spec.lora.init_lora_weights}, and {KEY} is set: PiSSA makes an adapter of its "
            f"own to start from: set one of the two only",
            "lora.init_lora_weights",
        )
    config = _read_config(directory)
    if not (directory / WEIGHTS).is_file():
        raise _refusal(directory, f"there is no {WEIGHTS} in it, and no other weights are loaded: save it with peft")
    if config.peft_type != "LORA":
        raise _refusal(directory, f"its peft_type is {config.peft_type or 'missing'}, and only LORA is trained")
    if config.rank_pattern or config.alpha_pattern:
        raise _refusal(directory, "its layers differ in rank or alpha, and here all have the same: start a fresh one")
    if other := _differences(spec.lora, config):
        raise _refusal(directory, f"it has another shape than the spec: set it with {set_words(other, list(other))}")


def _read_config(directory: Path) -> _Config:
    file = directory / CONFIG
    if not directory.is_dir():
        raise _refusal(directory, "there is no such directory: name that of an adapter, or the number of a round")
    try:
        return msgspec.json.decode(read_plain(file, max_bytes=MAX_CONFIG_BYTES, follow_link=True), type=_Config)
    except FileNotFoundError as error:
        raise _refusal(directory, f"there is no {CONFIG} in it, so it is no adapter of peft") from error
    except OSError as error:
        raise _refusal(directory, f"{CONFIG} cannot be read ({reason_of(error)})") from error
    except (NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(directory, f"{CONFIG} is not valid ({error})") from error


def _differences(lora: LoraSpec, config: _Config) -> dict[str, object]:
    """Return the fields that the spec has otherwise, by key, with the adapter's values."""
    theirs: dict[str, object] = {
        f"lora.{name}": getattr(config, name)
        for name in ("r", "lora_alpha", "use_rslora", "use_dora", "bias")
        if getattr(lora, name) != getattr(config, name)
    }
    ours, modules = lora.target_modules, config.target_modules
    # What a word or an expression stands for is known once the model is loaded; peft writes whole paths in its place.
    if isinstance(ours, tuple) and isinstance(modules, tuple) and _last_names(ours) != _last_names(modules):
        theirs["lora.target_modules"] = _last_names(modules)
    return theirs


def _last_names(modules: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({path.rpartition(".")[2] for path in modules}))


def _refusal(directory: Path, reason: str) -> SpecError:
    return SpecError(f"{KEY} is {str(directory)!r}: {reason}", KEY)
