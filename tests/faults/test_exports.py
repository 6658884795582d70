"""Exports of rounds whose every text is hostile: read back, they hold the texts and nothing more."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import regex
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import FileError
from engine.files.paths import Workspace
from engine.report.export import export_rounds, write_export
from engine.spec.round import Result, Round
from engine.text.sanitize import clean
from engine.training.model.model_card import RoundNames, model_card
from tests.support.faults.tried import Tried
from tests.support.hostile import HARMFUL, HIDING, MARKUP, STEERING, TEXTS
from tests.support.markdown import ACTED_ON, COMMENT, flat, folded, parse, tables_of, text_nodes, text_of
from tests.support.rounds import make_round, make_spec

Times = Callable[[int, int], int]

ACTIVE = (
    "| x | y |", "\\| \\\\|", "a\nb\r\n\n# c\n- [ ] d\n> e\n***\n~~~", "<script>alert(1)</script>",
    "<img src=x onerror=y>", "&lt;b&gt; &#64;",
    "[a](javascript:x)", "![i](http://x/y.png)", "<https://a.b>", "https://a.b www.a.b //a.b ftp://a.b", "a@b.example",
    "@octocat", "#12 GH-12 o/r#1", "$x^2$ $$y$$", "[^1]: note", ":smile:", "`c` **b** _i_ ~~s~~",
    "=1+1", "+1", "-1", "@SUM(A1)",
    "\t=1", "\r=1", "＝1", "＠x", "=HYPERLINK(\"http://x\")", "a,\"b\"\n=c", "'=1",
)  # fmt: skip
PIECES = st.sampled_from(ACTIVE + STEERING + HIDING + MARKUP)
HOSTILE_TEXTS = st.lists(PIECES | TEXTS, min_size=1, max_size=4).map(" ".join) | st.text()


def hostile_rounds(text: str) -> list[Round]:
    spec = make_spec(model__path=f"{text}x", data__path=f"{text}y")
    result = Result(adapter_dir=text)
    first = make_round(1, spec=spec, name=text, note=text, message=text, warnings=(text,), result=result)
    return [first, make_round(2, name="plain")]


def markdown_faults(text: str) -> list[str]:
    document = export_rounds(hostile_rounds(text), "markdown")
    main = tables_of(document)[0]
    row = dict(zip(main[0], main[1], strict=True)) if len(main) == 3 and len(main[0]) == len(main[1]) else {}
    tokens = flat(parse(document))
    notes = [text_of(token) for token in parse(document) if token.type == "inline" and token.level > 2][-1]
    faults = {
        "cell": row.get("name", "") != folded(text) or row.get("model.path") != folded(f"{text}x"),
        "note": bool(folded(text)) and notes != f"Round 1: {'; '.join([folded(text)] * 3)}",
        "markup": any(token.type in ("link_open", "image", "em_open", "s_open", "html_block") for token in tokens),
        "html": any(token.type == "html_inline" and token.content != COMMENT for token in tokens),
        "acted on": any(ACTED_ON.search(node) for node in text_nodes(document)),
        "steers": HARMFUL.search(document.replace("\n", "")) is not None,
    }
    return [name for name, wrong in faults.items() if wrong]


def csv_faults(text: str) -> list[str]:
    document = export_rounds(hostile_rounds(text), "csv")
    (row, _) = csv.DictReader(io.StringIO(document, newline=""))
    runs = regex.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
    formulas = [cell for cell in row.values() if runs.match(cell) and not _number(cell)]
    read = row["name"].removeprefix("'") if not text.startswith("'") else row["name"]
    whole = regex.sub(r"\s+", " ", read) == regex.sub(r"\s+", " ", _shown(text))
    faults = {"formula": bool(formulas), "cell": not whole, "steers": HARMFUL.search(regex.sub(r"\s", "", document))}
    return [name for name, wrong in faults.items() if wrong]


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _shown(text: str) -> str:
    return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def json_faults(text: str) -> list[str]:
    text = text.encode("utf-8", "replace").decode()  # JSON in a file holds no lone surrogate
    document = export_rounds(hostile_rounds(text), "json")
    first = json.loads(document)[0]
    same = first["name"] == text and first["warnings"] == [text] and first["spec"]["model"]["path"] == f"{text}x"
    faults = {"value": not same, "steers": HARMFUL.search(document.replace("\n", "")) is not None}
    return [name for name, wrong in faults.items() if wrong]


def card_faults(text: str) -> list[str]:
    spec = make_spec(model__path=text or "x", data__path=text or "x")
    card: Any = ModelCard(model_card(spec, RoundNames(1, text, text), Result(perplexity=3.0), 1, 2))
    tokens = flat(parse(card.text))
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    faults = {
        "headings": headings != ["h1", "h2", "h2", "h2"],
        "name": bool(folded(text)) and card.data.model_name != folded(text),
        "markup": any(token.type in ("link_open", "image", "html_block") for token in tokens),
        "html": any(token.type == "html_inline" and token.content != COMMENT for token in tokens),
        "acted on": any(ACTED_ON.search(node) for node in text_nodes(card.text)),
        "steers": HARMFUL.search(card.content.replace("\n", "")) is not None,
    }
    return [name for name, wrong in faults.items() if wrong]


EXPORTS: dict[str, Callable[[str], list[str]]] = {
    "Markdown": markdown_faults, "CSV": csv_faults, "JSON": json_faults, "model card": card_faults,
}  # fmt: skip


@pytest.mark.parametrize("kind", EXPORTS)
def test_export_reads_back_as_text(kind: str, tried: Tried, times: Times) -> None:
    found: list[object] = []
    count = 0

    def look(text: str) -> None:
        nonlocal count
        count += 1
        if faults := EXPORTS[kind](text):
            found.append((text, faults))

    for text in ACTIVE + STEERING + HIDING + MARKUP:
        look(text)
    made_up = given(HOSTILE_TEXTS)(look)
    settings(max_examples=times(40, 1000), deadline=None, suppress_health_check=list(HealthCheck))(made_up)()
    tried("S4", f"hostile texts in every field of a {kind} export, parsed back", count, len(found))
    assert found == []


def test_refused_write_leaves_the_old_export(reference_workspace: Workspace, tmp_path: Path, tried: Tried) -> None:
    target = tmp_path / "exports" / "table.md"
    target.parent.mkdir()
    target.write_text("the old one")
    limits = (0, 1, 100, 1000)
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)"
    code += "; from tui.cli.main import main; sys.exit(main())"
    lost = []
    for limit in limits:
        done = subprocess.run(
            [sys.executable, "-PB", "-c", code, str(limit), "export", "-o", str(target)],
            cwd=reference_workspace.root, capture_output=True, text=True,
        )  # fmt: skip
        told = "which cannot be written" in done.stderr
        if (
            done.returncode != 2
            or not told
            or target.read_text() != "the old one"
            or len(list(target.parent.iterdir())) > 1
        ):
            lost.append((limit, done.returncode, done.stderr))
    tried("S4", "exports onto a disk that refuses; the old file must stay", len(limits), len(lost))
    assert lost == []


def test_export_replaces_a_file_and_nothing_else(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "table.md", tmp_path / "link.md", tmp_path / "pipe"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_export(link, b"new")
    assert (target.read_text(), link.is_symlink(), target.stat().st_mode & 0o777) == ("new", True, 0o640)
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        write_export(pipe, b"through")
        assert reader.communicate()[0] == b"through"
    write_export(Path("/dev/null"), b"nowhere")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(FileError, match="is a directory"):
        write_export(tmp_path, b"a directory")
