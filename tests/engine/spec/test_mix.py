"""The text of `data.mix`."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SpecError
from engine.spec.data import DataSpec
from engine.spec.mix import Source, sources_of, with_mixed_paths
from engine.spec.plan import make_plan
from engine.spec.portable import with_absolute_paths, with_located_paths, with_portable_paths
from engine.spec.sources import data_to_read
from tests.support.rounds import make_spec


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("more.jsonl", (Source("more.jsonl"),)),
        ("0.5*a/b.json, 2 * /c.csv[:100]", (Source("a/b.json", weight=0.5), Source("/c.csv", samples=100, weight=2))),
        ("openai/gsm8k:main", (Source("openai/gsm8k", "main"),)),
        ("openai/gsm8k:main:test[:7]", (Source("openai/gsm8k", "main", "test", 7),)),
        ("2*somebody/rows@v1:main[:5]", (Source("somebody/rows", "main", None, 5, 2, "v1"),)),
        ("./a@b.jsonl", (Source("./a@b.jsonl"),)),
        ("3*somebody/rows::dev", (Source("somebody/rows", None, "dev", weight=3),)),
        ("./a:b.jsonl", (Source("./a:b.jsonl"),)),
        (None, ()),
    ],
)
def test_sources_are_read(text: str | None, sources: tuple[Source, ...]) -> None:
    assert sources_of(DataSpec("rows", mix=text)) == sources
    written = ", ".join(map(str, sources)) or None
    assert sources_of(DataSpec("rows", mix=written)) == sources


@pytest.mark.parametrize("text", ["", " ", "a.json,", "0*a.json", "1001*a.json", "a.json[:1]", "2*"])
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"data\.mix has '.*': it must be a path or hub name such as") as caught:
        sources_of(DataSpec("rows", mix=text or ","))
    assert caught.value.key == "data.mix"


def test_revision_is_that_of_the_same_dataset_unless_it_is_named() -> None:
    data = DataSpec("a/b", revision="v1", mix="a/b::more, c/d, c/d@v2")
    assert [part.data.revision for part in data_to_read(data)] == ["v1", "v1", None, "v2"]
    for path, split, place in (
        (None, "test", ("a/b", "v1")), ("a/b", "test", ("a/b", "v1")), ("c/d", None, ("c/d", None)),
        ("c/d@v2", None, ("c/d", "v2")), ("./a@b.csv", None, ("./a@b.csv", None)),
    ):  # fmt: skip
        own_set = data_to_read(DataSpec("a/b", revision="v1", eval_path=path, eval_split=split))[-1].data
        assert (own_set.path, own_set.revision) == place


def test_paths_of_sources_follow_a_moved_workspace(tmp_path: Path) -> None:
    spec = make_spec(data__mix="2*in.jsonl[:5], somebody/rows:main, /elsewhere/x.json")
    absolute = with_absolute_paths(spec, tmp_path)
    assert absolute.data.mix == f"2*{tmp_path}/in.jsonl[:5], somebody/rows:main, /elsewhere/x.json"
    portable = with_portable_paths(absolute, tmp_path)
    assert portable.data.mix == "2*./in.jsonl[:5], somebody/rows:main, /elsewhere/x.json"
    moved = with_located_paths(portable, Path("/new"))
    assert moved.data.mix == "2*/new/in.jsonl[:5], somebody/rows:main, /elsewhere/x.json"
    assert with_mixed_paths("0*x", str.upper) == "0*x"


def test_plan_counts_each_source_by_its_weight() -> None:
    spec = make_spec(data__mix="0.5*a.json, 3*b.json", data__eval_fraction=0.1)
    plan = make_plan(spec, 100, None, [21, 10])
    assert plan.eval_samples == 10 + 3 + 1
    assert plan.train_samples == 90 + 9 + 27
    own = make_spec(data__mix="0.5*a.json, 3*b.json", data__eval_path="e.json")
    plan = make_plan(own, 100, 7, [21, 10])
    assert (plan.train_samples, plan.eval_samples) == (100 + 10 + 30, 7)
    assert make_plan(spec, 100, None, [21, None]).total_steps is None
