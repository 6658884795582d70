"""Judging the answers of rounds, asked for at the keyboard, and what came of it for each round."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.events import ScreenResume

from engine.errors import LoratuiError
from tui.messages import ActionFailed, PreferencesRead
from tui.screens.rounds.arrange import ArrangingScreen

if TYPE_CHECKING:
    from engine.preference.win_rate import WinRate


class JudgingScreen(ArrangingScreen):
    """A screen from whose rounds two are chosen to be judged, or one and its base model.

    `preferences` has how often each round was preferred, by its id, where all prompts were judged, as of when the
    screen came on top.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "b", "judge", "Blind test", show=False, id="rounds.judge",
            tooltip="Judge the answers of two marked rounds, or of this and its base model, without knowing whose",
        ),
    ]  # fmt: skip

    preferences: Mapping[str, WinRate] = {}

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "judge":
            return True if self.targets else None
        return super().check_action(action, parameters)

    def action_judge(self) -> None:
        from tui.screens.preference.screen import JudgeScreen

        rounds = self.targets
        if len(rounds) > 2:
            self.notify(f"{len(rounds)} rounds are marked: mark two to judge, or one and its base model", markup=False)
            return
        try:
            self.cockpit.store.check_writable()
        except LoratuiError as error:
            self.post_message(ActionFailed(error))
            return
        self.go_on_to(JudgeScreen(self.cockpit, rounds[0], rounds[1] if len(rounds) == 2 else None))

    @on(ScreenResume)
    @work(thread=True, exclusive=True, group="preferences")
    def _read_preferences(self) -> None:
        path = self.cockpit.workspace.judgements
        if not path.exists():
            return
        from engine.preference.judgement_log import read_judgements
        from engine.preference.win_rate import countable, duels, finished, totals

        with suppress(LoratuiError):  # `loratui ranking` says what is wrong with it, and so does the next judgement
            judgements = finished(read_judgements(path))  # nothing here tells a judge how it goes
            counted, _ = countable(judgements, {item.id for item in self.cockpit.store.rounds()})
            self.post_message(
                PreferencesRead({one.run: rate for one, rate in totals(duels(counted)).items() if one.run})
            )
