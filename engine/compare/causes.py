"""Settings that changed at once from a round to the one made from it, and the rounds that would take them apart."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from itertools import islice, permutations
from operator import attrgetter

from msgspec import Struct

from engine.spec.fields import build_spec, flatten, spec_fields
from engine.spec.plan import effective_batch_of
from engine.spec.round import RESUMABLE, Round
from engine.spec.scheduler import BY_EVAL_LOSS
from engine.spec.schema import Spec

# Fields on which, up to rounding and chance, neither the adapter nor its perplexity depends.
WITHOUT_EFFECT = frozenset({
    "model.attn_implementation", "model.trust_remote_code",
    "train.logging_steps", "train.save_strategy", "train.save_steps", "train.save_total_limit", "train.sample_tokens",
    "train.gradient_checkpointing", "train.micro_batches", "train.torch_compile", "train.seed",
    "generation.examples", "generation.max_new_tokens",
})  # fmt: skip
MOST_ORDERS = 24  # in which the changes of a round are tried one after the other: all orders of four

FactorValues = tuple[Hashable, ...]


class Factor(Struct, frozen=True):
    """One choice that can move the result: a field, or several that mean nothing without each other.

    Attributes:
        name: key of its first field; `effective_batch` for batch × accumulation.
        keys: of its fields, in the order of the spec.
        value: returns what the result depends on; equal for two specs between which the choice is the same.
    """

    name: str
    keys: tuple[str, ...]
    value: Callable[[Spec], Hashable]


class RoundBetween(Struct, frozen=True):
    """A round with some of the changes; `number` is that of a round with these settings, None if it is missing."""

    changes: tuple[Factor, ...]
    number: int | None


class ChangesAtOnce(Struct, frozen=True):
    """Several settings that changed from a parent to a round, so that its result does not say which moved it.

    Attributes:
        factors: those that changed, in the order of the spec.
        between: rounds from the parent to the round, without these two, each with one more of the changes.
    """

    parent: Round
    round: Round
    factors: tuple[Factor, ...]
    between: tuple[RoundBetween, ...]

    @property
    def missing(self) -> list[Spec]:
        """Specs of the rounds between that do not exist: the parent's with some of the changes."""
        return [self.spec_with(each.changes) for each in self.between if each.number is None]

    @property
    def made(self) -> list[int]:
        """Numbers of the rounds between that exist."""
        return [each.number for each in self.between if each.number is not None]

    def spec_with(self, changes: Iterable[Factor]) -> Spec:
        """Return the parent's spec with some of the changes."""
        values, later = flatten(self.parent.spec), flatten(self.round.spec)
        return build_spec(values | {key: later[key] for factor in changes for key in factor.keys})


@cache
def factors() -> tuple[Factor, ...]:
    """Return the settings that can move the result, in the order of the spec.

    All fields count, but for those in `WITHOUT_EFFECT`: a seed moves the result too, but by chance. A local path counts
    as it is, however it is spelled.
    """
    several = {each.keys[0]: each for each in _of_several_fields()}
    grouped = {key for each in several.values() for key in each.keys}
    return tuple(
        several[key] if key in several else Factor(key, (key,), attrgetter(key))
        for key in spec_fields()
        if key in several or key not in grouped | WITHOUT_EFFECT
    )


def _of_several_fields() -> list[Factor]:
    batch = ("train.per_device_train_batch_size", "train.gradient_accumulation_steps")
    evaluations = ("eval_strategy", "eval_steps", "early_stopping_patience", "load_best_model_at_end")
    data = ("name", "split", "revision", "format", "columns")
    held_out = ("data.eval_path", "data.eval_name", "data.eval_split", "data.eval_samples")
    scheduler = ("train.lr_scheduler_type", "train.lr_scheduler_kwargs")
    bits = ("model.load_in_4bit", "model.load_in_8bit")
    return [
        Factor("model.path", ("model.path", "model.revision"), _model),
        Factor("data.path", ("data.path", *(f"data.{name}" for name in data)), _data(data)),
        Factor("effective_batch", batch, lambda spec: effective_batch_of(spec.train)),
        Factor("train.num_train_epochs", ("train.num_train_epochs", "train.max_steps"), _length),
        Factor("train.eval_strategy", tuple(f"train.{name}" for name in evaluations), _evaluations(evaluations)),
        *(Factor(keys[0], keys, attrgetter(*keys)) for keys in (bits, held_out, scheduler)),
    ]


def _model(spec: Spec) -> Hashable:
    return posixpath.normpath(spec.model.path), spec.model.revision


def _data(names: tuple[str, ...]) -> Callable[[Spec], Hashable]:
    others = attrgetter(*names)
    return lambda spec: (posixpath.normpath(spec.data.path), others(spec.data))


def _length(spec: Spec) -> Hashable:
    """Return the length of training, which `max_steps` decides where it is set."""
    steps = spec.train.max_steps
    return (steps, None) if steps is not None else (None, spec.train.num_train_epochs)


def _evaluations(names: tuple[str, ...]) -> Callable[[Spec], Hashable]:
    """Return a function for the times of evaluations, None where nothing in training goes by their losses."""
    fields = attrgetter(*names)

    def value(spec: Spec) -> Hashable:
        train = spec.train
        stops = train.early_stopping_patience is not None or train.load_best_model_at_end
        return fields(train) if stops or train.lr_scheduler_type in BY_EVAL_LOSS else None

    return value


def factor_values(spec: Spec) -> FactorValues:
    """Return the value of each of `factors()`, in their order; rounds with equal ones differ by chance only."""
    return tuple(factor.value(spec) for factor in factors())


def numbers_by_factors(rounds: Iterable[Round]) -> dict[FactorValues, int]:
    """Return the lowest number of the rounds with the same settings; those that ended without a result are left out."""
    numbers: dict[FactorValues, int] = {}
    for round_ in rounds:
        if round_.status not in RESUMABLE:
            values = factor_values(round_.spec)
            numbers[values] = min(round_.number, numbers.get(values, round_.number))
    return numbers


def changes_at_once(parent: Round, round_: Round, numbers: Mapping[FactorValues, int]) -> ChangesAtOnce | None:
    """Return the settings in which a round differs from its parent; None for fewer than two, and for a sweep's round.

    The rounds between change one setting each, so that their results split the whole change into parts: k changes take
    k − 1 rounds, the fewest there can be. The changes are made in the order of the spec, or in the order in which more
    of the rounds exist; with more than four changes not all orders are tried. A sweep has a design of its own.

    Args:
        numbers: of all rounds, from `numbers_by_factors`.
    """
    before, after = factor_values(parent.spec), factor_values(round_.spec)
    changed = [place for place in range(len(before)) if before[place] != after[place]]
    if len(changed) < 2 or round_.trial is not None:
        return None

    @cache
    def number_with(places: frozenset[int]) -> int | None:
        values = list(before)
        for place in places:
            values[place] = after[place]
        return numbers.get(tuple(values))

    def stages(order: tuple[int, ...]) -> list[frozenset[int]]:
        return [frozenset(order[:count]) for count in range(1, len(order))]

    orders = islice(permutations(changed), MOST_ORDERS)
    best = min(map(stages, orders), key=lambda way: sum(number_with(places) is None for places in way))
    between = (RoundBetween(_factors_at(places), number_with(places)) for places in best)
    return ChangesAtOnce(parent, round_, _factors_at(changed), tuple(between))


def _factors_at(places: Iterable[int]) -> tuple[Factor, ...]:
    """Return the factors at some places of `factors()`, in the order of the spec."""
    return tuple(factors()[place] for place in sorted(places))
