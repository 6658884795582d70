"""The arithmetic of the benchmarks, by hand, and that they leave nothing running."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.first_step import imports, parts
from benchmarks.marks import Mark, evaluated_seconds, step_flops, step_seconds
from benchmarks.measuring import BenchmarkError, Figures, run_process
from benchmarks.report import Measured, Report, ratios, verdicts, wall
from engine.runs.events import AnyEvent, Phase, Step

MARKS = [
    Mark("training", 10.0, 5),
    Mark("step", 12.0, 25),
    Mark("step", 13.0, 45),
    Mark("evaluated", 20.0, 60),
    Mark("saved", 21.0, 60),
    Mark("step", 24.0, 80),
    Mark("evaluated", 30.0, 95),
    Mark("saved", 33.0, 95),
]
INTERRUPTING = """
import os, pathlib, signal, time
pathlib.Path("pid").write_text(str(os.getpid()))
os.kill(os.getppid(), signal.SIGINT)
time.sleep(600)
"""


def figures(contender: str, seconds: float) -> Figures:
    return Figures(
        contender=contender,
        wall_seconds=seconds,
        cpu_seconds=2 * seconds,
        first_step_seconds=1.0,
        step_seconds=[seconds / 2],
        evaluated_seconds=seconds,
        peak_memory_bytes=1 << 30,
    )


def report(device: str = "cpu", **losses: list[float]) -> Report:
    """Two repeats: the reference takes 40 and 60 seconds, this engine 10 and 12; half of that in the steps."""
    return Report(
        machine=[],
        command="",
        device=device,
        epochs=2,
        runs={
            "reference": [figures("reference", 40.0), figures("reference", 60.0)],
            "loratui": [figures("loratui", 10.0), figures("loratui", 12.0)],
        },
        flops={"reference": 600, "loratui": 206},
        losses={"reference": [2.0, 2.0], "loratui": [2.0, 2.0]} | losses,
        ruler=Measured(
            train_samples=9, eval_samples=1, tokens=50, eval_tokens=5, fewest_flops=100, base_loss=3.0, losses={}
        ),
        matrix_rates=[100.0, 80.0],
    )


def test_a_step_is_what_lies_between_it_and_the_mark_before() -> None:
    assert step_seconds(MARKS) == [2.0, 1.0, 3.0]
    assert step_flops(MARKS) == 20 + 20 + 20


def test_evaluations_are_counted_from_the_first_step_on() -> None:
    assert evaluated_seconds(MARKS) == 20.0


def test_ratios_are_of_neighbouring_runs_and_of_minima() -> None:
    median, minima = ratios(report(), "reference", wall)
    assert median == pytest.approx((40 / 10 + 60 / 12) / 2)
    assert minima == pytest.approx(4.0)


def test_verdicts_say_what_is_met() -> None:
    faster, flops, loss, noise, share = verdicts(report(loratui=[2.01, 2.03]))
    assert faster.startswith("met:") and "4.5" in faster
    assert flops.startswith("met:") and "1.03" in flops
    assert loss.startswith("NOT met:") and "0.01" in loss
    assert noise.startswith("met:")  # 0.02 apart, as are the two seeds
    assert share.startswith("NOT met:")


def test_losses_farther_apart_than_those_of_two_seeds_are_not_equal() -> None:
    noise = verdicts(report(loratui=[2.02, 2.03]))[3]
    assert noise.startswith("NOT met:") and "0.025" in noise and "0.01" in noise


def test_share_of_the_matrix_rate_is_that_of_the_fewest_flops() -> None:
    shares = [200 / 5 / 100, 200 / 6 / 80]  # 200 operations in 5 and in 6 seconds, at the rate measured beside each
    for device, target in (("cpu", "0.65"), ("cuda", "0.45")):
        *_, share = verdicts(report(device))
        assert share.startswith("NOT met:") and f"{sum(shares) / 2:.4g}" in share and target in share


def test_time_to_the_first_step_is_told_by_phase() -> None:
    step = Step(
        time=19.0, step=1, epoch=1.0, loss=1.0, learning_rate=1.0, grad_norm=1.0, tokens=1, seconds=1.0,
        train_seconds=1.0, trained_tokens=1,
    )  # fmt: skip
    events: list[AnyEvent] = [
        Phase(time=11.0, name="loading"),
        Phase(time=13.0, name="loading"),
        Phase(time=14.0, name="training"),
        step,
        Phase(time=99.0, name="saving"),
    ]
    assert parts(10.0, events) == {"starting Python": 1.0, "loading": 3.0, "training": 5.0}


def test_imports_are_summed_by_package() -> None:
    log = "import time:      2000 |      2000 |   torch._C\nnoise\nimport time:      1000 |      3000 | torch\n"
    assert imports(log + "import time:      4000 |      4000 | peft\n") == {"peft": 0.004, "torch": 0.003}


def test_an_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_process([sys.executable, "-c", INTERRUPTING], tmp_path, os.environ, tmp_path / "log")
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_failed_run_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3.*\n.*the reason"):
        run_process(
            [sys.executable, "-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"],
            tmp_path, os.environ, tmp_path / "log",
        )  # fmt: skip
