"""Text about the speakers of a chat."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content

from engine.chat.conversation import Chat
from tui.terminal.console import clean_line

TEMPLATES = {
    "auto": "chat template", "chat_template": "chat template", "alpaca": "Alpaca's prompt", "{prompt}": "no template",
}  # fmt: skip


def speakers_line(conversation: Chat, silent: Mapping[str, str], width: int) -> Content:
    """Return each speaker with its prompt template, on one line if all fit into `width` cells.

    Args:
        silent: by their keys, the speakers that cannot answer, and why.
    """
    parts = []
    for speaker in conversation.speakers:
        name = speaker.called
        if speaker.number is not None:
            name = f"{name} {clean_line(speaker.name)}".rstrip()
        template = conversation.template_of(speaker)
        words = TEMPLATES.get(template, f"own prompt {clean_line(template)}")
        reason = silent.get(speaker.key)
        text = (f"  {words}", "$text-muted") if reason is None else (f"  ✗ {clean_line(reason)}", "$text-error")
        parts.append(Content.assemble((name, "bold"), text))
    line = Content("   ").join(parts)
    return line if line.cell_length <= width and not silent else Content("\n").join(parts)


def summary_of(conversation: Chat) -> str:
    """Return its speakers, its length and its first message, as one line."""
    speakers = ", ".join(speaker.called for speaker in conversation.speakers)
    count = len(conversation.exchanges)
    first = conversation.exchanges[0].message if conversation.exchanges else ""
    return f"{speakers} · {count} exchange{'s' * (count != 1)} · {first}"
