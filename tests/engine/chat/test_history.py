"""Conversations in files: whole or not at all, over nobody else's, and as rows that can be trained on."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from engine.chat.conversation import Chat, ChatAnswer, Speaker
from engine.chat.history import ChatFile, append_example, find_conversations
from engine.dataset.load import read_rows
from engine.dataset.rows import Conversation as Row
from engine.dataset.rows import Turn
from engine.errors import LoratuiError, StoreError
from engine.files.paths import Workspace
from engine.spec.data import DataSpec
from engine.spec.schema import ModelSpec

THREE = Speaker("0003-c0ffee", 3, "attention", "alpaca")
TALK = Chat(ModelSpec("some/model"), (THREE,), created=1_795_000_000.0)
ONE = TALK.with_message("one?\n\x1b[31m").with_answer(THREE.key, ChatAnswer("1", 5, 2, 0.5))
TWO = ONE.with_message("two?").with_answer(THREE.key, ChatAnswer("2", 9, 2, 0.5, "cut"))


def names(workspace: Workspace) -> list[str]:
    return sorted(os.listdir(workspace.conversations_dir))


def test_conversation_comes_back_as_it_was(workspace: Workspace) -> None:
    path = ChatFile(workspace).save(TWO)
    assert path.parent == workspace.root / "conversations"
    assert path.name.endswith("-round-3.json")
    assert ChatFile(workspace).read(path) == TWO
    assert [stat.S_IMODE(item.stat().st_mode) for item in (path, path.parent)] == [0o600, 0o700]


def test_it_goes_on_in_its_own_file_and_another_gets_another(workspace: Workspace) -> None:
    keeper = ChatFile(workspace)
    path = keeper.save(ONE)
    assert keeper.save(TWO) == path
    other = ChatFile(workspace).save(ONE)
    assert other.name == f"{path.stem}-2.json"
    assert ChatFile(workspace).save(TALK.with_message("anew")).name == f"{path.stem}-3.json"
    assert [ChatFile(workspace).read(item) for item in (path, other)] == [TWO, ONE]
    assert len(names(workspace)) == 3, "nothing else is left there"


def test_file_that_somebody_else_changed_is_not_replaced(workspace: Workspace) -> None:
    keeper = ChatFile(workspace)
    path = keeper.save(ONE)
    path.write_text("mine now")
    assert keeper.save(TWO).name == f"{path.stem}-2.json"
    assert path.read_text() == "mine now"


def test_conversation_that_was_read_goes_on_in_its_file(workspace: Workspace) -> None:
    path = ChatFile(workspace).save(ONE)
    keeper = ChatFile(workspace)
    keeper.read(path)
    assert keeper.save(TWO) == path
    assert names(workspace) == [path.name]


def test_name_of_ones_own_moves_the_file_and_takes_nobody_elses(workspace: Workspace) -> None:
    keeper = ChatFile(workspace)
    keeper.save(ONE)
    assert keeper.save(ONE, "lamps and bridges").name == "lamps and bridges.json"
    assert names(workspace) == ["lamps and bridges.json"]
    assert keeper.save(TWO).name == "lamps and bridges.json"
    assert keeper.save(TWO, keeper.name).name == "lamps and bridges.json"
    other = ChatFile(workspace)
    other.save(TALK.with_message("other"))
    with pytest.raises(StoreError, match="there is a conversation 'lamps and bridges' already"):
        other.save(TALK.with_message("other"), "lamps and bridges")
    for name in ("../up", ".hidden", "a/b", " a", "a\nb", ""):
        if name:
            with pytest.raises(LoratuiError, match="cannot be called"):
                other.save(ONE, name)
    assert ChatFile(workspace).read(workspace.conversations_dir / "lamps and bridges.json") == TWO
    assert len(names(workspace)) == 2


def test_secret_is_left_out(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", 'quoted"secret"value')
    talk = TALK.with_message("my key is hf_abcdefghijklmnopqrstuv").with_answer(
        THREE.key, ChatAnswer('yes: quoted"secret"value and http://a')
    )
    path = ChatFile(workspace).save(talk)
    append_example(tmp_path / "rows.jsonl", talk, THREE.key)
    for text in (path.read_text(), (tmp_path / "rows.jsonl").read_text()):
        assert "hf_abc" not in text and "secret" not in text and text.count("[redacted]") == 2
    assert ChatFile(workspace).read(path).exchanges[0].message == "my key is [redacted]"


def forged(**fields: object) -> bytes:
    return json.dumps({"model": {"path": "a"}, "speakers": [{"key": "a", "number": 1}], **fields}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"model": 3}', b"null",
        forged(speakers=[]),
        forged(speakers=[{"key": "../x", "number": 1}]),
        forged(speakers=[{"key": "a", "number": 1}] * 2),
        forged(speakers=[{"key": f"a{number}", "number": number} for number in range(9)]),
        forged(version=2),
        forged(settings={"top_p": 7}),
        forged(more=1),
    ],
)  # fmt: skip
def test_broken_file_is_told_in_a_sentence(workspace: Workspace, content: bytes) -> None:
    good = ChatFile(workspace).save(ONE)
    broken = good.with_name("broken.json")
    broken.write_bytes(content)
    with pytest.raises(LoratuiError, match=rf"the conversation {broken} is not valid \(.*\): correct it"):
        ChatFile(workspace).read(broken)
    saved = {item.path.name: item for item in find_conversations(workspace)}
    assert saved[good.name].conversation == ONE
    assert saved["broken.json"].conversation is None and "is not valid" in saved["broken.json"].problem


def test_what_is_no_plain_file_is_not_read(workspace: Workspace) -> None:
    good = ChatFile(workspace).save(ONE)
    (good.parent / "link.json").symlink_to(good)
    os.mkfifo(good.parent / "pipe.json")
    problems = {item.path.name: item.problem for item in find_conversations(workspace)}
    assert "it is a link" in problems["link.json"] and "pipe" in problems["pipe.json"] and not problems[good.name]


def test_directory_that_is_a_link_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    workspace.conversations_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link, and links are not followed here"):
        ChatFile(workspace).save(ONE)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_there_are_none_in_a_new_workspace(workspace: Workspace) -> None:
    assert find_conversations(workspace) == []


def test_disk_that_refuses_is_told(workspace: Workspace) -> None:
    workspace.conversations_dir.write_text("a file in the directory's place")
    with pytest.raises(StoreError, match=r"the conversation could not be saved in .*conversations is not a directory"):
        ChatFile(workspace).save(TWO)


@pytest.mark.parametrize("before", [b"", b'{"messages": []}\n', b'{"messages": []}'])
def test_example_is_appended_as_a_row_of_its_own(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "rows.jsonl"
    if before:
        file.write_bytes(before)
    append_example(file, TWO, THREE.key)
    append_example(file, ONE, THREE.key)
    lines = file.read_text().splitlines()
    assert [len(json.loads(line)["messages"]) for line in lines] == [*[0] * bool(before), 4, 2]
    assert file.read_bytes().endswith(b"}\n")


def test_examples_are_rows_that_the_engine_trains_on(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for talk in (ONE, TWO):
        append_example(file, talk, THREE.key)
    rows = read_rows(file, DataSpec(str(file)))
    assert rows.format.name == "messages"
    learned = (Turn("user", "one?\n\x1b[31m"), Turn("assistant", "1", supervised=True))
    assert rows.usable == (
        Row(learned),
        Row((*learned, Turn("user", "two?"), Turn("assistant", "2", supervised=True))),
    )


def test_example_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoratuiError, match="round 3 has given no answer yet"):
        append_example(tmp_path / "rows.jsonl", TALK, THREE.key)
    assert not (tmp_path / "rows.jsonl").exists()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "rows.jsonl")
    for name in ("pipe", "link", "no/such/rows.jsonl", "."):
        with pytest.raises(LoratuiError, match="the example could not be written to"):
            append_example(tmp_path / name, ONE, THREE.key)
