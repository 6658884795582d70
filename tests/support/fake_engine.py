"""A scripted stand-in for `engine.training`: the same command line and the same events, without torch.

`python fake_engine.py RUN_DIR [--resume]`; the environment variable `LORATUI_FAKE_ENGINE` holds a `Script` as JSON.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
from msgspec import Struct

from engine.files.paths import RunDir
from engine.runs import engine_contract
from engine.runs.engine_contract import LOCK_VARIABLE, Heartbeat
from engine.runs.event_log import EventWriter, read_events
from engine.runs.events import (
    Evaluated,
    Failed,
    Finished,
    Interrupted,
    Phase,
    Prepared,
    Sampled,
    Saved,
    Started,
    Step,
    Stopped,
    Warned,
)
from engine.spec.round import Result
from engine.system.process import own_identity

engine_contract.BEAT_SECONDS = 0.1
VARIABLE = "LORATUI_FAKE_ENGINE"
HELPER = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "time.sleep(1000)"
)
GATE = "gate"  # made in the run directory, it lets an engine go on that waits
TORN_LINE = b'{"event":"step","time":1.0,"st'
TOKENS_PER_STEP = 1000
PROMPTS = {  # and what is expected; the answers hold an escape sequence that must not reach a terminal
    "Below is an instruction.\n\n### Instruction:\nSay one\n\n### Response:": "one",
    "Below is an instruction.\n\n### Instruction:\nSay it\n\n### Input:\ntwo\n\n### Response:": "[b]two[/b]",
}
MEMORY_BYTES = 512 * 1024**2


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """What the fake does. Mishaps come before the step of that number is taken, and not to a resumed run.

    Attributes:
        step_seconds: real time that a step takes; the events always say a second.
        save_every: steps between checkpoints.
        fail_at: says `Failed` and exits with 1.
        die_at: writes half an event and is gone by SIGKILL.
        quit_at: exits with 3 and without a word.
        hang_at: takes no further step and ignores SIGINT and SIGTERM.
        silent_at: as `hang_at`, and shows no further sign of life.
        nan_at: the loss of this step is no number.
        helper: starts a process of its own first, as a data loader does, that outlives a SIGTERM.
        daemon: as `helper`, in a session of its own.
        wait_in: before the first event ("starting") or in this phase it waits until `GATE` is in the run directory.
        mute: dies by SIGKILL before its first event, resumed or not.
        log_lines: written to stdout at the start.
        warnings: said before the first step.
    """

    steps: int = 20
    step_seconds: float = 0.0
    save_every: int = 5
    fail_at: int | None = None
    die_at: int | None = None
    quit_at: int | None = None
    hang_at: int | None = None
    silent_at: int | None = None
    nan_at: int | None = None
    helper: bool = False
    daemon: bool = False
    wait_in: str = ""
    mute: bool = False
    log_lines: tuple[str, ...] = ("loading the model", "training")
    warnings: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """The environment variables that make the fake follow this script."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


def loss_at(step: int, steps: int) -> float:
    """The loss after a step: from 3 towards 1 along an exponential."""
    return 1.0 + 2.0 * math.exp(-3.0 * step / steps)


def result_at(step: int, steps: int, adapter_dir: str | None) -> Result:
    """What the fake's training has come to after a step."""
    loss = loss_at(step, steps)
    return Result(
        eval_loss=loss,
        perplexity=math.exp(loss),
        base_perplexity=math.exp(loss_at(0, steps)),
        train_seconds=float(step),
        trained_tokens=step * TOKENS_PER_STEP,
        peak_memory_bytes=MEMORY_BYTES,
        adapter_dir=adapter_dir,
        step=step,
    )


class FakeEngine:
    """One run. A SIGINT stops it after the step at hand, a SIGTERM or SIGUSR1 interrupts it."""

    def __init__(self, run: RunDir, script: Script, resume: bool) -> None:
        self.run = run
        self.script = script
        self.resumed_from = self._last_checkpoint() if resume else None
        self.resumed = resume
        self.stop_wished = 0
        self.events = EventWriter(run.events)
        self.heartbeat = Heartbeat(run.heartbeat)

    def train(self) -> None:
        for stopping in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(stopping, self._wish_to_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with self.heartbeat:
            self._train()

    def _train(self) -> None:
        self._prepare()
        for step in range((self.resumed_from or 0) + 1, self.script.steps + 1):
            self._mishaps(step)
            self._step(step)
            if self.stop_wished:
                self._stop(step)
                return
            if step % self.script.save_every == 0:
                self._save_checkpoint(step)
        self._finish()

    def _wish_to_stop(self, signum: int, _frame: FrameType | None) -> None:
        self.stop_wished = signum

    def _wait_in(self, phase: str) -> None:
        while self.script.wait_in == phase and not (self.run.path / GATE).exists():
            time.sleep(0.01)

    def _last_checkpoint(self) -> int | None:
        steps = [event.step for event in read_events(self.run.events) if isinstance(event, Saved) and not event.final]
        return steps[-1] if steps else None

    def _prepare(self) -> None:
        steps = self.script.steps
        self._wait_in("starting")
        self.events.append(Started(time=time.time(), process=own_identity(), resumed_from=self.resumed_from))
        self.events.append(Phase(time=time.time(), name="loading"))
        self._wait_in("loading")
        for message in self.script.warnings:
            self.events.append(Warned(time=time.time(), message=message))
        self.events.append(
            Prepared(
                device="cpu",
                time=time.time(),
                dtype="float32",
                parameters=1_000_000,
                trainable_parameters=10_000,
                train_samples=16 * steps,
                eval_samples=10,
                total_steps=steps,
                steps_per_epoch=steps,
            )
        )
        if self.resumed_from is None:
            self.events.append(Phase(time=time.time(), name="evaluating base", done=10, total=10))
            self._evaluate(0)
        self.events.append(Phase(time=time.time(), name="training"))
        self._wait_in("training")

    def _mishaps(self, step: int) -> None:
        script = self.script
        if self.resumed:
            return
        if step == script.fail_at:
            self.events.append(Failed(time=time.time(), message=f"the loss at step {step} is no number"))
            self.events.close()
            sys.exit(1)
        if step == script.die_at:
            with self.run.events.open("ab") as file:
                file.write(TORN_LINE)
            die()
        if step == script.quit_at:
            self.events.close()
            sys.exit(3)
        if step in (script.hang_at, script.silent_at):
            for ignored in (signal.SIGINT, signal.SIGTERM):
                signal.signal(ignored, signal.SIG_IGN)
            if step == script.silent_at:
                self.heartbeat.end()
            while True:
                signal.pause()

    def _step(self, step: int) -> None:
        time.sleep(self.script.step_seconds)
        self.events.append(
            Step(
                time=time.time(),
                step=step,
                epoch=step / self.script.steps,
                loss=math.nan if step == self.script.nan_at else loss_at(step, self.script.steps),
                learning_rate=1e-3 * (1 - step / self.script.steps),
                grad_norm=0.5,
                tokens=TOKENS_PER_STEP,
                seconds=1.0,
                train_seconds=float(step),
                trained_tokens=step * TOKENS_PER_STEP,
                memory_bytes=MEMORY_BYTES,
            )
        )

    def _evaluate(self, step: int) -> None:
        loss = loss_at(step, self.script.steps)
        self.events.append(
            Evaluated(time=time.time(), step=step, eval_loss=loss, perplexity=math.exp(loss), supervised_tokens=500)
        )
        for prompt, expected in PROMPTS.items():
            text = f"step {step}: {expected}\x1b[2J"
            self.events.append(Sampled(time=time.time(), step=step, prompt=prompt, expected=expected, text=text))

    def _save_checkpoint(self, step: int) -> None:
        checkpoint = self.run.checkpoints / f"step-{step}"
        checkpoint.mkdir(parents=True, exist_ok=True)
        self.events.append(Saved(time=time.time(), step=step, path=f"{self.run.checkpoints.name}/{checkpoint.name}"))

    def _save_adapter(self, step: int) -> None:
        self.events.append(Phase(time=time.time(), name="saving"))
        self._wait_in("saving")
        self.run.adapter.mkdir(exist_ok=True)
        (self.run.adapter / "adapter_config.json").write_text("{}")
        self.events.append(Saved(time=time.time(), step=step, path=self.run.adapter.name, final=True))

    def _stop(self, step: int) -> None:
        self._save_checkpoint(step)
        self._save_adapter(step)
        if self.stop_wished == signal.SIGINT:
            self.events.append(Stopped(time=time.time(), step=step, message=f"stopped after step {step}"))
        else:
            message = f"interrupted by the machine after step {step}"
            self.events.append(Interrupted(time=time.time(), step=step, message=message))
        self.events.close()

    def _finish(self) -> None:
        steps = self.script.steps
        self.events.append(Phase(time=time.time(), name="evaluating", done=10, total=10))
        self._wait_in("evaluating")
        self._evaluate(steps)
        self._save_adapter(steps)
        adapter_dir = f"runs/{self.run.name}/{self.run.adapter.name}"
        self.events.append(Finished(time=time.time(), result=result_at(steps, steps, adapter_dir)))
        self.events.close()


def die() -> NoReturn:
    """The end that leaves no time for a word."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process survived its SIGKILL")


def main() -> None:
    script = msgspec.json.decode(os.environ.get(VARIABLE, "{}"), type=Script)
    for line in script.log_lines:
        print(line, flush=True)
    if script.mute:
        die()
    for wanted, alone in ((script.helper, False), (script.daemon, True)):
        if wanted:
            subprocess.Popen([sys.executable, "-c", HELPER, sys.argv[1]], start_new_session=alone)
    if LOCK_VARIABLE not in os.environ:  # no runner started it in the run directory
        os.chdir(sys.argv[1])
    FakeEngine(RunDir(Path()), script, resume="--resume" in sys.argv[2:]).train()


if __name__ == "__main__":
    main()
