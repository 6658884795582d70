from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.rows import AlpacaRow, Conversation, PlainText, PromptCompletion, Row, Turn
from engine.dataset.templates import advice, as_conversation, refusal, render_prompt
from engine.errors import SpecError
from engine.spec.fields import parse_value

ALPACA = AlpacaRow("Add", "4", "2 and 2")
PAIR = PromptCompletion("Two and two?", "4")
CHAT = Conversation((Turn("user", "hi"), Turn("assistant", "ho", supervised=True)))
WITH_SYSTEM = AlpacaRow("Add", "4", system="be brief")
WITH_HISTORY = AlpacaRow("Add", "4", history=(("One", "1"),))


@pytest.mark.parametrize(
    ("row", "template", "prompt"),
    [
        (PAIR, "auto", "Two and two?"),
        (PAIR, "{prompt}\\n", "Two and two?\n"),
        (PAIR, "Q: {instruction}{input}\\tA: ", "Q: Two and two?\tA: "),
        (ALPACA, "{instruction}: {input} =", "Add: 2 and 2 ="),
        (ALPACA, "{prompt}\\n->", "Add\n2 and 2\n->"),
        (AlpacaRow("Add", "4", " "), "{prompt}.", "Add."),
        (ALPACA, "{{{instruction}}}\\\\n{input}", "{Add}\\n2 and 2"),
        (AlpacaRow("{input} \\n {x}", "4", "{y}"), "{instruction} {input}", "{input} \\n {x} {y}"),
    ],
)
def test_template_of_ones_own_is_filled(row: AlpacaRow | PromptCompletion, template: str, prompt: str) -> None:
    assert parse_value("data.prompt_template", template) == template
    assert render_prompt(row, template) == prompt


def test_context_follows_the_question() -> None:
    row = PromptCompletion("Where is it?", "In.", "The lamp is in.")
    assert render_prompt(row) == "Where is it?\nThe lamp is in."
    assert render_prompt(row, "{input}|{prompt}") == "The lamp is in.|Where is it?\nThe lamp is in."


def test_alpacas_prompts_take_a_prompt_as_the_instruction() -> None:
    assert render_prompt(PAIR, "alpaca") == render_prompt(AlpacaRow("Two and two?", "4"))


@pytest.mark.parametrize(
    "template",
    ["", " auto", "auto\n", "alpacas", "no placeholder", "{input}", "{question}", "{prompt.__class__}", "{prompt!r}",
     "{prompt:>9999999999}", "{0}{prompt}", "{prompt}{", "{prompt}}", "{{prompt}}", "{prompt}{output}"],
)  # fmt: skip
def test_bad_template_is_refused_with_what_is_allowed(template: str) -> None:
    with pytest.raises(SpecError, match=r"it must be auto, alpaca, chat_template, or your own text up to the response"):
        parse_value("data.prompt_template", template)


@given(st.text(alphabet="{}prom ti\\n\n"))
def test_template_that_is_allowed_can_be_filled(template: str) -> None:
    try:
        parse_value("data.prompt_template", template)
    except SpecError:
        return
    assert "\x00" in render_prompt(PromptCompletion("\x00", ""), template)


@pytest.mark.parametrize(
    ("row", "template", "reason"),
    [
        (CHAT, "alpaca", "it is a conversation, which only the chat template renders: set data.prompt_template"),
        (CHAT, "{prompt}", "it is a conversation"),
        (PlainText("x"), "chat_template", "it is text, which has no prompt: set data.prompt_template to auto"),
        (WITH_SYSTEM, "auto", None),
        (WITH_SYSTEM, "alpaca", "it has a system message, which only the chat template renders"),
        (WITH_HISTORY, "{instruction}", "it has a history, which only the chat template renders"),
        (ALPACA, "{instruction}", "its input has no place in data.prompt_template: put {input} in it, or {prompt}"),
        (ALPACA, "{prompt}", None),
        (ALPACA, "{instruction}{input}", None),
        (AlpacaRow("Add", "4"), "{instruction}", None),
        (ALPACA, "auto", None),
        (ALPACA, "alpaca", None),
        (ALPACA, "chat_template", None),
        (WITH_HISTORY, "chat_template", None),
        (CHAT, "auto", None),
        (CHAT, "chat_template", None),
        (PAIR, "auto", None),
        (PAIR, "chat_template", None),
        (PAIR, "{prompt}", None),
        (PlainText("x"), "auto", None),
    ],
)
def test_row_that_a_template_cannot_render_says_why(row: Row, template: str, reason: str | None) -> None:
    actual = refusal(row, template)
    assert (actual or "").startswith(reason or "") and (actual is None) == (reason is None)


def test_alpaca_row_becomes_turns() -> None:
    row = AlpacaRow("Add", "4", "2 and 2", "be brief", (("One", "1"), ("Two", "")))
    assert as_conversation(row).turns == (
        Turn("system", "be brief"),
        Turn("user", "One"),
        Turn("assistant", "1", supervised=True),
        Turn("user", "Two"),
        Turn("assistant", ""),
        Turn("user", "Add\n2 and 2"),
        Turn("assistant", "4", supervised=True),
    )
    assert as_conversation(PAIR).turns == (Turn("user", "Two and two?"), Turn("assistant", "4", supervised=True))


@pytest.mark.parametrize(
    ("row", "template", "warned"),
    [
        (PAIR, "auto", True),
        (PromptCompletion("a:", " b"), "auto", False),
        (PromptCompletion("a\n", "b"), "auto", False),
        (PromptCompletion("", "b"), "auto", False),
        (PAIR, "chat_template", False),
        (ALPACA, "auto", False),
    ],
)
def test_prompt_that_runs_into_its_completion_is_warned_of(row: Row, template: str, warned: bool) -> None:
    assert (advice(row, template) is not None) == warned
