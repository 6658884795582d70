from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from engine.dataset import json_records, readers
from engine.dataset.load import read_rows
from engine.dataset.readers import read_records
from engine.dataset.rows import Conversation, PlainText, Turn
from engine.errors import DatasetError
from engine.spec.data import DataSpec
from tests.support.rounds import as_parquet

RECORDS = [
    {"instruction": "Say ü,", "input": "a; b", "output": 'the "word"\nand more'},
    {"instruction": "Say\ttab", "input": "", "output": "🦙"},
    {"instruction": "Third", "input": "x", "output": " spaces  "},
]


def as_csv(delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(RECORDS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(RECORDS)
    return text.getvalue().encode(encoding)


def as_lines() -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)


def as_zip(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def as_arrow(writer: Callable[..., Any]) -> bytes:
    table = pyarrow.Table.from_pylist(RECORDS)
    content = io.BytesIO()
    with writer(content, table.schema) as stream:
        stream.write_table(table)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", json.dumps(RECORDS).encode()),
        ("rows.jsonl", as_lines()),
        ("rows.csv", as_csv()),
        ("ROWS.CSV", as_csv(encoding="utf-8-sig")),
        ("rows.csv", as_csv(";")),
        ("rows.tsv", as_csv("\t")),
        ("rows.parquet", as_parquet(RECORDS)),
        ("rows.jsonl.gz", gzip.compress(as_lines())),
        ("rows.json.gz", gzip.compress(json.dumps(RECORDS).encode())),
        ("rows.csv.gz", gzip.compress(as_csv())),
        ("rows.jsonl.bz2", bz2.compress(as_lines())),
        ("rows.jsonl.xz", lzma.compress(as_lines())),
        ("rows.csv.xz", lzma.compress(as_csv())),
        ("rows.json.zst", pyarrow.compress(json.dumps(RECORDS).encode(), "zstd", asbytes=True)),
        ("rows.zip", as_zip(**{"deep/rows.csv": as_csv(), "__MACOSX/rows.csv": b"", "deep/": b""})),
        ("rows.jsonl.zip", as_zip(**{"rows.jsonl": as_lines().decode().encode("utf-16")})),
        ("rows.arrow", as_arrow(pyarrow.ipc.new_stream)),
        ("rows.arrow", as_arrow(pyarrow.ipc.new_file)),
        ("rows.csv", as_csv(encoding="utf-16")),
        ("rows.jsonl", as_lines().decode().encode("utf-16")),
        ("rows.json", json.dumps(RECORDS).encode("utf-16")),
        ("rows.json", json.dumps(RECORDS).encode("utf-32")),
        ("rows.jsonl.gz", gzip.compress(as_lines().decode().encode("utf-16"))),
        ("rows.json", "\n".join(json.dumps(record, indent=2) for record in RECORDS).encode()),
        ("rows.json", ",\n".join(json.dumps(record, indent=2) for record in RECORDS).encode()),
        ("rows.json", json.dumps({"version": 1, "data": RECORDS}, indent=2).encode()),
        ("rows.json", json.dumps({"train": RECORDS, "test": RECORDS[:1]}).encode()),
        ("rows.json", json.dumps({key: [record[key] for record in RECORDS] for key in RECORDS[0]}).encode()),
        (
            "rows.json",
            json.dumps({key: {str(n): record[key] for n, record in enumerate(RECORDS)} for key in RECORDS[0]}).encode(),
        ),
        ("rows.json", json.dumps({str(number): record for number, record in enumerate(RECORDS)}).encode()),
    ],
)
def test_every_kind_of_file_holds_the_same_records(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert list(read_records(file)) == RECORDS


@given(st.lists(st.fixed_dictionaries({"text": st.text(), "more": st.text()}), min_size=1))
def test_any_text_comes_back_from_csv_as_python_writes_it(records: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["text", "more"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(records)
    read = readers._read_csv(Path("rows.csv"), io.BytesIO(text.getvalue().encode()))
    assert list(read) == records


@pytest.mark.parametrize("rows", [2, 4])
def test_table_with_names_of_rows_is_read_by_rows_if_it_has_more_of_them(tmp_path: Path, rows: int) -> None:
    table = {f"id{row}": {name: f"{row}{name}" for name in "abc"} for row in range(rows)}
    (tmp_path / "rows.json").write_text(json.dumps(table))
    by_columns = [{row: table[row][name] for row in table} for name in "abc"]
    assert list(read_records(tmp_path / "rows.json")) == (list(table.values()) if rows > 3 else by_columns)


def test_array_on_each_line_is_a_row(tmp_path: Path) -> None:
    lines = [[{"role": "user", "content": "hi"}], [{"role": "user", "content": "ho"}, {"a": 1}]]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    assert list(read_records(tmp_path / "rows.jsonl")) == lines
    (tmp_path / "rows.jsonl").write_text("\n[1]\n[2]\n[3\n")
    with pytest.raises(DatasetError, match=r"rows.jsonl, line 4, is not JSON"):
        list(read_records(tmp_path / "rows.jsonl"))
    (tmp_path / "rows.json").write_text("[[1],\n[2]]")
    assert list(read_records(tmp_path / "rows.json")) == [[1], [2]]


def test_conversations_come_from_parquet_and_from_cells_of_json(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi", "name": None}, {"role": "assistant", "content": "ho", "name": "x"}]
    expected = (Conversation((Turn("user", "hi"), Turn("assistant", "ho", supervised=True))),) * 2
    (tmp_path / "rows.parquet").write_bytes(as_parquet([{"messages": messages}] * 2))
    cell = json.dumps(messages).replace('"', '""')
    (tmp_path / "rows.csv").write_text("messages\n" + f'"{cell}"\n' * 2)
    for name in ("rows.parquet", "rows.csv"):
        rows = read_rows(tmp_path / name, DataSpec(path=name))
        assert (rows.usable, rows.format.name) == (expected, "messages")


def test_parquet_is_read_beyond_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PARQUET_ROWS_AT_ONCE", 2)
    (tmp_path / "rows.parquet").write_bytes(as_parquet(RECORDS))
    assert list(read_records(tmp_path / "rows.parquet")) == RECORDS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.parquet", b"", "is not a readable Parquet file"),
        ("rows.parquet", b"PAR1" + bytes(100) + b"PAR1", "is not a readable Parquet file"),
        ("rows.parquet", as_parquet(RECORDS)[:-20], "is not a readable Parquet file"),
        ("rows.csv", b"text\n\xff\xfe\n", "after line 1, is not text in UTF-8: save it as UTF-8"),
        ("rows.csv", b'text\nplain\n"quoted" and more\n', "line 3, is not CSV: .*: put quotes around a cell"),
        ("rows.csv", b"\xff\xfex", "is not text in UTF-16: save it as UTF-8"),
        ("rows.csv", b'text\n"open', "line 2, is not CSV: unexpected end of data: "),
        ("rows.csv", b"a,b\n1,2\n1,2,3\n", "line 3, has more cells than the first line has columns"),
        ("rows.jsonl.gz", b"plain", "not a gzipped file"),
        ("rows.jsonl.bz2", b"plain", "invalid data stream"),
        ("rows.jsonl.xz", lzma.compress(as_lines())[:-12], "it is damaged; copy it again"),
        ("rows.jsonl.zst", b"plain", "it is damaged; copy it again"),
        ("rows.jsonl.zip", b"plain", "it is damaged; copy it again"),
        ("rows.jsonl.zip", as_zip(a=b"", b=b""), "it holds 2 files; unpack it and name one of them"),
        ("rows.jsonl.zip", as_zip(), "it holds 0 files"),
        ("rows.arrow", b"plain", "is not a readable Arrow file"),
        ("rows.arrow", b"", "Arrow file|cannot mmap|empty"),
        ("rows.jsonl.gz", gzip.compress(as_lines())[:-12], "it is damaged; copy it again"),
        ("rows.jsonl.gz", gzip.compress(as_lines())[:30] + bytes(40), "it is damaged; copy it again"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a time is in compressed bytes
)
def test_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        list(read_records(file))
    assert str(file) in caught.value.message and "\n" not in caught.value.message


def test_line_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_records, "MAX_LINE_BYTES", 1 << 20)
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(as_lines() + b'{"text": "' + bytes(1 << 22)))
    with pytest.raises(DatasetError, match="line 4, is longer than 1 MiB"):
        list(read_records(file))


def test_file_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    damage: list[Callable[[bytes], bytes]] = [lambda lines: lines + b"{", lambda lines: lines + b"\xff"]
    for number, change in enumerate(damage):
        file = tmp_path / f"{number}.jsonl"
        file.write_bytes(change(as_lines()))
        records = read_records(file)
        assert [next(records) for _ in RECORDS] == RECORDS
        with pytest.raises(DatasetError):
            next(records)


def test_one_row_is_a_row(tmp_path: Path) -> None:
    for row in (
        {"messages": [{"role": "user"}]},
        {"text": "a"},
        {"prompt": [{"role": "user"}], "completion": [{}]},
        {},
    ):
        for indent in (None, 2):
            (tmp_path / "rows.json").write_text(json.dumps(row, indent=indent))
            assert list(read_records(tmp_path / "rows.json")) == [row]


@pytest.mark.parametrize("whole", [False, True])
def test_what_python_writes_as_json_is_read(tmp_path: Path, whole: bool) -> None:
    rows = [{"text": "a"}, {"text": "b\ud83d", "score": math.nan}, {"text": "c", "score": math.inf}]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows) if whole else "".join(json.dumps(row) + "\n" for row in rows))
    read = read_rows(file, DataSpec(path="rows.json"))
    assert read.usable == (PlainText("a"), PlainText("c")) and read.format.unused == ("score",)
    assert read.warning() == (
        "1 row was left out; the first is row 2: its text has half of a character in it (a lone surrogate): remove it"
    )


def test_object_over_several_lines_that_is_cut_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('{\n "text": "a"\n}\n{\n "text": ')
    with pytest.raises(DatasetError, match=r"rows.json, line 4, is not JSON"):
        list(read_records(file))


@pytest.mark.parametrize("microseconds", [253402300800000000, 2**63 - 1, -(2**62)])
def test_date_that_python_does_not_have_is_text(tmp_path: Path, microseconds: int) -> None:
    dates = pyarrow.array([microseconds, 0], pyarrow.timestamp("us"))
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "until": dates}), tmp_path / "rows.parquet")
    read = read_rows(tmp_path / "rows.parquet", DataSpec(path="rows.parquet"))
    assert (read.usable, read.format.unused) == ((PlainText("a"), PlainText("b")), ("until",))
    nested = pyarrow.table({"text": ["a", "b"], "dates": pyarrow.StructArray.from_arrays([dates], ["until"])})
    parquet.write_table(nested, tmp_path / "rows.parquet")
    with pytest.raises(DatasetError, match=r"rows.parquet: its column dates cannot be read: .*: remove it"):
        list(read_records(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("name", ["book.md", "LINES.TXT"])
def test_file_of_text_is_one_record(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbfCall me Ishmael.\r\nSome years ago\r")
    assert list(read_records(tmp_path / name)) == [{"text": "Call me Ishmael.\nSome years ago\n"}]
