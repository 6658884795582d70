"""The screens in docs/ are what the app shows now: `make screenshots` draws them again."""

from __future__ import annotations

import pytest

from scripts.screenshots import SHOWN, draw
from tests.support.processes import ROOT


@pytest.mark.parametrize("name", SHOWN)
async def test_screen_in_docs_is_what_the_app_shows(name: str) -> None:
    drawn = await draw([name])
    assert (ROOT / "docs" / f"{name}.svg").read_text() == drawn[name], "run `make screenshots`"


def test_docs_hold_no_other_screens() -> None:
    assert {path.stem for path in (ROOT / "docs").glob("*.svg")} == set(SHOWN)
