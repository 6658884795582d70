"""The device that a round would be trained on: a card or the processor of this machine, or a card that is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from engine.errors import UsageError
from engine.spec.round import Round
from engine.system.allowance import memory
from engine.system.process import ProcessIdentity
from engine.system.process_memory import ProcessTree, TreeSample
from engine.system.telemetry import GpuSample, sample_gpus

GIB = 2**30
SIZE = re.compile(r"(?P<name>.*?)[\s,(]*(?P<size>\d{1,4}(?:\.\d+)?)\s*(?:gb|gib|g)\)?", re.IGNORECASE)
MAKERS = re.compile(r"nvidia|geforce|tesla|[^a-z0-9]")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # of /proc/cpuinfo on x86
LONGEST_INDEX = 2  # digits of the number of a card here; more are part of a name
CPUINFO = Path("/proc/cpuinfo")


class Card(Struct, frozen=True):
    """A kind of card: the GiB that nvidia-smi shows of it, the published rate of its matrix products in half precision
    without sparsity and summed in float32, in 10¹² operations a second, and whether it multiplies bfloat16, as from
    Ampere on (https://docs.nvidia.com/cuda/cuda-c-programming-guide/#arithmetic-instructions).
    """

    name: str
    gib: float
    rate: float
    bfloat16: bool = True


# The figures of T4, A10, L4, L40S, A100 and H100 stand in https://github.com/modal-labs/modal-client/pull/2797 too.
CARDS = (
    Card("P100", 15.9, 18.7, bfloat16=False), Card("V100", 15.8, 112, bfloat16=False),
    Card("T4", 15.0, 65, bfloat16=False),
    Card("RTX 2080 Ti", 11.0, 53.8, bfloat16=False), Card("RTX 3060", 12.0, 25.4), Card("RTX 3080", 10.0, 59.5),
    Card("RTX 3090", 24.0, 71), Card("RTX 4060 Ti", 16.0, 44.1), Card("RTX 4070", 12.0, 58.3),
    Card("RTX 4080", 16.0, 97.5), Card("RTX 4090", 24.0, 165), Card("RTX 5090", 31.8, 209),
    Card("RTX A6000", 48.0, 155), Card("A10", 22.5, 125), Card("A10G", 22.5, 70),
    Card("A30", 24.0, 165), Card("A40", 45.0, 150), Card("A100", 40.0, 312),
    Card("L4", 22.5, 121), Card("L40S", 45.0, 362), Card("H100", 79.6, 989),
    Card("H200", 140.4, 989), Card("B200", 179.1, 2250),
)  # fmt: skip


class Device(Struct, frozen=True):
    """A card or a processor that a round would be trained on.

    Attributes:
        name: of the card, or "this processor".
        is_gpu: whether it is a card.
        free: bytes that are free, or held by rounds that end before; of a card that is not here all that it has.
        total: bytes that it has.
        bfloat16: whether it multiplies bfloat16, by which `model.dtype` auto chooses.
        is_here: whether it is in this machine.
        uuids: of all cards here that have its name; empty for a processor.
        is_only: whether it is the only card here, which rounds use without being assigned to it.
        operations: of matrix products in half precision that its maker says it computes in a second; None if unknown.
    """

    name: str
    is_gpu: bool
    free: int
    total: int
    bfloat16: bool
    is_here: bool = True
    uuids: frozenset[str] = frozenset()
    is_only: bool = False
    operations: float | None = None


def device_here(engines: Iterable[ProcessIdentity] = (), timeout: float = 10.0) -> Device:
    """Return the card or the processor of this machine; asking NVML takes up to `timeout` seconds.

    What `engines` hold counts as free, as their rounds have ended before the one that is planned begins.
    """
    return this_machine(sample_gpus(timeout)[0], _trees(engines))


def this_machine(gpus: Sequence[GpuSample], trees: Sequence[TreeSample] = ()) -> Device:
    """Return the card among `gpus` with the most free memory, or the processor; what `trees` hold counts as free."""
    cards = [card for gpu in gpus if (card := _card_here(gpu, gpus, trees)) is not None]
    return max(cards, key=lambda card: card.free) if cards else _processor(trees)


def device_named(
    text: str,
    engines: Iterable[ProcessIdentity] = (),
    sample: Callable[[], tuple[tuple[GpuSample, ...], str]] = sample_gpus,
) -> Device:
    """Return the card of this machine with that number, or the known card of that name, such as "T4" or "T4 15GB".

    `engines` are as in `device_here`.

    Raises:
        UsageError: there is no such card here, or its memory is neither known nor named.
    """
    if text.isascii() and text.isdecimal() and len(text) <= LONGEST_INDEX:
        (gpus, absence), trees = sample(), _trees(engines)
        card = next((card for gpu in gpus if str(gpu.index) == text and (card := _card_here(gpu, gpus, trees))), None)
        if card is None:
            raise UsageError(f"--gpu is {text}, but {absence or f'this machine has {len(gpus)}, counted from 0'}")
        return card
    match = SIZE.fullmatch(text.strip()) if _known(text) is None else None  # an A10G has no size in its name
    name, size = (match["name"], float(match["size"])) if match and match["name"] else (text, None)
    known = _known(name)
    if known is None and not size:
        names = ", ".join(card.name for card in CARDS)
        raise UsageError(f"--gpu is {text!r}: name one of {names}, or add the memory of another one, as in 'X 24GB'")
    room = round((size or (known.gib if known else 0)) * GIB)
    bfloat16 = known.bfloat16 if known else True
    rate = 1e12 * known.rate if known else None
    return Device(known.name if known else name.strip(), True, room, room, bfloat16, is_here=False, operations=rate)


def was_on(device: Device, round_: Round) -> bool:
    """Return whether a round was trained on this device, or on a card here of the same kind."""
    if not device.is_here:
        return False
    if round_.gpu is not None:
        return round_.gpu in device.uuids
    if not device.is_gpu:
        return round_.device != "cuda"
    # The only card of a machine is not assigned: the cards here when the round was queued say which it was.
    if (predicted := round_.predicted) is not None:
        return round_.device == "cuda" and not device.uuids.isdisjoint(predicted.cards)
    return device.is_only and round_.device in ("cuda", "")  # as in rounds of earlier versions


def _known(name: str) -> Card | None:
    wanted = _bare(name)
    return next((card for card in CARDS if _bare(card.name) in (wanted, f"rtx{wanted}")), None)


def _kind(full_name: str) -> Card | None:
    """Return the known card whose name is the longest part of a full name, such as "NVIDIA A100-SXM4-40GB"."""
    parts = [card for card in CARDS if _bare(card.name) in _bare(full_name)]
    return max(parts, key=lambda card: len(card.name), default=None)


def _bare(name: str) -> str:
    return MAKERS.sub("", name.lower())


def _trees(engines: Iterable[ProcessIdentity]) -> list[TreeSample]:
    return [tree for engine in engines if (tree := ProcessTree().sample(engine)) is not None]


def _card_here(gpu: GpuSample, gpus: Sequence[GpuSample], trees: Sequence[TreeSample]) -> Device | None:
    """Return one of the cards `gpus` of this machine, None if it does not tell its memory."""
    if gpu.memory_total is None or gpu.memory_used is None:
        return None
    pids = {pid for tree in trees for pid in tree.pids}
    own = sum(process.memory_bytes or 0 for process in gpu.processes if process.pid in pids)
    free = min(gpu.memory_total, gpu.memory_total - gpu.memory_used + own)
    uuids = frozenset(each.uuid for each in gpus if each.name == gpu.name and each.uuid)
    kind = _kind(gpu.name)
    return Device(
        gpu.name, True, free, gpu.memory_total, kind is None or kind.bfloat16, uuids=uuids, is_only=len(gpus) == 1,
        operations=1e12 * kind.rate if kind is not None else None,
    )  # fmt: skip


def _processor(trees: Sequence[TreeSample]) -> Device:
    room = memory()
    free = min(room.total, room.available + sum(tree.resident_bytes for tree in trees))
    return Device("this processor", False, free, room.total, _multiplies_bfloat16())


def _multiplies_bfloat16() -> bool:
    """Return whether an x86 processor has instructions for it; the engine also tries whether they are faster."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return bool(BFLOAT16_FLAGS & set(flags.split()))
