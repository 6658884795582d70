"""The chat screen, with a chat process whose answers the test decides."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.events import Paste
from textual.widgets import Input, OptionList

from engine.api import Cockpit
from engine.chat.conversation import BASE, Chat
from engine.chat.history import ChatFile
from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, TextDelta
from engine.dataset.load import read_rows
from engine.dataset.rows import Conversation as ConversationRow
from engine.dataset.rows import Turn
from engine.errors import LoratuiError, ModelError, ProcessEnded
from engine.files.drafts import Drafts
from engine.spec.data import DataSpec
from engine.spec.round import Status
from tests.support.chat_pilot import answered, open_chat, say, transcript
from tests.support.pilot import AppPilot, OpenApp, on_screen, shown, until
from tests.support.rounds import give_adapter, make_round, make_spec
from tests.support.waiting import await_true
from tui.screens.chat.input import ChatInput
from tui.screens.chat.transcript import Transcript

Say = Callable[[AnswerRequest], Iterator[TextDelta | Complete]]


def echo(question: AnswerRequest) -> Iterator[TextDelta | Complete]:
    """Answer with the adapter, the number of messages, and the last of them."""
    text = f"{question.adapter or BASE} heard {len(question.messages)}: {question.messages[-1].content}"
    yield TextDelta(text)
    yield Complete(text, 30, 12, 0.5, "complete")


class Director:
    """Decides what the chat processes of a test do, and records the questions to them."""

    def __init__(self) -> None:
        self.opens: Loaded | LoratuiError = Loaded("cpu", "float32", 2048)
        self.say: Say = echo
        self.openings: list[LoadRequest] = []
        self.questions: list[AnswerRequest] = []
        self.open_now = 0
        self.stopped = threading.Event()

    def start(self, request: LoadRequest, directory: Path) -> DirectedChat:
        self.openings.append(request)
        self.open_now += 1
        return DirectedChat(self)

    def until_stopped(self, question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        """Begin to answer, and end when it is stopped."""
        yield TextDelta("I begin")
        self.stopped.wait()
        yield Complete("I begin", 5, 2, 1.0, "stopped")


class DirectedChat:
    def __init__(self, director: Director) -> None:
        self._director = director
        self._closed = False

    def loaded(self) -> Loaded:
        if isinstance(self._director.opens, LoratuiError):
            raise self._director.opens
        return self._director.opens

    def ask(self, question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        self._director.questions.append(question)
        return self._director.say(question)

    def stop(self) -> None:
        self._director.stopped.set()

    def close(self) -> None:
        self._director.stopped.set()
        self._director.open_now -= not self._closed
        self._closed = True


@pytest.fixture
def director(monkeypatch: pytest.MonkeyPatch) -> Iterator[Director]:
    director = Director()
    monkeypatch.setattr("tui.screens.chat.connection.ChatClient", director.start)
    yield director
    await_true(lambda: director.open_now == 0, "the end of each process, with its screen")


@pytest.fixture
def two(idle_cockpit: Cockpit) -> Cockpit:
    """Two finished rounds with adapters; the second is under the cursor."""
    for _ in range(2):
        idle_cockpit.store.add(lambda number: give_adapter(idle_cockpit.workspace, make_round(number)))
    return idle_cockpit


def notices(pilot: AppPilot) -> str:
    return " ".join(notice.message for notice in pilot.app._notifications)


def saved_chats(cockpit: Cockpit) -> list[Chat]:
    directory = cockpit.workspace.conversations_dir
    return [ChatFile(cockpit.workspace).read(path) for path in sorted(directory.glob("*.json"))]


async def test_chat_with_the_selected_round_remembers_its_messages(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        assert director.openings[0].adapters == {"0002-00c0ffee": "runs/0002-00c0ffee/adapter"}
        assert "round 2  chat template" in shown(pilot, "#speakers")
        assert "some/model · float32 on cpu" in shown(pilot, "#title")
        await pilot.press(*"hello", "enter")
        await answered(pilot, screen)
        assert "› hello\n\n0002-00c0ffee heard 1: hello\n" in transcript(pilot)
        assert "12 tokens · 24.0 tokens/s · 42 of 2,048 positions" in transcript(pilot)
        await say(pilot, screen, "again")
        assert [message.content for message in director.questions[1].messages] == [
            "hello", "0002-00c0ffee heard 1: hello", "again",
        ]  # fmt: skip
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        await until(pilot, lambda: director.open_now == 0, "the end of the process")
        assert [len(chat.exchanges) for chat in saved_chats(two)] == [2]


async def test_marked_rounds_answer_side_by_side_and_each_remembers_its_own_answers(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    async with open_app(two, size=(120, 36)) as pilot:
        screen = await open_chat(pilot, "space", "up", "space")
        await say(pilot, screen, "hello")
        await say(pilot, screen, "again")
        assert [(question.adapter, question.messages[-2].content) for question in director.questions[2:]] == [
            ("0001-00c0ffee", "0001-00c0ffee heard 1: hello"), ("0002-00c0ffee", "0002-00c0ffee heard 1: hello"),
        ]  # fmt: skip
        line = next(line for line in transcript(pilot).splitlines() if "0001-00c0ffee heard 1" in line)
        assert "│ 0002-00c0ffee heard 1: hello" in line
        await pilot.resize_terminal(80, 24)
        await pilot.press("ctrl+b")
        await say(pilot, screen, "all three")
        assert "round 1\n0001-00c0ffee heard 5: all three\n" in transcript(pilot), (
            "beneath each other where it is narrow"
        )


async def test_base_model_is_added_and_removed(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "alone")
        await pilot.press("ctrl+b")
        assert "base model" in shown(pilot, "#speakers")
        await say(pilot, screen, "both")
        questions = [(question.adapter, len(question.messages)) for question in director.questions[1:]]
        assert questions == [("0002-00c0ffee", 3), (None, 1)]
        await pilot.press("ctrl+b")
        await say(pilot, screen, "alone again")
        assert len(director.questions) == 4
        assert "base heard 1: both" in transcript(pilot), "its answer stays"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": Status.IMPORTED}, "imported without its adapter"),
        ({"status": Status.RUNNING}, "is still training"),
        ({"spec": make_spec(model__path="other/model")}, "differ in their base model"),
        ({"spec": make_spec(lora__bias="all")}, "trained biases of the base model"),
    ],
)
async def test_round_without_a_usable_adapter_says_why(
    open_app: OpenApp, two: Cockpit, director: Director, changes: dict[str, Any], words: str
) -> None:
    if "status" in changes:
        (two.workspace.run_dir("0002-00c0ffee").adapter / "adapter_config.json").unlink()
    two.store.update(2, **changes)
    async with open_app(two) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the rounds")
        await pilot.press("g", "space", "G", "space", "t")
        await until(pilot, lambda: words in notices(pilot), words)
        assert on_screen(pilot, "RoundsScreen")
    assert director.openings == []


async def test_growing_answer_is_shown_and_can_be_stopped(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    director.say = director.until_stopped
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: "I begin" in transcript(pilot), "its first words")
        assert "round 2 answers: ctrl+x stops it" in shown(pilot, "#chat-status")
        await pilot.press(*"more", "enter")
        assert "ctrl+x to stop it" in notices(pilot) and screen.message.value == "more", (
            "the message stays in the field"
        )
        await pilot.press("ctrl+x")
        await answered(pilot, screen)
        assert "2 tokens · 2.0 tokens/s · 7 of 2,048 positions · stopped" in transcript(pilot)


async def test_escape_stops_the_answer_and_then_leaves(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    release = threading.Event()

    def deaf(question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        yield TextDelta("I go on")
        release.wait()
        raise ProcessEnded("closed")

    director.say = deaf
    async with open_app(two) as pilot:
        await open_chat(pilot)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: "I go on" in transcript(pilot), "its first words")
        await pilot.press("escape")
        assert on_screen(pilot, "ChatScreen") and "esc leaves" in shown(pilot, "#chat-status")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        release.set()
    (conversation,) = saved_chats(two)
    (answer,) = conversation.exchanges[0].answers.values()
    assert (answer.text, answer.ending) == ("I go on", "stopped"), "the text so far is saved"


async def test_settings_are_changed_for_the_next_question(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: on_screen(pilot, "ChatSettingsScreen"), "the settings")
        for name, text in (("temperature", "11"), ("prompt_template", "alpaca"), ("system", "Be brief.␊Be kind.")):
            pilot.app.screen.query_one(f"#setting-{name}", Input).value = text
        await pilot.press("enter")
        assert "temperature is '11': it must be a number at least 0 and at most 10" in shown(pilot, "#setting-error")
        pilot.app.screen.query_one("#setting-temperature", Input).value = "0"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: on_screen(pilot, "ChatScreen"), "the conversation")
        assert "round 2  Alpaca's prompt" in shown(pilot, "#speakers")
        assert "temperature 0 · top-p 0.95" in shown(pilot, "#chat-status")
        await say(pilot, screen, "hello")
    (question,) = director.questions
    assert (question.temperature, question.prompt_template) == (0.0, "alpaca")
    assert [message.content for message in question.messages] == ["Be brief.\nBe kind.", "hello"]


async def test_last_message_is_taken_back_into_the_field(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "one\ntwo")
        await pilot.press("x", "ctrl+r")
        assert "clear it with ctrl+u first" in notices(pilot) and len(screen.conversation.exchanges) == 1
        await pilot.press("backspace", "ctrl+r")
        assert screen.message.value == "one␊two"
        await pilot.press("!", "enter")
        await answered(pilot, screen)
        assert [exchange.message for exchange in screen.conversation.exchanges] == ["one\ntwo!"]
        assert len(director.questions[1].messages) == 1


async def test_chat_is_started_again_saved_under_a_name_and_opened_again(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "first")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: on_screen(pilot, "AskScreen"), "the question")
        pilot.app.screen.query_one(Input).value = "of lamps"
        await pilot.press("enter")
        await until(pilot, lambda: "saved as of lamps" in shown(pilot, "#title"), "the name")
        assert os.listdir(two.workspace.conversations_dir) == ["of lamps.json"]
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not screen.conversation.exchanges, "a new one")
        assert "No messages yet" in transcript(pilot)
        await say(pilot, screen, "second")
        assert len(director.questions[-1].messages) == 1 and len(director.openings) == 1, "the model stays loaded"
        assert len(saved_chats(two)) == 2
        await pilot.press("ctrl+f")
        await until(pilot, lambda: on_screen(pilot, "ChooseScreen"), "the choice")
        options = pilot.app.screen.query_one(OptionList)
        titles = [str(options.get_option_at_index(place).prompt) for place in range(options.option_count)]
        assert any("of lamps\nround 2 · 1 exchange · first" in title for title in titles)
        options.highlighted = next(place for place, title in enumerate(titles) if "of lamps" in title)
        await pilot.press("enter")
        await until(pilot, lambda: "› first" in transcript(pilot), "the first conversation")
        await say(pilot, screen, "and on")
        assert len(director.questions[-1].messages) == 3
        assert sorted(len(chat.exchanges) for chat in saved_chats(two)) == [1, 2], "each in its own file"


async def test_one_side_is_exported_as_rows_to_train_on(
    open_app: OpenApp, two: Cockpit, director: Director, tmp_path: Path
) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot, "space", "up", "space")
        await say(pilot, screen, "hello")
        for file in ("", str(tmp_path / "rows.jsonl"), str(tmp_path / "rows.jsonl")):
            await pilot.press("ctrl+e")
            await until(pilot, lambda: on_screen(pilot, "ChooseScreen"), "whose side")
            await pilot.press("down", "enter")
            await until(pilot, lambda: on_screen(pilot, "AskScreen"), "which file")
            if file:
                pilot.app.screen.query_one(Input).value = file
            await pilot.press("enter")
            await until(pilot, lambda: "round 2's answers are an example in" in notices(pilot), "the end")
            pilot.app.clear_notifications()
        assert (two.workspace.conversations_dir / "examples.jsonl").read_text().count("\n") == 1
        rows = read_rows(tmp_path / "rows.jsonl", DataSpec("rows.jsonl"))
        assert rows.format.name == "messages" and len(rows.usable) == 2
        first = rows.usable[0]
        assert isinstance(first, ConversationRow)
        assert first.turns[1] == Turn("assistant", "0002-00c0ffee heard 1: hello", supervised=True)


async def test_last_answers_are_copied(
    open_app: OpenApp, two: Cockpit, director: Director, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    async with open_app(two) as pilot:
        monkeypatch.setattr(pilot.app, "copy_to_clipboard", copied.append)
        screen = await open_chat(pilot)
        await say(pilot, screen, "one")
        await pilot.press("ctrl+y", "ctrl+b")
        await say(pilot, screen, "two")
        await pilot.press("ctrl+y")
    assert copied == [
        "0002-00c0ffee heard 1: one", "round 2:\n0002-00c0ffee heard 3: two\n\nbase model:\nbase heard 1: two",
    ]  # fmt: skip


async def test_refused_question_is_shown_and_the_next_one_answered(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    def too_long(question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        if len(question.messages[-1].content) > 10:
            raise LoratuiError("the conversation has 9,000 tokens by now")
        return echo(question)

    director.say = too_long
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "far too long a message")
        assert "› far too long a message\n\n✗ the conversation has 9,000 tokens by now" in transcript(pilot)
        await say(pilot, screen, "short")
        assert "0002-00c0ffee heard 1: short" in transcript(pilot)
        assert len(director.openings) == 1 and [len(chat.exchanges) for chat in saved_chats(two)] == [2]


async def test_process_that_died_is_reported_and_replaced(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    def die(question: AnswerRequest) -> Iterator[TextDelta | Complete]:
        yield TextDelta("half an ans")
        raise ProcessEnded("the model ended without an answer: Killed")

    director.say = die
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await pilot.press("ctrl+b")
        await say(pilot, screen, "hello")
        assert "half an ans" in transcript(pilot) and "✗ the model ended without an answer:" in transcript(pilot)
        assert len(director.questions) == 1, "a dead process is not asked"
        assert "enter tries again: the model ended without an answer: Killed" in shown(pilot, "#chat-status")
        await until(pilot, lambda: director.open_now == 0, "the end of the process")
        director.say = echo
        await say(pilot, screen, "go on")
        assert [message.content for message in director.questions[1].messages] == ["hello", "half an ans", "go on"]
        assert len(director.openings) == 2


async def test_model_that_cannot_be_loaded_is_reported_and_no_message_is_lost(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    director.opens = ModelError("model.path is 'some/model': there is no such directory")
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        assert "enter tries again: model.path is 'some/model': there is no such directory" in shown(
            pilot, "#chat-status"
        )
        await say(pilot, screen, "hello")
        assert "✗ model.path is 'some/model': there is no such directory" in transcript(pilot)
        director.opens = Loaded("cpu", "float32", 2048)
        await pilot.press("enter")
        await until(pilot, lambda: "float32" in shown(pilot, "#title"), "the model")
        await pilot.press("ctrl+r", "enter")
        await answered(pilot, screen)
        assert "0002-00c0ffee heard 1: hello" in transcript(pilot)
        assert [len(chat.exchanges) for chat in saved_chats(two)] == [1]


async def test_adapter_that_cannot_be_used_is_reported_and_the_other_answers(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    director.opens = Loaded("cpu", "float32", 2048, {"0001-00c0ffee": "the adapter is damaged"})
    async with open_app(two) as pilot:
        screen = await open_chat(pilot, "space", "up", "space")
        assert "round 1  ✗ the adapter is damaged" in shown(pilot, "#speakers")
        await say(pilot, screen, "hello")
        assert [question.adapter for question in director.questions] == ["0002-00c0ffee"]


async def test_leaving_asks_before_something_is_lost(
    open_app: OpenApp, two: Cockpit, director: Director, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))  # where no draft can be kept
    two.drafts = Drafts(two.workspace.root)
    async with open_app(two) as pilot:
        await open_chat(pilot)
        await pilot.press(*"half", "escape")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "ChatScreen"), "the conversation")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("n", "ctrl+u", "escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


async def test_chat_that_cannot_be_saved_is_saved_later_and_not_left_without_asking(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    two.workspace.conversations_dir.write_text("a file in its place")
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "hello")
        await until(pilot, lambda: "the conversation could not be saved in" in shown(pilot, "#banner"), "the banner")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("n")
        two.workspace.conversations_dir.unlink()
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "saved as" in shown(pilot, "#title"), "the file")
        assert [chat.exchanges for chat in saved_chats(two)] == [screen.conversation.exchanges]
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


async def test_chat_in_a_read_only_workspace_writes_nothing(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    async with open_app(Cockpit(two.workspace, lambda _: None, readonly=True)) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "hello")
        assert "heard 1: hello" in transcript(pilot)
        for key in ("ctrl+s", "ctrl+e"):
            await pilot.press(key)
            await until(
                pilot, lambda: "is open for reading only: leave --readonly out" in notices(pilot), "the refusal"
            )
            pilot.app.clear_notifications()
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("y")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
    assert not two.workspace.conversations_dir.exists()


async def test_pasted_line_breaks_are_kept(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        screen.query_one(ChatInput).post_message(Paste("one\r\n\ttwo\nthree"))
        await until(pilot, lambda: screen.message.value == "one␊␉two␊three", "the paste")
        await pilot.press("ctrl+j", "!", "enter")
        await answered(pilot, screen)
    assert director.questions[0].messages[-1].content == "one\n\ttwo\nthree\n!"


async def test_long_lines_are_broken_before_the_scrollbar(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "a" * 78 * 40)
        view = screen.query_one(Transcript)
        assert view.max_scroll_y > 0
        width = view.scrollable_content_region.width
        lines = transcript(pilot).splitlines()
        assert {len(line) for line in lines[:30]} == {width}
        assert "".join(lines).count("a") >= 2 * 78 * 40


async def test_view_that_is_scrolled_back_stays_while_an_answer_grows(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "line\n" * 60)
        view = screen.query_one(Transcript)
        end = view.scroll_offset.y
        assert end == view.max_scroll_y > 0
        await pilot.press("pageup")
        await until(pilot, lambda: view.scroll_offset.y < end, "the page before")
        place = view.scroll_offset.y
        director.say = director.until_stopped
        screen._say("go on", ["0002-00c0ffee"])
        view.following = False
        view.scroll_to(y=place, animate=False, immediate=True)
        await until(pilot, lambda: "I begin" in transcript(pilot), "its first words")
        assert view.scroll_offset.y == place
        await pilot.press("ctrl+end", "ctrl+x")
        await answered(pilot, screen)
        assert view.scroll_offset.y == view.max_scroll_y


async def test_saved_chat_with_a_deleted_round_can_be_read_and_exported(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await say(pilot, screen, "hello")
        speakers = tuple(
            msgspec.structs.replace(speaker, key="0009-gone", number=9) for speaker in screen.conversation.speakers
        )
        answers = {"0009-gone": next(iter(screen.conversation.exchanges[0].answers.values()))}
        exchange = msgspec.structs.replace(screen.conversation.exchanges[0], answers=answers)
        foreign = msgspec.structs.replace(screen.conversation, speakers=speakers, exchanges=(exchange,))
        ChatFile(two.workspace).save(foreign, "foreign")
        await screen._open_saved(two.workspace.conversations_dir / "foreign.json")
        await until(
            pilot, lambda: "round 9 of this conversation is not in this workspace" in shown(pilot, "#speakers"), "9"
        )
        await pilot.press(*"hm", "enter")
        assert "is not in this workspace" in notices(pilot) and screen.message.value == "hm"
        assert "heard 1: hello" in transcript(pilot)


async def test_message_that_was_not_sent_is_there_again(open_app: OpenApp, two: Cockpit, director: Director) -> None:
    async with open_app(two) as pilot:
        await open_chat(pilot)
        await pilot.press(*"half", "ctrl+j", *"a thought", "escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
    async with open_app(Cockpit(two.workspace, lambda _: None)) as pilot:
        screen = await open_chat(pilot)
        await until(pilot, lambda: screen.message.text == "half\na thought", "the message")
        assert "was not sent" in notices(pilot)
        await pilot.press("enter")
        await answered(pilot, screen)
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        screen = await open_chat(pilot)
        await pilot.press("x")
        assert screen.message.text == "x"


async def test_settings_left_with_escape_are_offered_and_not_applied(
    open_app: OpenApp, two: Cockpit, director: Director
) -> None:
    async with open_app(two) as pilot:
        screen = await open_chat(pilot)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: on_screen(pilot, "ChatSettingsScreen"), "the settings")
        system = pilot.app.screen.query_one("#setting-system", ChatInput)
        system.focus()
        await pilot.pause()
        await pilot.press(*"You are terse", "escape")
        await until(pilot, lambda: pilot.app.screen is screen, "the chat")
        assert screen.conversation.settings.system == ""
        await pilot.press("ctrl+o")
        await until(pilot, lambda: on_screen(pilot, "ChatSettingsScreen"), "the settings")
        system = pilot.app.screen.query_one("#setting-system", ChatInput)
        assert system.text == "You are terse"
        system.focus()
        await pilot.pause()
        await pilot.press("ctrl+r")
        assert system.text == ""
        await pilot.press("ctrl+r", "enter")
        await until(pilot, lambda: pilot.app.screen is screen, "the chat")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: on_screen(pilot, "ChatSettingsScreen"), "the settings")
        assert pilot.app.screen.query_one("#setting-system", ChatInput).text == ""
