"""The spec that the options of a command describe, and the store that its rounds are put into."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from engine.api import Cockpit
from engine.files.paths import current_directory
from engine.spec.overrides import spec_from_settings
from engine.spec.presets import load_preset
from engine.spec.schema import Spec
from tui.terminal.console import say


def spec_of(cockpit: Cockpit, options: argparse.Namespace, settings: Sequence[str] | None = None) -> Spec:
    """Build the spec of the options: a preset or a parent round, and its settings, or others in their place."""
    base = None
    if options.preset is not None:
        base = load_preset(options.preset).spec
    elif options.parent is not None:
        base = cockpit.store.get(options.parent).spec
    chosen = [*(options.settings if settings is None else settings)]
    return cockpit.resolve_paths(spec_from_settings(base, chosen), current_directory())


def make_store(cockpit: Cockpit) -> None:
    """Make `experiments.json` and say so, unless there is one; it gets the rounds of an older file and of `runs/`."""
    if not cockpit.store.exists():
        cockpit.rebuild()
        say(f"loratui: made {cockpit.workspace.store_path}", error=True)
