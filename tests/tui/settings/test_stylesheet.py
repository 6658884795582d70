"""Styles are parsed for the colours that they are shown in, and not more often."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from textual.css.model import RuleSet
from textual.css.parse import parse
from textual.css.stylesheet import Stylesheet

from engine.api import Cockpit
from engine.spec.schema import Spec
from tests.support.pilot import OpenApp, open_first
from tui.settings.stylesheet import CachedStylesheet
from tui.settings.themes import THEMES

SOURCE = "Button { color: $ink; }"


def colour_of(stylesheet: Stylesheet) -> str:
    (rule,) = stylesheet.rules
    return str(rule.styles.color.hex)


def test_other_colours_are_parsed_and_equal_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    stylesheet = CachedStylesheet(variables={"ink": "#ff0000"})
    stylesheet.add_source(SOURCE, ("a", "b"))
    assert colour_of(stylesheet) == "#FF0000"
    stylesheet.set_variables({"ink": "#00ff00"})
    stylesheet.reparse()
    assert colour_of(stylesheet) == "#00FF00"
    monkeypatch.setattr(Stylesheet, "parse", lambda self: pytest.fail("it was parsed again"))
    stylesheet.set_variables({"ink": "#00ff00"})
    stylesheet.reparse()
    assert colour_of(stylesheet) == "#00FF00"


async def test_app_parses_each_style_once_until_its_theme_changes(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[tuple[str, int]] = []

    def noted(scope: str, css: str, *others: Any, **options: Any) -> Iterable[RuleSet]:
        parsed.append((css, options["tie_breaker"]))
        return parse(scope, css, *others, **options)

    monkeypatch.setattr("textual.css.stylesheet.parse", noted)
    idle_cockpit.queue(nano_spec)
    async with open_app(idle_cockpit) as pilot:
        await open_first(pilot)
        assert parsed and len(parsed) == len(set(parsed))
        before, parsed[:] = {css for css, _ in parsed}, []
        pilot.app.theme = next(theme.name for theme in THEMES if theme.name != pilot.app.theme)
        await pilot.pause()
        assert {css for css, _ in parsed} == before
