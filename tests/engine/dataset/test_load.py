from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.dataset.load import count_rows, local_data_path, read_rows
from engine.dataset.rows import AlpacaRow
from engine.errors import DatasetError
from engine.spec.data import DataSpec
from engine.spec.presets import EMBEDDED
from tests.support.processes import ROOT

ALPACA = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
DATA = DataSpec(path="rows.json")
GOOD = {"instruction": "Say a.", "input": "", "output": "a"}
WriteRows = Callable[[bytes], Path]


@pytest.fixture
def data_file(tmp_path: Path) -> WriteRows:
    """Write bytes to a data file."""

    def write(content: bytes) -> Path:
        file = tmp_path / "rows.json"
        file.write_bytes(content)
        return file

    return write


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([GOOD, GOOD | {"input": "x"}]).encode(),
        json.dumps([GOOD, GOOD | {"input": "x"}], indent=2).encode(),
        b" \n\t" + json.dumps([GOOD, GOOD | {"input": "x"}]).encode(),
        lines(GOOD, GOOD | {"input": "x"}),
        lines(GOOD, GOOD | {"input": "x"}).replace(b"\n", b"\r\n"),
        lines(GOOD, GOOD | {"input": "x"}).strip(),
        b"\n\n" + lines(GOOD, GOOD | {"input": "x"}).replace(b"\n", b"\n\n"),
        b"\xef\xbb\xbf" + json.dumps([GOOD, GOOD | {"input": "x"}]).encode(),
        b"\xef\xbb\xbf" + lines(GOOD, GOOD | {"input": "x"}),
    ],
    ids=[
        "array",
        "indented",
        "leading-space",
        "lines",
        "crlf",
        "no-final-newline",
        "blank-lines",
        "bom-array",
        "bom-lines",
    ],
)
def test_array_and_lines_give_the_same_rows(data_file: WriteRows, content: bytes) -> None:
    rows = read_rows(data_file(content), DATA)
    assert rows.usable == (AlpacaRow("Say a.", "a", ""), AlpacaRow("Say a.", "a", "x"))
    assert rows.passed_over == ()
    assert rows.warning() is None


def test_text_is_kept_letter_for_letter(data_file: WriteRows) -> None:
    record: dict[str, Any] = {"instruction": "  <ü>\n\u2028 {name} ", "input": "\t🦙", "output": " é\r\n\\n "}
    assert read_rows(data_file(lines(record, record)), DATA).usable[1] == AlpacaRow(**record)


@pytest.mark.parametrize("missing", [{"instruction": "a", "output": "b"}, GOOD | {"input": None}])
def test_input_may_be_absent_or_null(data_file: WriteRows, missing: dict[str, str]) -> None:
    file = data_file(lines(missing, missing))
    assert read_rows(file, DATA).usable[0] == AlpacaRow(str(missing["instruction"]), str(missing["output"]))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([1, 2], "it is list, not an object with instruction, output"),
        ("text", "it is str, not an object"),
        (None, "it is NoneType, not an object"),
        ({"chosen": "a", "rejected": "b"}, "it has no column 'instruction', only chosen, rejected"),
        ({"instruction": "a"}, "it has no column 'output', only instruction"),
        ({}, "it has no column 'instruction', only nothing"),
        (GOOD | {"output": {"x": 5}}, "its output is an object, not text"),
        (GOOD | {"input": ["x"]}, "its input is a list, not text"),
        (GOOD | {"output": ""}, "its output is empty"),
        (GOOD | {"output": " \n"}, "its output is empty"),
        (GOOD | {"output": None}, "its output is null"),
    ],
)
def test_row_that_cannot_be_trained_on_is_passed_over_with_a_reason(
    data_file: WriteRows, bad: object, reason: str
) -> None:
    rows = read_rows(data_file(lines(GOOD, bad, GOOD)), DATA)
    assert len(rows.usable) == 2
    assert [problem.number for problem in rows.passed_over] == [2]
    assert rows.passed_over[0].reason.startswith(reason)
    assert rows.warning() == f"1 row was left out; the first is row 2: {rows.passed_over[0].reason}"


def test_warning_counts_the_rows_passed_over(data_file: WriteRows) -> None:
    rows = read_rows(data_file(lines(GOOD, GOOD, GOOD | {"output": ""}, {})), DATA)
    assert rows.warning() == "2 rows were left out; the first is row 3: its output is empty"


def test_samples_takes_the_first_rows(data_file: WriteRows) -> None:
    file = data_file(lines(*({"instruction": str(n), "output": str(n)} for n in range(5)), {"broken": 1}))
    rows = read_rows(file, DataSpec(path="rows.json", samples=3))
    assert rows.usable == tuple(AlpacaRow(text, text) for text in "012")
    assert rows.passed_over == ()


@pytest.mark.parametrize(
    ("content", "samples", "message"),
    [
        (b"", None, "has 0 usable rows, and at least 2 are needed"),
        (b" \n \n", None, "has 0 usable rows"),
        (b"[]", None, "has 0 usable rows"),
        (lines(GOOD), None, "has 1 usable row, and at least 2 are needed"),
        (lines(GOOD), 3, "has 1 usable row, and at least 2 are needed"),
        (lines({"x": "a"}, {"y": "b"}), None, "row 1 of .* has the columns x: rename them to those of a known format"),
        (lines(GOOD, GOOD), 3, "data.samples is 3, but .* has 2 rows: set it to at most 2"),
        (lines(GOOD) + b"{bad\n" + lines(GOOD), None, "line 2, is not JSON"),
        (b"\n\n" + lines(GOOD) + b'{"instruction": "cut of', None, "line 4, is not JSON"),
        (lines(GOOD) + b"\xff\xfe\n", None, "line 2, is not JSON"),
        (b'[{"instruction": "a"', None, "is not a JSON array of rows"),
        (b'["\xff"]', None, "is not a JSON array of rows"),
        (b'["\\ud800"]', None, "row 1 of .* has no columns: it is '.ud800'"),
        (b"[" * 100_000, None, "is not a JSON array of rows"),
        (b'{"a":' * 100_000, None, "line 1, is not JSON"),
        (json.dumps(GOOD, indent=1).encode(), None, "has 1 usable row"),
        (json.dumps(GOOD, indent=1)[:-1].encode(), None, "line 1, is not JSON"),
        ("\ufeff[]".encode("utf-16-le"), None, "has 0 usable rows"),
        ("\ufeff[]".encode("utf-16-le")[:-1], None, "is not JSON in utf-16, as its first bytes say"),
        (b"\x00" * 100, None, "is not JSON"),
    ],
)
def test_file_that_cannot_be_used_says_why(
    data_file: WriteRows, content: bytes, samples: int | None, message: str
) -> None:
    file = data_file(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_rows(file, DataSpec(path="rows.json", samples=samples))
    assert str(file) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.json", "no such file"),
        ("", "the directory holds no data"),
        ("n" * 300, "too long"),
        ("a\0b", "null byte"),
    ],
)
def test_path_that_is_no_file_says_why(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=f"data.path is .*: .*{reason}"):
        read_rows(tmp_path / name, DATA)


def test_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DatasetError, match="not a file"):
        read_rows(pipe, DATA)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_forbidden_file_says_why(data_file: WriteRows) -> None:
    file = data_file(lines(GOOD, GOOD))
    file.chmod(0)
    with pytest.raises(DatasetError, match="permission denied"):
        read_rows(file, DATA)


def test_changed_file_is_read_again(data_file: WriteRows) -> None:
    file = data_file(lines(GOOD, GOOD))
    assert len(read_rows(file, DATA).usable) == 2
    assert len(read_rows(data_file(lines(GOOD, GOOD, GOOD)), DATA).usable) == 3


@pytest.mark.parametrize("name", ["tatsu-lab/alpaca", "alpaca", "x" * 5000])
def test_hub_name_is_no_local_file(name: str) -> None:
    assert local_data_path(name) is None


def test_missing_file_is_not_taken_for_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_data_path("rows.jsonl") == Path("rows.jsonl")
    assert local_data_path("~nobody-of-that-name/rows") == Path("~nobody-of-that-name/rows")


def test_embedded_data_is_usable() -> None:
    file = local_data_path(EMBEDDED)
    assert file is not None
    assert read_rows(file, DataSpec(path="rows.json", samples=1200)).passed_over == ()


@pytest.mark.skipif(not ALPACA.exists(), reason=f"no {ALPACA}: the shared test data is not checked out beside the repo")
def test_real_alpaca_rows_are_usable() -> None:
    expected = json.loads(ALPACA.read_text())
    rows = read_rows(ALPACA, DATA)
    assert len(rows.usable) + len(rows.passed_over) == len(expected)
    assert rows.usable == tuple(AlpacaRow(**row) for row in expected if row["output"].strip())


@pytest.mark.parametrize(
    "content", [lines(GOOD, GOOD), lines(GOOD, {}, GOOD, GOOD | {"output": [5]}), json.dumps([GOOD] * 30).encode()]
)
def test_counted_rows_are_the_rows_read(data_file: WriteRows, content: bytes) -> None:
    file = data_file(content)
    rows, counted = read_rows(file, DATA), count_rows(file, DATA)
    assert (counted.format, counted.usable, counted.first) == (rows.format, len(rows.usable), rows.usable[0])
    assert counted.passed_over == len(rows.passed_over)
    assert counted.warning() == rows.warning()


def test_rows_are_counted_anew_where_anything_that_decides_them_changed(data_file: WriteRows) -> None:
    rows = [GOOD, GOOD | {"input": "x"}, GOOD]
    file = data_file(lines(*rows))
    assert count_rows(file, DATA).usable == 3
    assert count_rows(file, DataSpec(path="", samples=2)).usable == 2
    assert count_rows(file, DataSpec(path="", prompt_template="{instruction}")).usable == 2
    assert count_rows(file, DataSpec(path="", format="prompt-completion")).format.name == "prompt-completion"
    assert count_rows(data_file(lines(*rows, GOOD)), DATA).usable == 4


def test_only_the_rows_asked_for_are_read(data_file: WriteRows) -> None:
    file = data_file(lines(GOOD, GOOD) + b"{broken")
    assert count_rows(file, DataSpec(path="", samples=2)).usable == 2
    with pytest.raises(DatasetError, match="line 3, is not JSON"):
        count_rows(file, DATA)
