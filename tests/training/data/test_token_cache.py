"""The cache of tokenised rows: it gives equal rows for equal input only, and its failures end no round."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.dataset.rows import AlpacaRow, Conversation, PlainText, Row, Turn
from engine.runs.events import Warned
from engine.spec.data import DataSpec
from engine.training.data import token_cache
from engine.training.data.token_cache import cache_directory, cache_key, tokenise_cached
from engine.training.data.tokenize import TokenisedRows, tokenise
from tests.support.rounds_to_train import figures_of, make_rows, make_run, spec_of, train_here, write_rows
from tests.support.tiny_model import make_tokenizer

ROWS: list[Row] = [AlpacaRow(**row) for row in make_rows(6)]
TALK: list[Row] = [Conversation((Turn("user", "a"), Turn("assistant", "b", supervised=True)))] * 2
DATA = DataSpec(path="rows.json")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of an empty cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "loratui" / "tokenised"


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each call of `tokenise`."""
    calls: list[int] = []

    def count(rows: Any, *rest: Any) -> TokenisedRows:
        calls.append(len(rows))
        return tokenise(rows, *rest)

    monkeypatch.setattr(token_cache, "tokenise", count)
    return calls


def same(ours: TokenisedRows, theirs: TokenisedRows) -> bool:
    pairs = zip(ours.examples, theirs.examples, strict=True)
    equal = all(torch.equal(a.tokens, b.tokens) and torch.equal(a.supervised, b.supervised) for a, b in pairs)
    dtypes = {(example.tokens.dtype, example.supervised.dtype) for example in ours.examples}
    return equal and ours.warnings == theirs.warnings and dtypes == {(torch.int32, torch.bool)}


def test_second_time_nothing_is_tokenised(cache: Path, tokenised: list[int]) -> None:
    progress: list[tuple[int, int]] = []
    first, second = (tokenise_cached(ROWS, make_tokenizer(), DATA, lambda *at: progress.append(at)) for _ in range(2))
    assert tokenised == [6]
    assert same(first, tokenise(ROWS, make_tokenizer(), DATA)) and same(second, first)
    assert progress == [(6, 6), (6, 6)]
    assert [file.suffix for file in cache.iterdir()] == [".safetensors"]


def test_seed_split_and_length_do_not_matter(tokenised: list[int]) -> None:
    for data in (DATA, DataSpec(path="else.csv", max_length=8, eval_fraction=0.5, seed=1, samples=6)):
        tokenise_cached(ROWS, make_tokenizer(), data)
    assert tokenised == [6]


def test_whatever_decides_the_tokens_decides_the_key() -> None:
    plain, other, chat = make_tokenizer(), make_tokenizer("</s>"), make_tokenizer()
    chat.chat_template = "{{ messages }}"
    added = make_tokenizer()
    added.add_tokens(["lamp"])
    keys = [
        cache_key(ROWS, plain, DATA),
        cache_key(ROWS[:-1], plain, DATA),
        cache_key(ROWS[::-1], plain, DATA),
        cache_key([*ROWS[:-1], PlainText("x")], plain, DATA),
        cache_key(ROWS, plain, DataSpec(path="", supervised_tokens="all")),
        cache_key(ROWS, plain, DataSpec(path="", prompt_template="{prompt}")),
        cache_key(ROWS, other, DATA),
        cache_key(ROWS, chat, DATA),
        cache_key(ROWS, added, DATA),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(list(ROWS), make_tokenizer(), DATA) == keys[0]


def test_version_decides_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_key(ROWS, make_tokenizer(), DATA)
    monkeypatch.setattr(token_cache, "VERSION", token_cache.VERSION + 1)
    assert cache_key(ROWS, make_tokenizer(), DATA) != before


def test_plain_chat_template_and_warnings_come_from_the_cache_too(tokenised: list[int]) -> None:
    one, two = make_tokenizer(), make_tokenizer()
    first, second = tokenise_cached(TALK, one, DATA), tokenise_cached(TALK, two, DATA)
    assert tokenised == [2]
    assert second.warnings == first.warnings != ()
    assert one.chat_template == two.chat_template is not None


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other", "directory", "text"])
def test_damaged_file_is_written_again(cache: Path, tokenised: list[int], damage: str) -> None:
    first = tokenise_cached(ROWS, make_tokenizer(), DATA)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    match damage:
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(content[:-1])
        case "flipped":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "other":
            save_file({"tokens": torch.zeros(3)}, file)
        case "directory":
            file.unlink()
            file.mkdir()
        case "text":
            file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert same(tokenise_cached(ROWS, make_tokenizer(), DATA), first)
    assert tokenised == [6, 6]
    if damage != "directory":
        assert same(tokenise_cached(ROWS, make_tokenizer(), DATA), first)
        assert tokenised == [6, 6]


def test_round_goes_on_if_the_cache_cannot_be_written(cache: Path, tokenised: list[int]) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    for _ in range(2):
        assert len(tokenise_cached(ROWS, make_tokenizer(), DATA).examples) == 6
    assert tokenised == [6, 6]


@pytest.mark.parametrize("name", ["save_file", "replace"])
def test_full_disk_ends_no_round_and_leaves_no_file(cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(token_cache if name == "save_file" else os, name, refuse)
    assert len(tokenise_cached(ROWS, make_tokenizer(), DATA).examples) == 6
    assert list(cache.iterdir()) == []


def test_oldest_file_is_removed_when_the_cache_is_too_large(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(count: int) -> Path:
        tokenise_cached(ROWS[:count], make_tokenizer(), DATA)
        return cache_directory() / f"{cache_key(ROWS[:count], make_tokenizer(), DATA)}.safetensors"

    one, two = keep(5), keep(4)
    for file, age in ((one, 300), (two, 200)):
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime - age))
    keep(5)  # which makes it the newest again
    monkeypatch.setattr(token_cache, "MAX_BYTES", one.stat().st_size + two.stat().st_size)
    three = keep(3)
    assert set(cache.iterdir()) == {one, three}


def test_second_round_trains_as_the_first(tiny_model: Path, tmp_path: Path, tokenised: list[int]) -> None:
    events = []
    for name in ("one", "two"):
        run = make_run(tmp_path / name, tiny_model, data__max_length=60, train__num_train_epochs=0.5)
        write_rows(Path(spec_of(run).data.path), make_rows())
        events.append(train_here(run))
    assert tokenised == [40]
    assert figures_of(events[0]) == figures_of(events[1])
    warnings = [[event.message for event in one if isinstance(event, Warned)] for one in events]
    assert warnings[0] == warnings[1] != []
