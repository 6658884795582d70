from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.runner.gpu_slots import GpuSlots
from engine.system.telemetry import GpuProcess, GpuSample

GIB = 2**30


def gpu(index: int, *, used: int = 0, pids: Sequence[int] = (), uuid: str = "") -> GpuSample:
    """A GPU of 80 GiB of which `used` are taken."""
    return GpuSample(
        index=index, name="A100", memory_used=used * GIB, memory_total=80 * GIB, utilisation=0, temperature=40,
        power_watts=50.0, uuid=uuid or f"GPU-{index}{index}", processes=tuple(GpuProcess(pid, 3 * GIB) for pid in pids),
    )  # fmt: skip


def slots(*gpus: GpuSample, allowed: str | None = None) -> GpuSlots:
    return GpuSlots(lambda: (gpus, ""), {} if allowed is None else {"CUDA_VISIBLE_DEVICES": allowed})


@pytest.mark.parametrize("gpus", [(), (gpu(0, used=70, pids=[99]),)], ids=["none", "one"])
def test_machine_without_a_choice_has_one_place(gpus: tuple[GpuSample, ...]) -> None:
    assert slots(*gpus).free([]) == (True, None)
    assert slots(*gpus).free([None]) == (False, None)


def test_idle_gpu_with_the_most_free_memory_is_taken_first() -> None:
    gpus = slots(gpu(0, used=20), gpu(1), gpu(2, used=10))
    assert gpus.free([]) == (True, "GPU-11")
    assert gpus.free(["GPU-11"]) == (True, "GPU-22")
    assert gpus.free(["GPU-11", "GPU-22"]) == (True, "GPU-00")
    assert gpus.free(["GPU-00", "GPU-11", "GPU-22"]) == (False, "GPU-11")


def test_gpu_that_a_stranger_computes_on_is_left_to_them() -> None:
    assert slots(gpu(0, pids=[99]), gpu(1, used=40)).free([]) == (True, "GPU-11")
    assert slots(gpu(0, pids=[99]), gpu(1)).free(["GPU-11"])[0] is False


def test_round_does_not_wait_for_strangers_when_they_have_all() -> None:
    assert slots(gpu(0, used=60, pids=[98]), gpu(1, used=20, pids=[99])).free([]) == (True, "GPU-11")


@pytest.mark.parametrize("allowed", ["0,2", "GPU-00,GPU-22", "GPU-0, GPU-2"])
def test_gpus_that_the_person_did_not_allow_are_not_touched(allowed: str) -> None:
    allowed_slots = slots(gpu(0), gpu(1), gpu(2), allowed=allowed)
    assert [item.index for item in allowed_slots.gpus()] == [0, 2]
    assert allowed_slots.free(["GPU-00", "GPU-22"])[0] is False


def test_one_gpu_allowed_by_name_is_no_choice() -> None:
    assert slots(gpu(0), gpu(1), allowed="1").free([]) == (True, None)


def test_round_that_was_given_no_gpu_keeps_all_others_out() -> None:
    assert slots(gpu(0), gpu(1)).free([None]) == (False, None)


def test_memory_that_a_dead_process_holds_is_named() -> None:
    assert slots(gpu(0), gpu(1, pids=[7, 99])).still_held({7}, 0.0) == "3.0 GiB of GPU 1"
    assert slots(gpu(0), gpu(1, pids=[99])).still_held({7}, 0.0) == ""
    assert slots().still_held({7}, 0.0) == ""


def test_memory_that_is_being_freed_is_waited_for() -> None:
    samples = iter([((gpu(0, pids=[7]),), ""), ((gpu(0, pids=[7]),), ""), ((gpu(0),), "")])
    assert GpuSlots(lambda: next(samples), {}).still_held({7}) == ""
