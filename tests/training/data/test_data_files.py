"""Files of a local path are those that the `datasets` library reads there, in its order and in its splits."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from engine.dataset import data_files
from engine.dataset.data_files import files_of, parts_of
from engine.dataset.load import check_source, count_rows, read_rows
from engine.dataset.rows import PlainText, PromptCompletion
from engine.errors import DatasetError, SpecError
from engine.spec.data import DataSpec

ROW = json.dumps({"prompt": "1 + 2?", "completion": "3"}) + "\n"
CONFIGURATIONS = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: "main/*.jsonl"
  - split: test
    path: [main/held/**, more.jsonl]
- config_name: other
  data_dir: socratic
- config_name: third
  data_files: "**/b.jsonl"
---
# A dataset
"""
LAYOUTS = {
    "one": ["a.jsonl"],
    "parts": ["part-0.jsonl", "part-1.jsonl", "part-10.jsonl", "part-2.jsonl"],
    "shards": ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/a_b-00000-of-00001.jsonl"],
    "file names": ["train.jsonl", "dev.jsonl", "my_test_1.jsonl", "contest.jsonl"],
    "directories": ["train/a.jsonl", "valid-2/a.jsonl", "x eval/deep/a.jsonl", "other/train.jsonl"],
    "words within words": ["training1.jsonl", "latest.jsonl", "trained.jsonl"],
    "hidden": [".git/a.jsonl", "__pycache__/a.jsonl", ".a.jsonl", "b.jsonl", "dataset_infos.json"],
    "nearly ignored": ["my_config.json", "deep/dataset_info.json", "chat_dataset_info.json"],
    "compressed": ["a.jsonl.gz", "b.jsonl"],
    "nothing for training": ["test.jsonl", "validation.jsonl"],
    "configurations": ["main/a.jsonl", "main/held/a.jsonl", "main/held/deep/b.jsonl", "more.jsonl",
                       "socratic/train.jsonl", "socratic/test.jsonl"],
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = tmp_path / "dataset"
    for name in LAYOUTS[request.param]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}" if Path(name).name in data_files.NOT_DATA else ROW)
    (root / "README.md").write_text(CONFIGURATIONS if request.param == "configurations" else "# A dataset\n")
    return root


@pytest.mark.parametrize("directory", LAYOUTS, indirect=True)
def test_directory_is_divided_as_the_library_divides_it(directory: Path) -> None:
    names = datasets.get_dataset_config_names(str(directory))
    assert list(parts_of(directory, "name", DataSpec(str(directory)))) == names
    for name in names:
        found = datasets.load_dataset_builder(str(directory), name).config.data_files
        assert found is not None
        data = DataSpec(str(directory), name=name)
        assert set(parts_of(directory, "split", data)) == set(map(str, found))
        for split, files in found.items():
            expected = [Path(file).relative_to(directory) for file in files]
            chosen = files_of(directory, DataSpec(str(directory), name=name, split=str(split)))
            assert [file.relative_to(directory) for file in chosen] == expected


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        (None, None, "data.name is empty, but .* has main, other, third: set it to one of these"),
        ("fourth", None, "data.name is fourth, but"),
        ("main", "validation", "data.split is validation, but .* has train, test: set it to one of these"),
    ],
)
@pytest.mark.parametrize("directory", ["configurations"], indirect=True)
def test_wrong_part_lists_what_there_is(directory: Path, name: str | None, split: str | None, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        files_of(directory, DataSpec(str(directory), name=name, split=split))


@pytest.fixture
def dataset() -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [{"prompt": f"{number} + 1?", "completion": str(number + 1)} for number in range(9)]
    )


def test_saved_dataset_is_read_whole(tmp_path: Path, dataset: datasets.Dataset) -> None:
    dataset.save_to_disk(tmp_path / "saved", num_shards=3)
    data = DataSpec(str(tmp_path / "saved"))
    rows = read_rows(tmp_path / "saved", data)
    assert list(rows.usable) == [PromptCompletion(**row) for row in dataset]
    assert count_rows(tmp_path / "saved", data).usable == 9


def test_saved_splits_are_chosen_by_name(tmp_path: Path, dataset: datasets.Dataset) -> None:
    datasets.DatasetDict({"train": dataset, "held_out": dataset.select(range(4))}).save_to_disk(tmp_path / "saved")
    assert parts_of(tmp_path / "saved", "split", DataSpec("-")) == ("train", "held_out")
    assert len(read_rows(tmp_path / "saved", DataSpec("-")).usable) == 9
    assert len(read_rows(tmp_path / "saved", DataSpec("-", split="held_out")).usable) == 4
    with pytest.raises(SpecError, match=r"data\.split is test, but .* has train, held_out"):
        read_rows(tmp_path / "saved", DataSpec("-", split="test"))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_data_files": [{"filename": "../rows.arrow"}]}, "it names '../rows.arrow', which is not a file in it"),
        (
            {"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]},
            r"save it again after flatten_indices\(\)",
        ),
        ({"data": 1}, "is not what save_to_disk writes"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "gone.arrow': no such file"),
    ],
)
def test_saved_dataset_that_cannot_be_read_is_named(tmp_path: Path, state: object, message: str) -> None:
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match=message):
        read_rows(tmp_path, DataSpec(str(tmp_path)))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.jsonl", ["part-0.jsonl", "part-1.jsonl", "part-10.jsonl", "part-2.jsonl"]),
        ("part-[02].jsonl", ["part-0.jsonl", "part-2.jsonl"]),
        ("part-?.jsonl", ["part-0.jsonl", "part-1.jsonl", "part-2.jsonl"]),
        ("../**/part-[!0]*", ["part-1.jsonl", "part-10.jsonl", "part-2.jsonl"]),
        ("../d*/part-1.jsonl", ["part-1.jsonl"]),
    ],
)
@pytest.mark.parametrize("directory", ["parts"], indirect=True)
def test_pattern_names_files(directory: Path, pattern: str, names: list[str]) -> None:
    assert [file.name for file in files_of(directory / pattern, DataSpec("-"))] == names
    assert count_rows(directory / pattern, DataSpec("-")).usable == len(names) if len(names) > 1 else True


@pytest.mark.parametrize("directory", ["parts"], indirect=True)
def test_file_whose_name_looks_like_a_pattern_is_that_file(directory: Path) -> None:
    file = directory / "part-[02].jsonl"
    file.write_text(ROW * 3)
    assert files_of(file, DataSpec("-")) == (file,)


def test_directory_without_data_and_pattern_without_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "run.py").touch()
    with pytest.raises(DatasetError, match=r"the directory holds no data: it must hold files such as \.json, "):
        files_of(tmp_path, DataSpec("-"))
    with pytest.raises(DatasetError, match="no file matches it"):
        files_of(tmp_path / "*.jsonl", DataSpec("-"))


def test_huge_directory_is_refused_before_it_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "MOST_ENTRIES", 3)
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_text(ROW)
    for path in (tmp_path, tmp_path / "**" / "*.jsonl"):
        with pytest.raises(DatasetError, match="it holds more than 3 files"):
            files_of(path, DataSpec("-"))


def test_text_is_read_where_there_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("About this.")
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_bytes(b"One.\r\nTwo.\n")
    rows = read_rows(tmp_path, DataSpec(str(tmp_path)))
    assert rows.usable == (PlainText("One.\nTwo.\n"),) * 2
    (tmp_path / "rows.jsonl").write_text(ROW * 2)
    assert [file.name for file in files_of(tmp_path, DataSpec("-"))] == ["rows.jsonl"]


def test_only_directories_have_parts(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROW * 2)
    check_source(DataSpec(str(tmp_path), split="train"))
    with pytest.raises(SpecError, match="only a directory, or a dataset of the hub, has one: leave it empty"):
        check_source(DataSpec(str(tmp_path / "rows.jsonl"), split="train"))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "rows.txt"])
def test_pointer_of_git_lfs_is_not_taken_for_data(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DatasetError, match="is a pointer of Git LFS, not the data: run `git lfs pull`"):
        read_rows(tmp_path / name, DataSpec("-"))


@pytest.mark.parametrize("encoding", ["gb18030", "cp1252"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.txt"])
def test_text_in_another_encoding_names_the_way_out(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes("prompt,completion\nä,“b”\n".encode(encoding, errors="replace"))
    with pytest.raises(
        DatasetError, match="is not text in UTF-8: save it as UTF-8, such as by `iconv -f GBK -t UTF-8`"
    ):
        read_rows(tmp_path / name, DataSpec("-"))
