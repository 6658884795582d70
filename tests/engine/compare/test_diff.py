"""The fields of rounds side by side."""

from __future__ import annotations

from engine.compare.diff import compared_fields, difference
from engine.spec.round import Result, Status
from tests.support.rounds import make_round, make_spec


def test_difference_lists_fields_then_results() -> None:
    first = make_round(1, result=Result(perplexity=4.79, eval_loss=1.5667))
    other = make_spec(lora__r=16, data__samples=None)
    second = make_round(2, spec=other, result=Result(perplexity=3.16, train_seconds=534.0))
    assert difference(first, second) == [
        ("data.samples", "100", "all"),
        ("lora.r", "8", "16"),
        ("eval_loss", "1.5667", "unknown"),
        ("perplexity", "4.79", "3.16"),
        ("train_seconds", "unknown", "8m54s"),
    ]
    assert difference(make_round(1, Status.HELD), make_round(2, Status.HELD)) == []


def test_fields_side_by_side_tell_what_differs_and_what_is_best() -> None:
    rounds = [
        make_round(1, result=Result(eval_loss=1.5, perplexity=4.5, base_perplexity=6.0)),
        make_round(2, spec=make_spec(lora__r=16), result=Result(eval_loss=1.2, perplexity=3.3, base_perplexity=6.0)),
        make_round(3, Status.QUEUED, spec=make_spec(data__samples=None)),
    ]
    fields = {field.key: field for field in compared_fields(rounds)}
    assert {key for key, field in fields.items() if field.differs and "." in key} == {"data.samples", "lora.r"}
    assert fields["lora.r"].texts == ("8", "16", "8")
    assert fields["data.samples"].texts == ("100", "100", "all")
    assert fields["perplexity"].texts == ("4.50", "3.30", "")
    assert fields["perplexity"].best == {1}
    assert fields["against_base"].texts == ("-25.0 %", "-45.0 %", "")
    assert "note" not in fields
