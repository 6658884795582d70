"""Define a remark on a spec, and what a rule knows of the round that it remarks on."""

from __future__ import annotations

from msgspec import Struct

from engine.planning.held_out_noise import HeldOutNoise
from engine.planning.row_lengths import TrainedRows
from engine.preflight.adapter_size import AdapterSize
from engine.spec.plan import Plan
from engine.spec.schema import Spec


class Remark(Struct, frozen=True):
    """A setting that the literature would not choose, and why.

    Attributes:
        key: the field.
        reason: what is set and why it is remarkable, in a sentence.
        source: where that can be read.
        remedy: texts for fields by their keys, which follow the source; empty if there is none.
        settled: whether the evidence is clear; if not, the reason says so.
        rule: the name of its rule.
        silenced: whether the person does not want to read it.
    """

    key: str
    reason: str
    source: str
    remedy: dict[str, str] = {}
    settled: bool = True
    rule: str = ""
    silenced: bool = False


class Case(Struct, frozen=True):
    """A spec and its plan; where they are known the size of its adapter, the noise of its held-out rows, and the rows.

    `rows` are those that it trains on, `positions` the most that a row of its model may have.
    """

    spec: Spec
    plan: Plan
    adapter: AdapterSize | None = None
    noise: HeldOutNoise | None = None
    rows: TrainedRows | None = None
    positions: int | None = None
