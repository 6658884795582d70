"""Keep the local paths in a spec valid in another place or process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.spec.data import CHAT_TEMPLATES
from engine.spec.local_paths import looks_local
from engine.spec.mix import with_mixed_paths
from engine.spec.schema import Spec


def with_portable_paths(spec: Spec, root: Path) -> Spec:
    """Write local paths within a workspace as `./…`, from its directory `root`, so that they survive its move."""

    def portable(path: str) -> str:
        inside = os.path.isabs(path) and Path(os.path.normpath(path)).is_relative_to(root)
        return f"./{os.path.relpath(path, root)}" if inside else path

    return with_paths(spec, portable)


def with_located_paths(spec: Spec, root: Path) -> Spec:
    """Undo `with_portable_paths` for a workspace that is at `root` now."""
    data = spec.data
    paths = spec.model.path, data.path, data.eval_path, data.mix, data.chat_template, spec.lora.initial_adapter
    if not any(path is not None and "./" in path for path in paths):
        return spec
    return with_paths(spec, lambda path: os.path.normpath(root / path) if path.startswith("./") else path)


def with_absolute_paths(spec: Spec, directory: Path) -> Spec:
    """Make the local paths of a spec absolute, so that it means the same in another process."""

    def absolute(path: str) -> str:
        candidate = os.path.join(directory, os.path.expanduser(path))
        return os.path.abspath(candidate) if looks_local(path) or os.path.exists(candidate) else path

    return with_paths(spec, absolute)


def with_paths(spec: Spec, change: Callable[[str], str]) -> Spec:
    """Return the spec with each path of model, data and adapter changed."""
    template, adapter = spec.data.chat_template, spec.lora.initial_adapter
    return msgspec.structs.replace(
        spec,
        model=msgspec.structs.replace(spec.model, path=change(spec.model.path)),
        data=msgspec.structs.replace(
            spec.data,
            path=change(spec.data.path),
            eval_path=None if spec.data.eval_path is None else change(spec.data.eval_path),
            chat_template=template if template is None or template in CHAT_TEMPLATES else change(template),
            mix=with_mixed_paths(spec.data.mix, change),
        ),
        lora=msgspec.structs.replace(spec.lora, initial_adapter=None if adapter is None else change(adapter)),
    )
