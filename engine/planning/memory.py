"""Estimate the memory that a round needs, by arithmetic alone, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from engine.planning.activations import activations_of
from engine.planning.devices import Device
from engine.planning.row_lengths import TrainedRows
from engine.preflight.adapter_size import AdapterSize, adapter_size
from engine.preflight.base_model import read_config
from engine.preflight.base_weights import base_weights
from engine.preflight.checks import quantised_by
from engine.preflight.hub_shapes import directory_with_shapes
from engine.preflight.tied_embeddings import ties_embeddings
from engine.runs.disk_forecast import FLOAT32_BYTES, STATE_BYTES
from engine.spec.plan import Plan
from engine.spec.schema import ModelSpec, Spec
from engine.system.training_memory import (
    CPU_BYTES,
    CPU_SHARE,
    FRAGMENTATION,
    GPU_SHARE,
    LATER_BYTES,
    LENGTHS_PER_OCTAVE,
    rounded_up,
    tokens_at_once,
)

PROCESS_BYTES = 400 * 2**20  # of a process with its libraries, before it loads a model
# NF4 has half a byte for each weight, one for each 64 and a float32 for each 256 of those (T. Dettmers et al., QLoRA,
# arXiv 2305.14314); LLM.int8 one byte, and a float32 for each row (arXiv 2208.07339).
BYTES_IN_4BIT = 0.5 + 1 / 64 + 4 / (64 * 256)
QUANTISED = 1.6  # of activations in half precision beside quantised layers, whose residual sums are in float32
LENGTH_STEP = 8  # of the lengths that are offered
SHORTEST = 64

Verdict = Literal["fits", "fits with recomputation", "does not fit", "unknown"]


class BytesOfPasses(Protocol):
    """Arithmetic on passes, or a trace of them."""

    def bytes_in(self, tokens: int, longest: int, precision: int, *, recompute: bool, on_cpu: bool) -> int:
        """Return the bytes of a pass of `tokens`, in rows of up to `longest`, at `precision` bytes a number."""


class MemoryNeed(Struct, frozen=True):
    """Bytes that a round needs on a device, by what they are for.

    Attributes:
        base: the base model.
        adapter, gradients, optimizer: of what is trained.
        process: the process with its libraries on a processor; a GPU's context is not counted, as nvidia-smi counts it
            to the process and torch does not.
        row: activations of a single row of `row_tokens`, None where they are known only once the round starts.
        row_tokens: of the longest row; `data.max_length` where not all rows were measured.
        recompute: whether activations are recomputed, as a row does not fit otherwise or the spec says so.
        peak: with as many rows at once as the engine takes, at most so much if their lengths are not known; None as
            `row`.
        knows_lengths: whether `peak` is by the lengths of rows that were measured.
        free: of the device.
        verdict: whether a row fits, by the engine's own rule.
        remedy: texts for fields by their keys, with one of which it would fit.
        traced: whether `row` and `peak` are by a trace of the engine's own passes, rather than by arithmetic.
    """

    base: int
    adapter: int
    gradients: int
    optimizer: int
    process: int
    row: int | None
    row_tokens: int
    recompute: bool
    peak: int | None
    free: int
    verdict: Verdict
    remedy: dict[str, str] = {}
    knows_lengths: bool = False
    traced: bool = False

    @property
    def least(self) -> int:
        """The bytes with a single row at a time, without it if its activations are not known."""
        return self.fixed + (self.row or 0)

    @property
    def fixed(self) -> int:
        """The bytes without activations."""
        return self.process + self.base + self.adapter + self.gradients + self.optimizer


def memory_need(
    spec: Spec,
    plan: Plan,
    device: Device,
    rows: TrainedRows | None = None,
    adapter: AdapterSize | None = None,
    traced: BytesOfPasses | None = None,
) -> MemoryNeed | None:
    """Return what the round of `spec` needs on `device`; None for a model that is not here, or is stored quantised.

    Without the lengths of its rows each is taken to be as long as `data.max_length` allows. `adapter` is its
    size where the caller knows it, which takes a while to count. With `traced` the bytes of passes are its own, and no
    remedy is offered, as it knows no other spec.

    Raises:
        LoratuiError: as the checks of a spec.
    """
    directory = directory_with_shapes(spec.model)
    if directory is None or "quantization_config" in read_config(directory):
        return None
    adapter = adapter or adapter_size(directory, spec.lora, quantised_by(spec.model) is not None)
    if adapter is None:
        return None
    round_ = _Round(spec, plan, device, directory, adapter, traced or activations_of(directory, spec.lora), rows)
    need = round_.memory()
    if traced is not None:
        return msgspec.structs.replace(need, traced=True)
    if need.verdict != "does not fit":
        return need
    return msgspec.structs.replace(need, remedy=dict(round_.remedies()))


class _Round(Struct, frozen=True):
    """A round on a device, with what is known of its model and adapter."""

    spec: Spec
    plan: Plan
    device: Device
    directory: Path
    adapter: AdapterSize
    activations: BytesOfPasses | None
    rows: TrainedRows | None = None

    def memory(self) -> MemoryNeed:
        """Return what it needs, and whether that fits."""
        fixed, room = self._fixed(), self._room()
        recompute, verdict = self._choose(fixed.row_tokens, room)
        need = msgspec.structs.replace(fixed, recompute=recompute, verdict=verdict)
        if (row := self._bytes_in(need.row_tokens, recompute)) is None:
            return need
        at_once = max(row, self._bytes_in(self._tokens_at_once(row, room), recompute) or 0)
        later = 0 if self.device.is_gpu else LATER_BYTES
        return msgspec.structs.replace(need, row=row, peak=fixed.fixed + at_once + later)

    def _fixed(self) -> MemoryNeed:
        """Return what it needs whatever its rows."""
        size = self.adapter.parameters
        return MemoryNeed(
            base=base_bytes(self.directory, self.spec.model, self.precision),
            adapter=FLOAT32_BYTES * size,
            gradients=FLOAT32_BYTES * size,
            optimizer=STATE_BYTES[self.spec.train.optim] * size,
            process=0 if self.device.is_gpu else PROCESS_BYTES,
            row=None,
            row_tokens=self._longest_row,
            recompute=False,
            peak=None,
            free=self.device.free,
            verdict="unknown",
            knows_lengths=self.rows is not None,
        )

    @property
    def _longest_row(self) -> int:
        return self.rows.longest_example if self.rows is not None and self.rows.are_all else self.spec.data.max_length

    def _room(self) -> int:
        """Return the bytes that rows may use, of what is free once the model is loaded."""
        fixed = self._fixed()
        loaded = fixed.process + fixed.base + fixed.adapter
        share = GPU_SHARE if self.device.is_gpu else CPU_SHARE
        return round(share * (self.device.free - loaded)) - fixed.gradients - fixed.optimizer

    @property
    def precision(self) -> int:
        """Bytes of a number in the base model's precision."""
        return bytes_of_a_number(self.spec, self.device)

    def _choose(self, row_tokens: int, room: int) -> tuple[bool, Verdict]:
        """Return whether activations are recomputed, and the verdict, as the engine chooses: only if a row needs it."""
        setting = self.spec.train.gradient_checkpointing
        if self.activations is None:
            return setting is True, "unknown" if room > 0 else "does not fit"
        if setting is not True and self._fits(row_tokens, room, recompute=False):
            return False, "fits"
        if setting is not False and self._fits(row_tokens, room, recompute=True):
            return True, "fits with recomputation"
        return setting is not False, "does not fit"

    def _fits(self, tokens: int, room: int, *, recompute: bool) -> bool:
        used = self._bytes_in(tokens, recompute)
        return used is not None and used <= room

    def _bytes_in(self, tokens: int, recompute: bool) -> int | None:
        """Return the bytes of a pass of so many tokens; None where that is not known."""
        if self.activations is None:
            return None
        on_cpu = not self.device.is_gpu
        longest = min(tokens, self._longest_row)
        used: float = self.activations.bytes_in(tokens, longest, self.precision, recompute=recompute, on_cpu=on_cpu)
        if quantised_by(self.spec.model) and self.precision < FLOAT32_BYTES:
            used *= QUANTISED
        return round(used * (FRAGMENTATION if on_cpu else 1))

    def _tokens_at_once(self, row: int, room: int) -> int:
        """Return the tokens of the largest pass, or the most that it may have if the lengths are not known."""
        longest, train = self._longest_row, self.spec.train
        rows = self.plan.effective_batch
        if train.micro_batches == "fixed":
            return self._most_in(train.per_device_train_batch_size, train.gradient_accumulation_steps)
        if self.plan.train_samples:
            rows = min(rows, self.plan.train_samples)
        whole_step = rows * longest if self.rows is None else self.rows.longest_together(rows)
        in_room, usual = (max(longest, longest * most // max(row, 1)) for most in (room, CPU_BYTES))
        limit = min(whole_step, in_room) if self.device.is_gpu else tokens_at_once(whole_step, in_room, usual)
        step = self._most_in(rows, 1)
        passes = -(-step // max(longest, limit))
        largest = max(longest, -(-step // passes))
        return largest if self.device.is_gpu else rounded_up(largest, LENGTHS_PER_OCTAVE)

    def _most_in(self, rows: int, draws_in_step: int) -> int:
        """Return the most tokens that so many rows have, drawn so often in each step."""
        if self.rows is None:
            return rows * self.spec.data.max_length
        return self.rows.most_in(rows, draws_in_step * (self.plan.total_steps or 1))

    def remedies(self) -> Iterator[tuple[str, str]]:
        """Yield settings with one of which it would fit, by their keys."""
        for key, text, changed in self._changes():
            rows = self.rows if changed.data == self.spec.data else None  # which are cut at another length
            if msgspec.structs.replace(self, spec=changed, rows=rows).memory().verdict.startswith("fits"):
                yield key, text

    def _changes(self) -> Iterator[tuple[str, str, Spec]]:
        """Yield what may help, from that which costs the least: recomputation, precision, 4 bits, shorter rows."""
        spec, replace = self.spec, msgspec.structs.replace
        if spec.train.gradient_checkpointing is False:
            train = replace(spec.train, gradient_checkpointing="auto")
            yield "train.gradient_checkpointing", "auto", replace(spec, train=train)
        if self.device.is_gpu and self.precision == FLOAT32_BYTES and spec.model.dtype == "float32":
            yield "model.dtype", "auto", replace(spec, model=replace(spec.model, dtype="auto"))
        if self.device.is_gpu and not quantised_by(spec.model):
            yield "model.load_in_4bit", "true", replace(spec, model=replace(spec.model, load_in_4bit=True))
        if length := self._longest_that_fits():
            yield "data.max_length", str(length), replace(spec, data=replace(spec.data, max_length=length))

    def _longest_that_fits(self) -> int:
        """Return the longest row that fits, a multiple of `LENGTH_STEP`; 0 if there is none."""
        fits, too_long = SHORTEST // LENGTH_STEP - 1, self._longest_row // LENGTH_STEP + 1
        room = self._room()
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self._choose(middle * LENGTH_STEP, room)[1].startswith("fits"):
                fits = middle
            else:
                too_long = middle
        return fits * LENGTH_STEP if fits * LENGTH_STEP >= SHORTEST else 0


def bytes_of_a_number(spec: Spec, device: Device) -> int:
    """Return the bytes of a number in the base model's precision, as the engine chooses it on `device`."""
    dtype = spec.model.dtype
    if dtype == "auto":
        in_half = (device.is_gpu or device.bfloat16) and not spec.lora.init_lora_weights.startswith("pissa")
        return 2 if in_half else FLOAT32_BYTES
    return FLOAT32_BYTES if dtype == "float32" else 2


def base_bytes(directory: Path, model: ModelSpec, precision: int) -> int:
    """Return the bytes of a local base model as it is held: of embeddings that share their weights once.

    What is not quantised beside quantised layers is held in float32, as peft's `prepare_model_for_kbit_training` has
    it.
    """
    weights = base_weights(directory)
    shared = {"lm_head.weight"} if ties_embeddings(directory) else set()
    sizes = {name: prod(shape) for name, shape in weights.shapes.items() if name not in shared}
    if not quantised_by(model):
        return precision * sum(sizes.values())
    linear = {f"{path}.weight" for path in weights.linear}
    in_linear = sum(size for name, size in sizes.items() if name in linear)
    rows = sum(weights.shapes[name][0] for name in linear)
    quantised = BYTES_IN_4BIT * in_linear if model.load_in_4bit else in_linear + FLOAT32_BYTES * rows
    return round(quantised) + FLOAT32_BYTES * (sum(sizes.values()) - in_linear)
