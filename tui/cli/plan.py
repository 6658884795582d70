"""`loratui plan`: what a round would be, and which of its settings are remarkable; nothing is queued."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec

from engine.api import Cockpit
from engine.errors import FileError, UsageError
from engine.planning.held_out_noise import noise_on
from engine.planning.remarks import RULES, Case, Remark, remarks_on
from engine.preflight.checks import Preflight, check
from engine.report.export import json_text
from engine.spec.schema import Spec
from tui.settings.silenced_rules import silence, silenced_rules
from tui.terminal.console import clean_line, say, say_json
from tui.views.plan import forecast_lines, remedy_words


def print_plan(cockpit: Cockpit, spec: Spec, options: argparse.Namespace) -> None:
    """Print the plan of `spec`, its warnings, and the remarks that are not silenced."""
    outcome = check(spec)
    noise = noise_on(spec, cockpit.workspace, cockpit.store.rounds() if cockpit.store.exists() else [])
    remarks = remarks_on(Case(spec, outcome.plan, outcome.adapter, noise), _silenced())
    if options.json:
        say_json(json_text(_fields(outcome, remarks)))
        return
    for line in (*forecast_lines(spec, outcome), *(f"! {warning}" for warning in outcome.warnings)):
        say(clean_line(line))
    for remark in remarks:
        if not remark.silenced:
            _say_remark(remark)
    if silenced := [remark.rule for remark in remarks if remark.silenced]:
        say(f"\nsilenced: {', '.join(silenced)}; loratui plan --unsilence RULE brings one back")


def _say_remark(remark: Remark) -> None:
    say(f"\n{clean_line(f'{remark.rule}: {remark.reason}')}")
    for text in (remedy_words(remark), remark.source):
        if text:
            say(f"    {clean_line(text)}")


def change_silence(options: argparse.Namespace) -> bool:
    """Silence a rule or let it be heard again, as the options say; return whether they ask for that alone."""
    for rule, is_silenced in ((options.silence, True), (options.unsilence, False)):
        if rule is None:
            continue
        if rule not in RULES:
            raise UsageError(f"{rule!r} is not a rule: the rules are {', '.join(RULES)}")
        silence(rule, is_silenced)
        say(f"remarks of {rule} are {'silenced' if is_silenced else 'shown again'}", error=True)
    asks_for_plan = options.settings or options.preset is not None or options.parent is not None
    return (options.silence or options.unsilence) is not None and not asks_for_plan


def _silenced() -> frozenset[str]:
    """Return the silenced rules; if they cannot be read, say so and show all remarks."""
    try:
        return silenced_rules()
    except FileError as error:
        say(f"loratui: {error}", error=True)
        return frozenset()


def _fields(outcome: Preflight, remarks: Sequence[Remark]) -> dict[str, object]:
    return {
        "plan": outcome.plan,
        "adapter": outcome.adapter,
        "warnings": outcome.warnings,
        "remarks": [msgspec.structs.asdict(remark) for remark in remarks],
    }
