"""Appending a chat to a file of examples to train on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from textual import work

from engine.chat.conversation import Chat
from engine.chat.history import EXAMPLES, append_example, make_conversations_directory
from engine.errors import FileError, LoratuiError
from engine.files.paths import expanded
from tui.messages import ActionDone, ActionFailed
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.workspace_screen import WorkspaceScreen


@work(group="save", exclusive=True)
async def export_example(screen: WorkspaceScreen, conversation: Chat) -> None:
    """Append the messages and one speaker's answers to a file; ask on `screen` whose answers, and which file."""
    speakers = [one for one in conversation.speakers if conversation.example_of(one.key)]
    if not speakers:
        screen.notify("there is no answer yet that could be an example", severity="warning", markup=False)
        return
    index: int | None = 0
    if len(speakers) > 1:
        options = [(speaker.called, speaker.name) for speaker in speakers]
        index = await screen.app.push_screen_wait(ChooseScreen("Whose answers are the example?", options))
    if index is None:
        return
    default = f"{screen.cockpit.workspace.conversations_dir.name}/{EXAMPLES}"
    drafting = await screen.begin_draft("file for examples")
    file = await screen.app.push_screen_wait(AskScreen("Append the example to", default, _check_file, drafting))
    if file is not None:
        await _append(screen, conversation, speakers[index].key, file)


async def _append(screen: WorkspaceScreen, conversation: Chat, key: str, file: str) -> None:
    workspace = screen.cockpit.workspace
    path = workspace.root / expanded(Path(file))
    try:
        if path.parent == workspace.conversations_dir:
            await asyncio.to_thread(make_conversations_directory, workspace)
        await asyncio.to_thread(append_example, path, conversation, key)
    except LoratuiError as error:
        screen.post_message(ActionFailed(error))
        return
    answers = [exchange.answers[key] for exchange in conversation.exchanges if key in exchange.answers]
    cut = any(answer.ending != "complete" for answer in answers)
    warning = "; one of its answers was cut short" if cut else ""
    screen.post_message(ActionDone(f"{conversation.speaker(key).called}'s answers are an example in {path}{warning}"))


def _check_file(file: str) -> None:
    if not file or "\0" in file:
        raise FileError("give the name of a file, such as conversations/examples.jsonl")
