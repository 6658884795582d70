"""The settings of a sweep, the best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.spec.round import Status
from engine.sweeps.answer import SweepAnswer
from engine.sweeps.progress import Progress, Setting
from engine.sweeps.space import short_name
from engine.text.humanize import format_perplexity
from tui.terminal.console import clean_line
from tui.views.sweep import best_first, state_in_words
from tui.widgets.table.cells import Cell, TableColumn
from tui.widgets.table.cursor_table import VirtualTable

COMPARING = "…"  # while the scores are read
STYLES = {
    "finished": "$text-success", "failed": "bold $text-error", Status.QUEUED: "$text-primary",
    Status.HELD: "$text-warning", Status.RUNNING: "bold $text-primary", Status.STOPPING: "bold $text-warning",
}  # fmt: skip


class SettingTable(VirtualTable):
    """One row for each setting. The cursor stays on its setting while the order changes."""

    empty_text = "No setting has a round yet."
    _settings: Sequence[Setting] = ()
    _keys: Sequence[str] = ()
    _answer: SweepAnswer | None = None
    _shares: Mapping[int, str] = {}

    def show(self, progress: Progress, answer: SweepAnswer | None, shares: Mapping[int, str]) -> None:
        """Show the settings of a sweep.

        Args:
            answer: None while it is not known.
            shares: how far each running round is, by number.
        """
        self._settings, self._answer, self._shares = best_first(progress), answer, shares
        self._keys = [key for key in progress.sweep.ranges if any(key in each.point for each in self._settings)]
        columns = [
            TableColumn("setting", "setting", right=True),
            *(TableColumn(key, clean_line(short_name(key))) for key in self._keys),
            TableColumn("perplexity", "ppl", right=True), TableColumn("state", "state"),
            TableColumn("rounds", "rounds"), TableColumn("verdict", "against the best", fills=True),
        ]  # fmt: skip
        self.present(columns, [each.number for each in self._settings], self.cursor_key)

    @property
    def selected(self) -> Setting | None:
        """The setting under the cursor."""
        return next((each for each in self._settings if each.number == self.cursor_key), None)

    def cells_of(self, row: int) -> list[Cell]:
        setting = self._settings[row]
        is_best = row == 0 and setting.loss is not None
        state = state_in_words(setting)
        shares = [self._shares[each.number] for each in setting.rounds if each.number in self._shares]
        perplexity = format_perplexity(setting.perplexity)
        return [
            Cell(str(setting.number)),
            *(Cell(setting.point.get(key, "")) for key in self._keys),
            Cell(f"★{perplexity}", "bold $text-success") if is_best else Cell(perplexity),
            Cell(" ".join([state, *shares]), STYLES.get(state, "")),
            Cell(", ".join(str(each.number) for each in setting.rounds)),
            Cell(self._verdict_on(setting)),
        ]

    def _verdict_on(self, setting: Setting) -> str:
        if setting.loss is None:
            return ""
        if self._answer is None:
            return COMPARING
        verdict = self._answer.verdicts.get(setting.number)
        return verdict.brief if verdict is not None else COMPARING
