"""The plan that follows from the spec in the form, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from engine.errors import LoratuiError
from engine.planning.remarks import Remark
from engine.preflight.checks import Preflight
from engine.spec.schema import Spec
from tui.settings.bindings import key_of
from tui.terminal.console import clean_line
from tui.views.plan import forecast_lines
from tui.widgets.live_text import LiveText

NAMED = 3  # rules, so that their line fits into 80 columns


class PlanPanel(LiveText):
    """The plan of the spec being edited, its warnings, or why it cannot be trained."""

    def show(self, spec: Spec, outcome: Preflight | LoratuiError, remarks: Sequence[Remark]) -> None:
        """Show the result of checking `spec`, and name the rules of the remarks on it."""
        if isinstance(outcome, LoratuiError):
            self.tell(_refusal(str(outcome)))
            return
        warnings = [Content.styled(f"! {clean_line(warning)}", "$text-warning") for warning in outcome.warnings]
        rules = [remark.rule for remark in remarks if not remark.silenced]
        more = f" and {len(rules) - NAMED} more" if len(rules) > NAMED else ""
        key = key_of(self.screen, "edit.remarks")
        line = f"? {', '.join(rules[:NAMED])}{more} · {key} says why"
        remarkable = [Content.styled(line, "$text-accent")] if rules else []
        self.tell(Content("\n").join([*map(Content, forecast_lines(spec, outcome)), *warnings, *remarkable]))

    def show_error(self, message: str) -> None:
        """Show the error of a value that makes a plan impossible."""
        self.tell(_refusal(message))


def _refusal(message: str) -> Content:
    return Content.styled(f"✗ {clean_line(message)}", "bold $text-error")
