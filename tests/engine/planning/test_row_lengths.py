"""Tokens of a round by the lengths of its rows, against arithmetic by hand and random draws."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import fmean

import msgspec
import pytest

from engine.files.paths import Workspace
from engine.planning.devices import Device
from engine.planning.forecast import forecast
from engine.planning.row_lengths import RowLengths, SetLengths, TrainedRows, trained_rows
from engine.spec.plan import make_plan
from engine.spec.schema import Spec
from tests.support.rounds import make_spec
from tests.support.shapes import write_llama_shapes
from tui.views.plan import forecast_lines

LENGTHS = (10, 20, 30, 40)


def set_of(rows: int, lengths: tuple[int, ...], in_windows: bool = False) -> SetLengths:
    """A set whose rows are supervised from their second token on."""
    return SetLengths(rows, lengths, (1,) * len(lengths), in_windows)


def rows_of(spec: Spec, *sets: SetLengths) -> TrainedRows:
    plan = make_plan(spec, sets[0].rows, None, [each.rows for each in sets[1:]])
    rows = trained_rows(spec, plan, RowLengths(sets))
    assert rows is not None
    return rows


def test_tokens_are_those_of_the_rows_that_are_trained_on_as_often_as_they_are() -> None:
    """Of 40 rows 4 are held out: 36 of 25 tokens, three times."""
    spec = make_spec(data__eval_fraction=0.1, data__max_length=64, train__num_train_epochs=3)
    rows = rows_of(spec, set_of(40, LENGTHS))
    assert (rows.mean, rows.tokens, rows.longest_example) == (25, 3 * 36 * 25, 40)
    assert (rows.longer, rows.longest, rows.are_all) == (0, 40, False)


def test_rows_are_cut_at_the_longest_length() -> None:
    spec = make_spec(data__eval_fraction=0, data__max_length=25, train__num_train_epochs=1)
    rows = rows_of(spec, set_of(4, LENGTHS))
    assert (rows.tokens, rows.longer, rows.longest, rows.longest_example) == (10 + 20 + 25 + 25, 0.5, 40, 25)
    assert rows.are_all


def test_text_is_cut_into_windows_that_repeat_a_token() -> None:
    """A text of 40 tokens makes two windows of 20 and 21: its 39 predictions, and the first token of each."""
    spec = make_spec(data__eval_fraction=0, data__max_length=25, train__num_train_epochs=1)
    rows = rows_of(spec, set_of(2, (20, 40), in_windows=True))
    assert (rows.tokens, rows.counts, rows.longer) == (20 + 41, (3,), 0)
    assert sorted(rows.cut[0]) == [20, 20, 21]


def test_sources_count_as_often_as_their_weight_says() -> None:
    """900 rows of 10 tokens, and half of 180 of 100."""
    spec = make_spec(data__mix="0.5*more.jsonl", data__eval_fraction=0.1, data__max_length=128)
    spec = msgspec.structs.replace(spec, train=msgspec.structs.replace(spec.train, num_train_epochs=1, max_steps=None))
    rows = rows_of(spec, set_of(1000, (10,)), set_of(200, (100,)))
    assert (rows.counts, rows.tokens) == ((900, 90), 900 * 10 + 90 * 100)


@pytest.mark.parametrize("draws", [1, 20, 500])
@pytest.mark.parametrize("rows", [1, 8, 32])
def test_largest_of_many_steps_is_what_random_steps_have(rows: int, draws: int) -> None:
    source = random.Random(7)
    lengths = tuple(round(source.lognormvariate(5, 0.7)) for _ in range(999))
    of_round = rows_of(make_spec(data__eval_fraction=0, data__max_length=512), set_of(999, lengths))
    cut = of_round.cut[0]
    drawn = fmean(max(sum(source.sample(cut, rows)) for _ in range(draws)) for _ in range(60))
    assert of_round.most_in(rows, draws) == pytest.approx(drawn, rel={1: 0.35, 8: 0.1, 32: 0.05}[rows])
    assert of_round.most_in(rows, draws) <= of_round.longest_together(rows) == sum(sorted(cut)[-rows:])


def test_no_more_rows_are_together_than_there_are() -> None:
    rows = rows_of(make_spec(data__eval_fraction=0, data__max_length=64), set_of(4, LENGTHS))
    assert rows.longest_together(100) == rows.most_in(100, 5) == 100


def test_length_of_a_share_is_that_of_so_many_rows() -> None:
    rows = rows_of(make_spec(data__eval_fraction=0, data__max_length=64), set_of(4, LENGTHS))
    assert [rows.length_of(share) for share in (0.25, 0.26, 0.75, 1.0)] == [10, 20, 30, 40]


def test_lengths_of_other_sets_than_the_spec_has_tell_nothing() -> None:
    spec = make_spec()
    sets = (set_of(4, LENGTHS), set_of(4, LENGTHS))
    assert trained_rows(spec, make_plan(spec, 4), RowLengths(sets)) is None
    assert trained_rows(spec, make_plan(spec, 4), RowLengths((SetLengths(4, LENGTHS, (1,)),))) is None


def test_row_whose_answer_is_cut_off_is_left_out() -> None:
    spec = make_spec(data__eval_fraction=0, data__max_length=25, train__num_train_epochs=1)
    rows = rows_of(spec, SetLengths(4, LENGTHS, (5, 5, 24, 25)))
    assert (rows.counts, rows.tokens, rows.lost) == ((3,), 10 + 20 + 25, 0.25)
    nothing = RowLengths((SetLengths(2, (30, 40), (25, 25)),))
    assert trained_rows(spec, make_plan(spec, 2), nothing) is None


def test_windows_of_a_part_of_the_texts_tell_about_how_many_steps_there_are(
    tmp_path: Path, workspace: Workspace
) -> None:
    """Two of four texts make one and two windows of 8 tokens, so all make six; one is held out, two go in a step."""
    file = tmp_path / "texts.jsonl"
    file.write_text((json.dumps({"text": "word " * 12}) + "\n") * 4)
    spec = make_spec(
        model__path=str(write_llama_shapes(tmp_path / "tinyllama")), data__path=str(file), data__max_length=8,
        data__samples=None, data__eval_fraction=0.1, lora__target_modules=("q_proj",), train__num_train_epochs=1,
        train__per_device_train_batch_size=2, train__gradient_accumulation_steps=1,
    )  # fmt: skip
    device = Device("this processor", is_gpu=False, free=2**34, total=2**34, bfloat16=True)

    def steps(lengths: RowLengths | None) -> tuple[int | None, bool, str]:
        checked = forecast(spec, device, workspace, lengths=lengths).checked
        (line,) = (line for line in forecast_lines(spec, checked) if "steps" in line and "after" not in line)
        return checked.plan.total_steps, checked.is_about, line.partition(" · ")[0]

    unknown = (None, False, "rows and steps are known once the data is loaded")
    assert steps(None) == unknown
    some = RowLengths((set_of(4, (8, 15), in_windows=True),))
    assert steps(some) == (3, True, "about 3 steps, 3 per epoch")
    every = RowLengths((set_of(4, (8, 15, 8, 8), in_windows=True),))
    assert steps(every) == (2, False, "2 steps, 2 per epoch")
    assert steps(RowLengths((*some.sets, *some.sets))) == unknown
