"""An NVML that refuses, hangs, crashes or writes rubbish, played by a module in its place: who asks it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pynvml
import pytest

from engine.system.telemetry import HUNG_SECONDS, MachineSample, Telemetry, sample_gpus
from tests.support.faults.tried import Tried
from tests.support.processes import ROOT, is_running
from tests.support.waiting import await_true

# An NVML with a card, whose every function first does what the script says.
NVML = """
import os, signal, sys, time
from pynvml import NVMLError, NVML_TEMPERATURE_GPU
from pynvml import *
class Box:
    def __init__(self, **values): self.__dict__.update(values)
calls = 0
def asked(name, value):
    def function(*arguments):
        global calls
        calls += 1
        {script}
        return value
    return function
nvmlInit = asked("init", None)
nvmlDeviceGetCount = asked("count", 1)
nvmlDeviceGetHandleByIndex = asked("handle", 0)
nvmlDeviceGetName = asked("name", "Tesla T4")
nvmlDeviceGetUUID = asked("uuid", "GPU-0")
nvmlDeviceGetMemoryInfo = asked("memory", Box(used=1, total=2))
nvmlDeviceGetUtilizationRates = asked("rates", Box(gpu=3))
nvmlDeviceGetTemperature = asked("temperature", 4)
nvmlDeviceGetPowerUsage = asked("power", 5000)
nvmlDeviceGetTotalEnergyConsumption = asked("energy", 7000)
nvmlDeviceGetEnforcedPowerLimit = asked("limit", 6000)
nvmlDeviceGetCurrentClocksEventReasons = asked("reasons", 4)
nvmlDeviceGetCurrentClocksThrottleReasons = asked("old reasons", 4)
nvmlSystemGetDriverVersion = asked("driver", "550.54")
nvmlDeviceGetComputeRunningProcesses = asked("processes", [Box(pid=7, usedGpuMemory=None)])
"""
ASKED = (
    "init", "count", "handle", "name", "uuid", "memory", "rates", "temperature", "power", "limit", "energy", "reasons",
    "driver", "processes",
)  # fmt: skip
ERRORS = sorted(value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_"))
FINAL = {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_GPU_NOT_FOUND}
UNAVAILABLE = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
UNAVAILABLE |= {pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH, pynvml.NVML_ERROR_NO_DATA}
CRASH = "import ctypes; ctypes.string_at(0)"  # a real one, in the thread that asks

Command = Callable[[str], list[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """How to start the process that asks an NVML that does what the script says."""

    def write(script: str) -> list[str]:
        (tmp_path / "scripted.py").write_text(NVML.replace("{script}", script))
        begin = (
            "import sys; import scripted; sys.modules['pynvml'] = scripted; from engine.system import nvml; nvml.main()"
        )
        return [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; {begin}"]

    return write


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def telemetry() -> Iterator[Callable[[list[str]], tuple[Telemetry, Clock]]]:
    made: list[Telemetry] = []

    def make(command: list[str]) -> tuple[Telemetry, Clock]:
        clock = Clock()
        made.append(Telemetry(command, clock))
        return made[-1], clock

    yield make
    for item in made:
        item.close()


Make = Callable[[list[str]], tuple[Telemetry, Clock]]
Children = Callable[[], list[psutil.Process]]


@pytest.fixture
def children() -> Callable[[], list[psutil.Process]]:
    """The processes that the test has started and that live."""
    before = set(psutil.Process().children())
    return lambda: [child for child in psutil.Process().children() if child not in before and is_running(child)]


def settled(telemetry: Telemetry) -> MachineSample:
    """A sample once NVML has answered, however busy this machine is."""
    while "has not answered yet" in (sample := telemetry.sample()).gpu_absence:
        pass
    return sample


def is_harmless(sample: MachineSample) -> bool:
    """A sample with GPUs, or with one sentence on why there are none; processor and memory in any case."""
    told = bool(sample.gpus) != bool(sample.gpu_absence) and "\n" not in sample.gpu_absence
    return told and sample.memory_total > 0


def test_card_is_sampled_by_the_process_that_asks(command: Command, children: Children) -> None:
    (gpu,), absence = sample_gpus(command=command("pass"))
    assert (gpu.name, gpu.uuid, gpu.memory_used, gpu.utilisation, absence) == ("Tesla T4", "GPU-0", 1, 3, "")
    assert [process.pid for process in gpu.processes] == [7]
    assert children() == []


@pytest.mark.long
def test_each_error_of_nvml_in_each_question(command: Command, tried: Tried, times: Callable[[int, int], int]) -> None:
    questions = ASKED if times(0, 1) else ("init", "memory")
    errors, wrong = ERRORS[:: times(4, 1)], []
    for number in errors:
        for question in questions:
            gpus, absence = sample_gpus(command=command(f"if name == {question!r}: raise NVMLError({number})"))
            reported = str(pynvml.NVMLError(number)) in absence and "\n" not in absence
            expected = bool(gpus) if number in UNAVAILABLE and question not in ("init", "count", "handle") else reported
            if not expected or (gpus and absence):
                wrong.append((number, question, gpus, absence))
    tried(
        "F18", "NVML (a stand-in) raising each of its errors in each question", len(errors) * len(questions), len(wrong)
    )
    assert wrong == []


@pytest.mark.parametrize("question", ["init", "count", "memory", "processes"])
def test_crash_of_nvml_is_told_and_it_is_asked_again_later(
    command: Command, children: Children, telemetry: Make, tried: Tried, question: str
) -> None:
    asked, clock = telemetry(command(f"if name == {question!r}: {CRASH}"))
    sample = settled(asked)
    tried("F18", "NVML (a stand-in) crashing with a segmentation fault", 1, not is_harmless(sample))
    assert sample.gpu_absence == "GPU load is not known: the process that asks NVML was killed by signal 11"
    assert children() == []
    clock.now += 1.9
    asked.sample()
    assert children() == []
    clock.now += 0.2
    command("pass")
    assert settled(asked).gpus


def test_crash_midway_loses_a_few_samples(command: Command, telemetry: Make, tried: Tried) -> None:
    asked, clock = telemetry(command(f"if calls > 40: {CRASH}"))
    samples = []
    for _ in range(30):
        samples.append(settled(asked))
        clock.now += 3.0
    lost = sum(not is_harmless(sample) for sample in samples)
    tried("F18", "NVML (a stand-in) crashing with a segmentation fault", 30, lost)
    assert lost == 0
    assert samples[0].gpus and 4 < sum(not sample.gpus for sample in samples) < 15


@pytest.mark.long
def test_retries_grow_rare(command: Command, telemetry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, clock = telemetry([sys.executable, "-c", "raise SystemExit(3)"])
    started: list[float] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(clock.now)
        return popen(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    for clock.now in range(1300):
        assert "ended with exit code 3" in asked.sample().gpu_absence
    waits = [after - before for before, after in pairwise(started)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize("number", sorted(FINAL))
def test_machine_without_a_driver_is_asked_once(
    command: Command, children: Children, telemetry: Make, tried: Tried, number: int
) -> None:
    asked, clock = telemetry(command(f"raise NVMLError({number})"))
    before = settled(asked)
    for clock.now in (10.0, 1e4, 1e8):
        assert asked.sample().gpu_absence == before.gpu_absence
        assert children() == []
    tried("F18", "no driver or library for NVML (a stand-in)", 1)
    assert before.gpu_absence == f"no NVIDIA GPU: {pynvml.NVMLError(number)}"


@pytest.mark.long
def test_hung_nvml_holds_nobody_up(command: Command, children: Children, telemetry: Make, tried: Tried) -> None:
    asked, clock = telemetry(command("time.sleep(1000)"))
    begun = time.monotonic()
    sample = asked.sample()
    seconds = time.monotonic() - begun
    tried("F18", "NVML (a stand-in) that hangs", 1, not (is_harmless(sample) and seconds < 5))
    assert sample.gpu_absence == "GPU load is not known: the NVIDIA driver has not answered yet"
    assert seconds < 5
    (child,) = children()
    clock.now = HUNG_SECONDS
    assert asked.sample().gpu_absence == "GPU load is not known: the NVIDIA driver has not answered for 30 s"
    assert not is_running(child)


@pytest.mark.long
def test_slow_answer_is_taken_when_it_comes(command: Command, telemetry: Make) -> None:
    asked, clock = telemetry(command("time.sleep(0.3)"))
    assert asked.sample().gpus == ()
    clock.now = 9.0
    assert settled(asked).gpus


@pytest.mark.parametrize(
    "rubbish",
    [
        "print('no json')",
        "print('[' * 100000)",
        "print('x' * 10**7, end='')",
        "print('{\"gpus\": 3}')",
        "print('\\0\\0')",
    ],
)
def test_rubbish_is_no_sample(telemetry: Make, children: Children, tried: Tried, rubbish: str) -> None:
    asked, _ = telemetry([sys.executable, "-c", f"{rubbish}; import sys; sys.stdout.flush(); input(); input()"])
    sample = settled(asked)
    tried("F18", "rubbish in the place of samples", 1, not is_harmless(sample))
    assert sample.gpu_absence == "GPU load is not known: the process that asks NVML answered with no sample"
    assert children() == []


def test_what_a_library_prints_is_no_answer(command: Command) -> None:
    assert sample_gpus(command=command("print('loaded libnvidia-ml'); sys.stdout.flush()"))[0]


def test_program_that_is_not_there_is_told() -> None:
    gpus, absence = sample_gpus(command=["/nowhere/python"])
    assert gpus == () and absence.startswith("GPU load is not known: the process that asks NVML does not start: ")


@pytest.mark.parametrize("hung", ["pass", "time.sleep(1000)"])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_process_that_asks_outlives_nobody(
    command: Command, children: Children, tmp_path: Path, tried: Tried, hung: str, signum: signal.Signals
) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from engine.system.telemetry import Telemetry; import time\n"
        f"asked = Telemetry({command(hung)!r}); asked.sample(); print('asked', flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"asked\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.send_signal(signum)
    await_true(lambda: not is_running(child), "the end of the process that asks NVML")
    tried("F18", "death of the one who asks", 1, is_running(child))
