"""Pictures of curves, looked at by what reads pictures: an XML parser, and the header of a PNG."""

from __future__ import annotations

import math
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.errors import LoratuiError
from engine.files.paths import Workspace
from engine.report.chart_client import ChartFile, Format, draw, label_of
from engine.spec.round import Round
from engine.text.humanize import name_rounds
from tests.support.recorded_runs import write_run
from tests.support.rounds import make_round

SVG = "{http://www.w3.org/2000/svg}"
STEPS = 60
forked = pytest.mark.usefixtures("forked_workers")
PANELS = ("train-loss", "eval-loss", "learning-rate", "gradient-norm", "tokens-s")


def rounds_with_runs(workspace: Workspace, count: int, memory: int | None = None) -> list[Round]:
    rounds = [make_round(number, name=f"try {number}") for number in range(1, count + 1)]
    for round_ in rounds:
        write_run(workspace, round_, 1, STEPS, loss=1.0 + round_.number, memory=memory)
    return rounds


def groups(svg: bytes) -> dict[str, ElementTree.Element]:
    """The groups of a picture that have a name."""
    return {group.get("id", ""): group for group in ElementTree.fromstring(svg).iter(f"{SVG}g")}


def texts(svg: bytes) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def styles(svg: bytes, panel: str) -> list[tuple[str, str]]:
    """Colour and dashes of each smoothed line of a panel."""
    styles = []
    for name, group in groups(svg).items():
        if re.fullmatch(rf"{panel}-\d+", name):
            (path,) = [element for element in group.findall(f"{SVG}path")]
            style = dict(part.strip().split(": ") for part in path.get("style", "").split(";") if part.strip())
            styles.append((style["stroke"], style.get("stroke-dasharray", "")))
    return styles


@forked
def test_every_run_has_a_line_in_every_panel_with_title_labels_and_legend(workspace: Workspace) -> None:
    picture = draw(workspace, rounds_with_runs(workspace, 3, memory=2**30), "svg")
    assert picture.curveless == ()
    names = groups(picture.data)
    for panel in (*PANELS, "peak-memory"):
        assert len([name for name in names if re.fullmatch(rf"{panel}-\d+", name)]) == 3, panel
    labels = texts(picture.data)
    assert "Curves of rounds 1, 2 and 3" in labels
    assert {"round 1: try 1", "round 2: try 2", "round 3: try 3"} <= set(labels)
    assert {"train loss", "eval loss", "learning rate"} <= set(labels) and "optimizer step" in labels
    assert {"nats per token", "nats per held-out token", "GiB"} <= set(labels)


@forked
def test_memory_that_was_not_recorded_has_no_panel(workspace: Workspace) -> None:
    labels = texts(draw(workspace, rounds_with_runs(workspace, 2), "svg").data)
    assert "GiB" not in labels and "tokens/s" in labels


@forked
def test_ten_lines_are_told_apart_by_colour_and_dashes_together(workspace: Workspace) -> None:
    drawn = styles(draw(workspace, rounds_with_runs(workspace, 10), "svg").data, "eval-loss")
    assert len(drawn) == len(set(drawn)) == 10
    assert len({dashes for _, dashes in drawn}) >= 5


@forked
def test_line_goes_through_what_was_measured(workspace: Workspace) -> None:
    rounds = [make_round(1), make_round(2)]
    for round_ in rounds:
        write_run(workspace, round_, 1, 2, loss=4.0 * round_.number)  # 4, 2 and 8, 4: too few to be smoothed
    group = groups(draw(workspace, rounds, "svg").data)
    ends = []
    for name in ("train-loss-1", "train-loss-2"):
        (path,) = group[name].findall(f"{SVG}path")
        numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path.get("d", ""))]
        ends += [numbers[1], numbers[3]]
    first, second, third, fourth = ends  # down is more
    assert first == pytest.approx(fourth, abs=1e-3)
    assert second - first == pytest.approx((fourth - third) / 2, abs=1e-3)


@forked
@pytest.mark.parametrize("format_", ["svg", "png"])
def test_same_curves_are_the_same_bytes(workspace: Workspace, format_: Format) -> None:
    rounds = rounds_with_runs(workspace, 2)
    assert draw(workspace, rounds, format_) == draw(workspace, rounds, format_)


def test_settings_of_matplotlib_lying_about_change_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rounds = rounds_with_runs(workspace, 2)
    before = draw(workspace, rounds, "svg")
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 20\nsvg.fonttype: path\n")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert draw(workspace, rounds, "svg") == before


@forked
def test_png_is_one(workspace: Workspace) -> None:
    data = draw(workspace, rounds_with_runs(workspace, 2), "png").data
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    assert width == 1600 and 1000 < height < 2000


@forked
def test_rounds_without_a_run_are_named_and_not_drawn(workspace: Workspace) -> None:
    rounds = [make_round(1), *rounds_with_runs(workspace, 3)[1:]]
    workspace.run_dir(rounds[2].id).events.unlink()
    write_run(workspace, rounds[0], 1, STEPS)
    picture = draw(workspace, rounds, "svg")
    assert picture.curveless == (2,)
    assert "Curves of rounds 1 and 2" in texts(picture.data) and "round 3: try 3" not in texts(picture.data)
    assert draw(workspace, [make_round(8), make_round(9)], "svg") == ChartFile(b"", (0, 1))


@forked
def test_losses_that_are_no_number_are_marked(workspace: Workspace) -> None:
    rounds = [make_round(1), make_round(2)]
    write_run(workspace, rounds[0], 1, STEPS)
    write_run(workspace, rounds[1], 1, STEPS, loss=math.nan)
    picture = draw(workspace, rounds, "svg")
    assert picture.curveless == ()
    assert any(text.endswith("×: not finite") for text in texts(picture.data))
    assert "train-loss-1" in groups(picture.data) and "train-loss-2" not in groups(picture.data)


@pytest.mark.sample(3)
@forked
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("$x^2$ \\frac{1}{2}", "$x^2$ \\frac{1}{2}"),
        ("_hidden", "_hidden"),
        ("<script>&amp;</script>", "<script>&amp;</script>"),
        ("--> <![CDATA[ ]]>", "--> <![CDATA[ ]]>"),
        ("\x1b[31mred\x00", "␛[31mred␀"),
        ("\u202egnp\ufffe\uffff", "\ufffdgnp\ufffd\ufffd"),
        ("行 🦙 데이터", "行 🦙 데이터"),
        ("two\nlines", "two lines"),
        ("long " * 40, ("long " * 10).rstrip() + "…"),
    ],
)
def test_name_is_text_in_the_picture_and_nothing_else(workspace: Workspace, name: str, shown: str) -> None:
    rounds = [make_round(1, name=name), make_round(2)]
    for round_ in rounds:
        write_run(workspace, round_, 1, 3)
    svg = draw(workspace, rounds, "svg").data
    assert [text for text in texts(svg) if text.startswith("round 1: ")] == [f"round 1: {shown}"]
    assert {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()}.isdisjoint(
        {"script", "a", "image"}
    )
    assert draw(workspace, rounds, "png").data


@forked
def test_log_that_cannot_be_read_is_told_in_a_sentence(workspace: Workspace) -> None:
    rounds = rounds_with_runs(workspace, 2)
    events = workspace.run_dir(rounds[1].id).events
    events.unlink()
    events.mkdir()
    with pytest.raises(LoratuiError, match=f"{re.escape(str(events))} cannot be read, so that nothing is drawn"):
        draw(workspace, rounds, "svg")


@pytest.fixture
def python_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the picture be drawn by a program of these words."""

    def use(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        os.chmod(program, 0o700)
        monkeypatch.setattr(sys, "executable", str(program))

    return use


def test_process_that_ends_without_a_picture_is_told(workspace: Workspace, python_that: Callable[[str], None]) -> None:
    rounds = [make_round(1), make_round(2)]
    python_that("read order; echo 'ModuleNotFoundError: no matplotlib' >&2; exit 1")
    with pytest.raises(LoratuiError, match="the picture ended without an answer: ModuleNotFoundError: no matplotlib"):
        draw(workspace, rounds, "svg")
    python_that("kill -9 $$")
    with pytest.raises(LoratuiError, match="the picture ended without an answer: signal 9 killed it"):
        draw(workspace, rounds, "svg")


def test_numbers_are_listed_as_people_say_them() -> None:
    assert [name_rounds([3]), name_rounds([2, 3]), name_rounds([2, 3, 5])] == [
        "round 3",
        "rounds 2 and 3",
        "rounds 2, 3 and 5",
    ]
    assert label_of(make_round(4)) == "round 4"
