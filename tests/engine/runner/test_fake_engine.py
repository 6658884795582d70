from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.api import Cockpit
from engine.spec.round import Status
from engine.spec.schema import Spec
from tests.support.fake_engine import Script, result_at
from tests.support.waiting import await_status


def test_fake_round_ends_with_its_result(cockpit: Cockpit, nano_spec: Spec, script: Callable[[Script], None]) -> None:
    script(Script(steps=7, log_lines=("hello",)))
    queued = cockpit.queue(nano_spec)
    finished = await_status(cockpit.store, queued.number, Status.FINISHED)
    assert finished.result == result_at(7, 7, f"runs/{queued.id}/adapter")
    run = cockpit.workspace.run_dir(queued.id)
    assert run.log.read_text() == "hello\n"
    assert (cockpit.workspace.root / str(finished.result.adapter_dir)).is_dir()


@pytest.mark.parametrize("step", [3, 8])
def test_fake_resumes_from_its_last_checkpoint(
    cockpit: Cockpit, nano_spec: Spec, script: Callable[[Script], None], step: int
) -> None:
    script(Script(steps=10, die_at=step))
    number = cockpit.queue(nano_spec).number
    await_status(cockpit.store, number, Status.INTERRUPTED)
    cockpit.resume(number)
    assert await_status(cockpit.store, number, Status.FINISHED).result.train_seconds == 10
