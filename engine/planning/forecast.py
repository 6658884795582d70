"""Forecast a round before anything is spent: its plan, memory and disk space, and remarks on its settings."""

from __future__ import annotations

from collections.abc import Container, Sequence

import msgspec
from msgspec import Struct

from engine.errors import LoratuiError
from engine.files.paths import Workspace
from engine.planning.corrections import MemoryCorrection, corrected, correction_of
from engine.planning.devices import Device
from engine.planning.durations.duration import Duration, duration_of
from engine.planning.durations.first_duration import first_duration
from engine.planning.held_out_noise import noise_on
from engine.planning.memory import MemoryNeed, memory_need
from engine.planning.remarks.remark import Case, Remark
from engine.planning.remarks.rules import remarks_on
from engine.planning.row_lengths import RowLengths, TrainedRows, examples_of, trained_rows
from engine.preflight.adapter_size import adapter_size
from engine.preflight.base_model import positions_in, read_config
from engine.preflight.checks import Preflight, check, quantised_by
from engine.preflight.hub_shapes import directory_with_shapes
from engine.runs.disk_forecast import FLOAT32_BYTES, checkpoint_bytes, growth
from engine.spec.round import Round
from engine.spec.schema import Spec


class Forecast(Struct, frozen=True):
    """All that is known of a round before it starts.

    Attributes:
        checked: the plan of its spec, and warnings.
        device: what it would be trained on.
        rows: the examples that it trains on; None where their lengths are not known.
        memory: what it needs there; None where the shapes of its model are not known here.
        duration: how long it takes, by earlier rounds or by its operations; None where neither tells.
        disk_bytes: of its checkpoints and its adapter at the end; None where their number or size is not known.
        remarks: on its settings, those of silenced rules last.
        correction: of the peak of the memory, by earlier rounds here; None without enough of them.
        unmeasured: why the lengths of the rows are not known, "" if they are, or if nobody has measured them yet.
    """

    checked: Preflight
    device: Device
    rows: TrainedRows | None
    memory: MemoryNeed | None
    duration: Duration | None
    disk_bytes: int | None
    remarks: tuple[Remark, ...]
    unmeasured: str = ""
    correction: MemoryCorrection | None = None

    @property
    def tokens(self) -> int | None:
        """The tokens that go through the model in training, None where that is not known."""
        return self.rows.tokens if self.rows is not None else None


def forecast(
    spec: Spec,
    device: Device,
    workspace: Workspace,
    rounds: Sequence[Round] = (),
    silenced: Container[str] = (),
    lengths: RowLengths | LoratuiError | None = None,
    matrix_rate: float | None = None,
) -> Forecast:
    """Check `spec`, and say what its round would be and need on `device`; this may read scores of `rounds`.

    `lengths` are those of its rows, or why they cannot be measured; `matrix_rate` is as in `first_duration`.

    Raises:
        SpecError, DatasetError, ModelError: it cannot be trained.
    """
    measured = examples_of(spec, lengths) if isinstance(lengths, RowLengths) else None
    checked, directory = check(spec, measured), directory_with_shapes(spec.model)
    if checked.adapter is None and directory is not None:
        adapter = adapter_size(directory, spec.lora, quantised_by(spec.model) is not None)
        checked = msgspec.structs.replace(checked, adapter=adapter)
    noise = noise_on(spec, workspace, rounds)
    rows = trained_rows(spec, checked.plan, lengths) if isinstance(lengths, RowLengths) else None
    positions = positions_in(read_config(directory)) if directory is not None else None
    remarks = remarks_on(Case(spec, checked.plan, checked.adapter, noise, rows, positions), silenced)
    memory = memory_need(spec, checked.plan, device, rows, checked.adapter)
    unmeasured = lengths.message if isinstance(lengths, LoratuiError) else ""
    if lengths is not None and rows is None:
        unmeasured = unmeasured or f"cut at data.max_length {spec.data.max_length}, no row has a supervised token"
    duration = duration_of(spec, checked.plan, device, rounds)
    if duration is None:
        duration = first_duration(spec, checked.plan, device, rows, rounds, matrix_rate, checked.adapter)
    correction = correction_of(memory, spec, device, rounds)
    return Forecast(
        checked, device, rows, corrected(memory, correction), duration, _disk_bytes(spec, checked), (*remarks,),
        unmeasured, correction,
    )  # fmt: skip


def _disk_bytes(spec: Spec, checked: Preflight) -> int | None:
    """Return the disk space of the checkpoints that will be there at once, and of the adapter."""
    train, planned = spec.train, checked.plan.checkpoints
    if planned is None or checked.adapter is None:
        return None
    number = growth(len(planned), 0, train.save_total_limit, train.load_best_model_at_end)
    size = checked.adapter.parameters
    return number * checkpoint_bytes(train, size) + FLOAT32_BYTES * size
