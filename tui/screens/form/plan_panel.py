"""The plan that follows from the spec in the form, in a few lines."""

from __future__ import annotations

from itertools import accumulate, pairwise

from textual.content import Content

from engine.errors import LoratuiError
from engine.planning.forecast import Forecast
from engine.planning.memory import MemoryNeed
from engine.spec.schema import Spec
from tui.settings.bindings import key_of
from tui.terminal.console import clean_line
from tui.views.memory import parts_in_words, parts_of, remedy_in_words, verdict_in_words
from tui.views.plan import duration_in_words, forecast_lines, tokens_in_words
from tui.widgets.live_text import LiveText

BAR_CELLS = 16
# The letter and the colour of each part of the memory in the bar, so that it can be read without colours too.
CELLS = {
    "process": ("▒", "$text-muted"),
    "base": ("█", "$primary"),
    "adapter and optimizer": ("▓", "$warning"),
    "rows": ("░", "$success"),
}
REST = "·"  # memory that stays free
NAMED = 3  # rules, so that their line fits into 80 columns


class PlanPanel(LiveText):
    """The plan of the spec being edited, its warnings, or why it cannot be trained."""

    _spec: Spec | None = None
    _outcome: Forecast | LoratuiError | None = None
    _shows_lengths = False

    def show(self, spec: Spec, outcome: Forecast | LoratuiError) -> None:
        """Show what the round of `spec` would be and need, and name the rules of the remarks on it."""
        self._spec, self._outcome = spec, outcome
        if isinstance(outcome, LoratuiError):
            self.tell(_refusal(str(outcome)))
        else:
            self.tell(Content("\n").join(self._lines_on(spec, outcome)))

    def show_lengths(self, wanted: bool) -> None:
        """Show the lengths of the rows in a narrow form too, or no more."""
        self._shows_lengths, before = wanted, self._shows_lengths
        if wanted != before and self._spec is not None and self._outcome is not None:
            self.show(self._spec, self._outcome)

    def _lines_on(self, spec: Spec, outcome: Forecast) -> list[Content]:
        lines = [*map(Content, forecast_lines(spec, outcome.checked, outcome.duration)), *_memory_lines(outcome)]
        lines += [Content.styled(f"! {clean_line(warning)}", "$text-warning") for warning in outcome.checked.warnings]
        rules = [remark.rule for remark in outcome.remarks if not remark.silenced]
        if rules:
            more = f" and {len(rules) - NAMED} more" if len(rules) > NAMED else ""
            line = f"? {', '.join(rules[:NAMED])}{more} · {key_of(self.screen, 'edit.remarks')} says why"
            lines.append(Content.styled(line, "$text-accent"))
        is_wide = self.screen.has_class("-wide")  # elsewhere they would take lines of the fields
        details = [tokens_in_words(spec, outcome)] if is_wide or self._shows_lengths else []
        details += _details(outcome) if is_wide else []
        return lines + [Content.styled(line, "$text-muted") for line in details if line]

    def show_error(self, message: str) -> None:
        """Show the error of a value that makes a plan impossible."""
        self._spec = self._outcome = None
        self.tell(_refusal(message))


def _refusal(message: str) -> Content:
    return Content.styled(f"✗ {clean_line(message)}", "bold $text-error")


def _details(forecast: Forecast) -> list[str]:
    """Return the time with its interval, and the parts of the memory."""
    time = [f"time: {duration_in_words(forecast.duration, forecast.device)}"] if forecast.duration is not None else []
    if (memory := forecast.memory) is None:
        return time
    return [*time, f"memory: {parts_in_words(memory, forecast.correction)}"]


def _memory_bar(memory: MemoryNeed) -> Content:
    """Return the parts as a bar of `BAR_CELLS`, whose length is the free memory, or what is needed if that is more."""
    parts = parts_of(memory)
    sums = [*accumulate((part.size for part in parts), initial=0)]
    ends = [round(BAR_CELLS * total / max(memory.free, sums[-1], 1)) for total in sums]
    cells = [(*CELLS[part.name], end - start) for part, (start, end) in zip(parts, pairwise(ends), strict=True)]
    rest = (REST * (BAR_CELLS - ends[-1]), "$text-muted")
    return Content.assemble(*((letter * count, style) for letter, style, count in cells), rest)


def _memory_lines(forecast: Forecast) -> list[Content]:
    """Return the memory as a bar with the verdict, and what would make it fit; in red if it does not."""
    memory = forecast.memory
    if memory is None:
        return []
    style = "$text-error" if memory.verdict == "does not fit" else ""
    verdict = Content.styled(verdict_in_words(memory, forecast.device), style)
    remedy = [Content.styled(remedy_in_words(memory), style)] if memory.remedy else []
    return [Content.assemble(_memory_bar(memory), " ", verdict), *remedy]
