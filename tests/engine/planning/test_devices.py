"""The device that a plan is for: the best card here, the processor, or a card that is named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.errors import UsageError
from engine.planning import devices
from engine.planning.devices import CARDS, device_here, device_named, this_machine
from engine.system.allowance import Memory
from engine.system.nvml import GpuProcess, GpuSample
from engine.system.process import own_identity
from engine.system.process_memory import TreeSample
from tests.support.processes import ROOT

GIB = 2**30


def gpu(index: int, used: int | None, total: int | None, name: str = "Tesla T4") -> GpuSample:
    return GpuSample(index, name, used, total, None, None, None)


def test_card_with_the_most_free_memory_is_chosen() -> None:
    cards = [gpu(0, 9 * GIB, 15 * GIB), gpu(1, GIB, 15 * GIB), gpu(2, None, None)]
    device = this_machine(cards)
    assert (device.name, device.is_gpu, device.free, device.bfloat16) == ("Tesla T4", True, 14 * GIB, False)
    assert (device.is_only, this_machine(cards[:1]).is_only, this_machine([]).is_only) == (False, True, False)


def test_what_an_engine_of_a_round_holds_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its round will have ended, but what others hold stays theirs."""
    process = own_identity()
    busy = msgspec.structs.replace(
        gpu(0, 14 * GIB, 15 * GIB),
        processes=(GpuProcess(process.pid, 10 * GIB), GpuProcess(1, 3 * GIB), GpuProcess(2, None)),
    )
    monkeypatch.setattr(devices, "sample_gpus", lambda timeout: ((busy,), ""))
    assert (device_here().free, device_here([process]).free) == (GIB, 11 * GIB)
    assert device_named("0", [process], lambda: ((busy,), "")).free == 11 * GIB
    room = Memory(total=24 * GIB, used=20 * GIB, available=4 * GIB)
    monkeypatch.setattr(devices, "memory", lambda: room)
    tree = TreeSample(frozenset({process.pid}), 6 * GIB)
    assert (this_machine([]).free, this_machine([], [tree]).free) == (4 * GIB, 10 * GIB)
    assert this_machine([], [tree] * 9).free == 24 * GIB


def test_without_a_card_that_answers_it_is_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    device = this_machine([gpu(0, None, None, "does not answer")])
    assert (device.is_gpu, device.bfloat16) == (False, False)
    assert 0 < device.free <= device.total
    for flags, has_it in (("fpu avx2", False), ("fpu avx512_bf16", True), ("fpu amx_bf16 amx_tile", True)):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert this_machine([]).bfloat16 is has_it


@pytest.mark.parametrize(
    ("text", "name", "gib"),
    [
        ("T4", "T4", 15.0), ("Tesla T4", "T4", 15.0), ("nvidia t4 15GB", "T4", 15.0), ("T4 (15 GiB)", "T4", 15.0),
        ("A100", "A100", 40.0), ("A100 80GB", "A100", 80.0), ("A100-80GB", "A100", 80.0),
        ("A10G", "A10G", 22.5),
        ("RTX 4090", "RTX 4090", 24.0), ("4090", "RTX 4090", 24.0), ("GeForce RTX 4090", "RTX 4090", 24.0),
        ("H200", "H200", 140.4),
        ("X 24GB", "X", 24.0), ("X 0.5gb", "X", 0.5),
    ],
)  # fmt: skip
def test_named_card_has_its_memory_or_that_which_is_named(text: str, name: str, gib: float) -> None:
    device = device_named(text)
    assert (device.name, device.is_gpu) == (name, True)
    assert device.free == device.total == round(gib * GIB)


@pytest.mark.parametrize("text", ["", "X", "banana", "24GB", "0GB", "X 0GB", "T4T4"])
def test_unknown_card_is_refused_with_those_that_are_known(text: str) -> None:
    with pytest.raises(UsageError, match="name one of P100, V100, T4"):
        device_named(text)


def test_number_means_a_card_of_this_machine() -> None:
    cards = (gpu(0, GIB, 15 * GIB), gpu(1, 2 * GIB, 80 * GIB, "NVIDIA H100 80GB HBM3"))
    assert device_named("1", sample=lambda: (cards, "")).total == 80 * GIB
    assert this_machine([gpu(0, 0, 16 * GIB, "Tesla V100-SXM2-16GB")]).bfloat16 is False
    with pytest.raises(UsageError, match="--gpu is 2, but this machine has 2, counted from 0"):
        device_named("2", sample=lambda: (cards, ""))
    with pytest.raises(UsageError, match="--gpu is 0, but no NVIDIA GPU"):
        device_named("0", sample=lambda: ((), "no NVIDIA GPU: no driver"))


def test_each_card_is_found_by_its_name() -> None:
    assert [device_named(card.name).name for card in CARDS] == [card.name for card in CARDS]


def test_page_lists_the_cards_as_they_are() -> None:
    lines = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8").splitlines()
    rows = [
        f"| {card.name} | {card.gib:.1f} GiB | {card.rate:g} | {'yes' if card.bfloat16 else 'no'} |" for card in CARDS
    ]
    assert [line for line in lines if " GiB | " in line] == rows


@pytest.mark.parametrize(
    ("full_name", "rate"),
    [
        ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA A10G", 70), ("NVIDIA A10", 125), ("Tesla T4", 65),
        ("NVIDIA GeForce RTX 4060 Ti", 44.1), ("NVIDIA L40S", 362), ("AMD Radeon", None),
    ],
)  # fmt: skip
def test_card_here_has_the_published_rate_of_its_kind(full_name: str, rate: float | None) -> None:
    device = this_machine([gpu(0, GIB, 15 * GIB, full_name)])
    assert device.operations == (None if rate is None else pytest.approx(1e12 * rate))
