"""What a key would wait for is done before it, and not on the loop that answers keys."""

from __future__ import annotations

import sys
import threading
from importlib.abc import MetaPathFinder

import pytest

import tui.screens.run.screen
from engine.api import Cockpit
from engine.spec.schema import Spec
from tests.support.pilot import OpenApp, until

SCREEN = "tui.screens.run.screen"


async def test_screen_of_a_run_is_imported_beside_the_loop_before_a_key_opens_it(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    importers: list[threading.Thread] = []

    class Notes(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == SCREEN:
                importers.append(threading.current_thread())

    monkeypatch.setattr(tui.screens.run, "screen", tui.screens.run.screen)  # as it is put back afterwards
    monkeypatch.delitem(sys.modules, SCREEN)
    monkeypatch.setattr(sys, "meta_path", [Notes(), *sys.meta_path])
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: SCREEN in sys.modules, "the import")
    (importer,) = importers
    assert importer is not threading.main_thread()
