"""Draw the screens the README shows, as SVG, from the app itself: `python scripts/screenshots.py [OUT]`.

A round of the nano preset is really trained for them, which takes about a minute.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from engine.operations import Cockpit
from engine.presets import load_preset
from engine.rounds import Status
from engine.workspace import Workspace
from tui.app import LoratuiApp

ROOT = Path(__file__).resolve().parents[1]
SIZE = (110, 32)
TRAINING_SECONDS = 300.0

AppPilot = Pilot[str | None]


async def until(pilot: AppPilot, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let the app work until `condition` holds; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
    await pilot.pause(0.5)


async def draw(cockpit: Cockpit, out: Path) -> None:
    """The table, the form, and a finished run."""
    app = LoratuiApp(cockpit, cockpit.workspace.root)

    def top() -> str:
        return type(app.screen).__name__

    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: bool(app.screen.query("#detail")))
        await pilot.press("g", "down")
        await pilot.pause(0.3)
        app.save_screenshot(str(out / "rounds.svg"))
        await pilot.press("n", "enter")
        await until(pilot, lambda: top() == "EditScreen")
        await pilot.press(*"3e-5")
        await pilot.pause(0.5)
        app.save_screenshot(str(out / "form.svg"))
        await pilot.press("escape", "y")
        await until(pilot, lambda: top() == "RoundsScreen")
        await pilot.press("G", "enter")
        await until(pilot, lambda: top() == "LiveScreen")
        await pilot.pause(2.5)
        app.save_screenshot(str(out / "live.svg"))


def train_nano(cockpit: Cockpit) -> None:
    """Train the nano preset in the workspace, and wait for its end."""
    round_ = cockpit.queue(load_preset("nano").spec, name="nano", note="A first round, to see that everything works.")

    async def finished() -> None:
        async with asyncio.timeout(TRAINING_SECONDS):
            while cockpit.store.get(round_.number).status is not Status.FINISHED:
                await asyncio.sleep(0.5)

    asyncio.run(finished())


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="loratui-") as directory:
        shutil.copy(ROOT / "experiments.json", directory)
        cockpit = Cockpit(Workspace(Path(directory)))
        train_nano(cockpit)
        asyncio.run(draw(cockpit, out))


if __name__ == "__main__":
    main()
