"""Rules about the rows of a round: how many are held out, and how many are cut."""

from __future__ import annotations

import math

from engine.planning.remarks.remark import Case, Remark
from engine.spec.held_out import held_out_set

ERROR_BARS = "https://arxiv.org/abs/2411.00640"
TRL_ON_TRUNCATION = "https://huggingface.co/docs/trl/reducing_memory_usage"

ONE_PERCENT = math.log(1.01)  # of perplexity, in nats per token
LARGEST_SHARE = 0.5
MUCH_CUT, LITTLE_CUT = 0.05, 0.01  # of the rows
LENGTH_STEP = 8


def few_held_out(case: Case) -> Remark | None:
    noise, rows = case.noise, case.plan.eval_samples
    if noise is None or not rows or noise.smallest_on(rows) <= ONE_PERCENT:
        return None
    needed = noise.rows_for(ONE_PERCENT)
    share = math.ceil(100 * needed / (rows + (case.plan.train_samples or 0))) / 100
    is_part = held_out_set(case.spec.data) is None and share <= LARGEST_SHARE
    return Remark(
        "data.eval_fraction",
        f"{rows:,} rows are held out: going by rounds {noise.rounds[0]} and {noise.rounds[1]}, they show a difference "
        f"in perplexity four times out of five from {100 * math.expm1(noise.smallest_on(rows)):.1f} % on; for 1 % it "
        f"takes {needed:,}",
        ERROR_BARS,
        {"data.eval_fraction": f"{share:g}"} if is_part else {},
    )


def rows_cut(case: Case) -> Remark | None:
    """Remark on a `data.max_length` at which more than a few rows lose their end."""
    rows, longest = case.rows, case.spec.data.max_length
    most = math.inf if case.positions is None else case.positions
    if rows is None or rows.longer <= MUCH_CUT or longest >= most:
        return None
    enough = round(min(most, -(-rows.length_of(1 - LITTLE_CUT) // LENGTH_STEP) * LENGTH_STEP))
    still_cut = sum(length > enough for length in rows.uncut) / len(rows.uncut)
    lost = f", and {100 * rows.lost:.0f} % are left out, as nothing to learn is left of them" if rows.lost else ""
    return Remark(
        "data.max_length",
        f"data.max_length is {longest:,}, which cuts {100 * rows.longer:.0f} % of the rows, and what is cut off is not "
        f"learned{lost}: {enough:,} would cut {100 * still_cut:.0f} %; the longest has {rows.longest:,} tokens",
        TRL_ON_TRUNCATION,
        {"data.max_length": str(enough)},
    )
