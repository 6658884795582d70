from __future__ import annotations

import pytest

from engine.alerts.run_monitor import RunProgress
from tui.views.activity import progress_words


@pytest.mark.parametrize(
    ("step", "total", "words"), [(None, None, ""), (None, 10, ""), (7, None, "step 7"), (2, 3, "66 %"), (3, 3, "100 %")]
)
def test_progress_is_a_share_where_the_total_is_known(step: int | None, total: int | None, words: str) -> None:
    assert progress_words(RunProgress(step=step, total_steps=total)) == words
