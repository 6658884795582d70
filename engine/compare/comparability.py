"""Comparability of rounds: those measured on the same held-out tokens, and the change of perplexity between two."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from msgspec import Struct

from engine.spec.fields import changed_keys
from engine.spec.round import Round
from engine.text.humanize import name_rounds

INCOMPARABLE = "≁"  # the sign before a value that cannot be compared with the others
KINDS = {  # causes of other held-out tokens, and the fields that decide them
    "another tokenizer": ("model.path", "model.revision"),
    "other supervised tokens": ("data.supervised_tokens", "data.reasoning"),
    "another prompt template": ("data.prompt_template",),
}
EXAMPLES = "other examples"  # the cause where any other field of the data differs
UNSEEN = "other examples or another tokenizer (the files of data.path or model.path have changed in between)"


def are_comparable(first: Round, second: Round) -> bool:
    """Return True if the losses of the two rounds are over the same held-out tokens.

    Both results name their rows (`Result.held_out_rows`), or the specs decide: the base model brings the tokenizer; the
    data, with its format, template and length, the rows; its seed the split.
    """
    rows, others = first.result.held_out_rows, second.result.held_out_rows
    return rows == others if rows and others else _by_spec(first) == _by_spec(second)


def _by_spec(round_: Round) -> Hashable:
    return round_.spec.model.path, round_.spec.model.revision, round_.spec.data


def held_out_groups(rounds: Iterable[Round]) -> Mapping[int, Hashable]:
    """Return a group key for each round, by number: equal keys mean the same held-out tokens.

    A round that does not name its rows is taken to have those that other rounds of its data name, if these all name the
    same.
    """
    rounds = list(rounds)
    numbers: dict[Hashable, int] = {}
    by_object: dict[int, int] = {}  # many rounds share a spec, and to hash one takes longer than all the rest
    for round_ in rounds:
        if id(round_.spec) not in by_object:
            by_object[id(round_.spec)] = numbers.setdefault(_by_spec(round_), len(numbers))
    rows_by_spec: dict[int, set[str]] = {}
    for round_ in rounds:
        if round_.result.held_out_rows:
            rows_by_spec.setdefault(by_object[id(round_.spec)], set()).add(round_.result.held_out_rows)
    only = {spec: next(iter(rows)) for spec, rows in rows_by_spec.items() if len(rows) == 1}
    groups: dict[int, Hashable] = {}
    for round_ in rounds:
        spec = by_object[id(round_.spec)]
        groups[round_.number] = round_.result.held_out_rows or only.get(spec, spec)
    return groups


def differing_fields(first: Round, second: Round) -> list[str]:
    """Return the fields that differ and may give the two rounds other held-out tokens."""
    keys = changed_keys(first.spec, second.spec)
    return [key for key in keys if key in KINDS["another tokenizer"] or key.startswith("data.")]


def why_incomparable(first: Round, second: Round) -> str:
    """Say why the held-out tokens of two rounds are not the same, "" if they are.

    `another prompt template (data.prompt_template) and other examples (data.samples, data.seed)`
    """
    if are_comparable(first, second):
        return ""
    named = {key: kind for kind, keys in KINDS.items() for key in keys}
    keys_by_kind: dict[str, list[str]] = {}
    for key in differing_fields(first, second):
        keys_by_kind.setdefault(named.get(key, EXAMPLES), []).append(key)
    return " and ".join(f"{kind} ({', '.join(keys)})" for kind, keys in keys_by_kind.items()) or UNSEEN


def incomparable_reasons(rounds: Iterable[Round], first: Round) -> list[str]:
    """Name the rounds whose losses cannot be compared with `first`'s, one line for each reason."""
    return [
        f"{name_rounds(numbers)} {'was' if len(numbers) == 1 else 'were'} measured on other held-out tokens than round "
        f"{first.number}: {reason}"
        for reason, numbers in numbers_by_reason(rounds, first).items()
    ]


def numbers_by_reason(rounds: Iterable[Round], first: Round) -> dict[str, list[int]]:
    """Return the numbers of the rounds whose losses cannot be compared with `first`'s, by the reason."""
    reasons: dict[str, list[int]] = {}
    for round_ in rounds if first.result.perplexity is not None else ():
        if round_.result.perplexity is not None and (reason := why_incomparable(first, round_)):
            reasons.setdefault(reason, []).append(round_.number)
    return reasons


class Movement(Struct, frozen=True):
    """A change of perplexity, from `before` to `after`."""

    before: float
    after: float

    @property
    def percent(self) -> float | None:
        """The change in percent of `before`; None where that is 0."""
        return 100 * (self.after - self.before) / self.before if self.before else None

    @property
    def word(self) -> str:
        return "fell" if self.after < self.before else "rose" if self.after > self.before else "stayed"

    @property
    def percent_text(self) -> str:
        """`-34.0 %`; "" where `percent` is None."""
        return "" if self.percent is None else f"{self.percent:+.1f} %"


def moved(first: Round, second: Round) -> Movement | None:
    """Return the change from the first round's perplexity to the second's; None if they are not comparable."""
    before, after = first.result.perplexity, second.result.perplexity
    if before is None or after is None or not are_comparable(first, second):
        return None
    return Movement(before, after)


def moved_from_base(round_: Round) -> Movement | None:
    """Return the change from the base model's perplexity to the round's, which is always over the same tokens."""
    before, after = round_.result.base_perplexity, round_.result.perplexity
    return None if before is None or after is None else Movement(before, after)
