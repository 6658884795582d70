"""Who takes part in a conversation, in words."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content

from engine.chat.conversation import Chat
from tui.terminal.console import clean_line

TEMPLATES = {
    "auto": "chat template", "chat_template": "chat template", "alpaca": "Alpaca's prompt", "{prompt}": "as it stands",
}  # fmt: skip


def speakers_line(conversation: Chat, silent: Mapping[str, str], width: int) -> Content:
    """Each with what it is asked in, or why it is `silent`; on one line if they fit into `width` cells."""
    parts = []
    for item in conversation.speakers:
        name = f"{item.called} {clean_line(item.name)}".rstrip() if item.number is not None else item.called
        template = conversation.template_of(item)
        asked_in = TEMPLATES.get(template, f"own prompt {clean_line(template)}")
        reason = silent.get(item.key)
        told = (f"  {asked_in}", "$text-muted") if reason is None else (f"  ✗ {clean_line(reason)}", "$text-error")
        parts.append(Content.assemble((name, "bold"), told))
    line = Content("   ").join(parts)
    return line if line.cell_length <= width and not silent else Content("\n").join(parts)


def beginning_of(conversation: Chat) -> str:
    """With whom it is, how long it is by now, and how it began."""
    with_whom = ", ".join(item.called for item in conversation.speakers)
    many = len(conversation.exchanges)
    first = conversation.exchanges[0].message if conversation.exchanges else ""
    return f"{with_whom} · {many} exchange{'s' * (many != 1)} · {first}"
