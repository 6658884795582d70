"""Draw the screens of README and docs/ as SVG, from the app itself: `python -m scripts.screenshots [OUT]`.

They are scenes over the sample workspace, a replay of the rounds in docs/five-rounds: the same on every machine.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from scripts.scenes import SCENES, AppPilot, Scene, play, settle, stage

ROOT = Path(__file__).resolve().parents[1]

SIZE = (110, 32)
SHOWN = (
    "welcome", "rounds", "filter", "form", "live", "chart", "samples", "compare", "judge", "talk", "lineage",
    "queue", "remarks", "help",
)  # fmt: skip


async def draw(names: Iterable[str]) -> dict[str, str]:
    """Return the SVG of each scene by its name."""
    svgs = {}
    with tempfile.TemporaryDirectory(prefix="loratui-") as directory:
        for name in names:
            scene = SCENES[name]
            place = Path(directory) / ("empty" if scene.empty else "sample")
            place.mkdir(exist_ok=True)
            with stage(place):
                async with play(scene, place, SIZE) as pilot:
                    svgs[name] = await svg_of(pilot, scene)
    return svgs


async def svg_of(pilot: AppPilot, scene: Scene) -> str:
    """Return the SVG of the scene that the app shows, without the number that Rich puts into its names."""
    await settle(pilot, scene.shows)
    return re.sub(r"terminal-\d+", "terminal", pilot.app.export_screenshot(title="loratui"))


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    out.mkdir(exist_ok=True)
    for name, svg in asyncio.run(draw(SHOWN)).items():
        (out / f"{name}.svg").write_text(svg)


if __name__ == "__main__":
    main()
