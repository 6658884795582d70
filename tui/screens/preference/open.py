"""Opening a blind test of rounds of the table, and reading how often each round was preferred."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from textual import work

from engine.errors import LoratuiError
from engine.spec.round import Round
from tui.messages import ActionFailed, PreferencesRead
from tui.screens.workspace_screen import WorkspaceScreen


def open_blind_test(screen: WorkspaceScreen, rounds: Sequence[Round]) -> None:
    """Open a blind test of two rounds above `screen`, or of one round and its base model."""
    from tui.screens.preference.screen import JudgeScreen

    if len(rounds) > 2:
        count = f"{len(rounds)} rounds are marked"
        screen.notify(f"{count}: mark two to compare, or one to compare with its base model", markup=False)
        return
    try:
        screen.cockpit.store.check_writable()
    except LoratuiError as error:
        screen.post_message(ActionFailed(error))
        return
    screen.open_above(JudgeScreen(screen.cockpit, rounds[0], rounds[1] if len(rounds) == 2 else None))


@work(thread=True, exclusive=True, group="preferences")
def read_preferences(screen: WorkspaceScreen) -> None:
    """Post to `screen` how often each round was preferred, counting only blind tests that are finished."""
    path = screen.cockpit.workspace.judgements
    if not path.exists():
        return
    from engine.preference.judgement_log import read_judgements
    from engine.preference.win_rate import countable, duels, finished, totals

    with suppress(LoratuiError):  # the next judgement and `loratui ranking` say what is wrong with the file
        judgements = finished(read_judgements(path))  # a judge must not see how an open test stands
        counted, _ = countable(judgements, {round_.id for round_ in screen.cockpit.store.rounds()})
        screen.post_message(PreferencesRead({one.run: rate for one, rate in totals(duels(counted)).items() if one.run}))
