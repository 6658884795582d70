"""The conversation screen with the real process: nano, an adapter on it, and the base model beside."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from engine.api import Cockpit
from engine.chat.conversation import BASE, ChatSettings
from engine.chat.history import ChatFile
from engine.spec.presets import EMBEDDED, embedded_model
from tests.support.chat_pilot import open_chat, say, transcript
from tests.support.pilot import OpenApp, shown, until
from tests.support.rounds import make_round, make_spec

pytestmark = pytest.mark.timeout(180)


async def test_nano_is_talked_to_stopped_and_asked_too_much(open_app: OpenApp, idle_cockpit: Cockpit) -> None:
    round_ = make_round(1, spec=make_spec(model__path=EMBEDDED, data__prompt_template="alpaca"))
    idle_cockpit.store.add(lambda _: round_)
    torch.manual_seed(0)  # some adapters of chance have nothing else to say in eight tokens
    base = AutoModelForCausalLM.from_pretrained(embedded_model())
    config = LoraConfig(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    run = idle_cockpit.workspace.run_dir(round_.id)
    get_peft_model(base, config).save_pretrained(str(run.adapter))
    async with open_app(idle_cockpit) as pilot:
        screen = await open_chat(pilot)
        assert "Alpaca's prompt" in shown(pilot, "#speakers")
        screen.conversation = screen.conversation.with_settings(ChatSettings(temperature=0.0, max_new_tokens=8))
        await pilot.press("ctrl+b")
        await say(pilot, screen, "What is a lamp?")
        answers = screen.conversation.exchanges[0].answers
        assert set(answers) == {round_.id, BASE} and all(item.tokens for item in answers.values())
        assert answers[round_.id].text != answers[BASE].text, "each with its own words"
        screen.conversation = screen.conversation.with_base(False).with_settings(
            ChatSettings(temperature=10.0, top_p=1.0, max_new_tokens=4096, seed=3)
        )
        screen.message.put("Go on.")
        await pilot.press("enter")
        await until(pilot, lambda: bool(screen._growing), "its first words")
        await pilot.press("ctrl+x")
        await until(pilot, lambda: not screen.busy, "its end")
        stopped = screen.conversation.exchanges[1].answers[round_.id]
        assert (stopped.ending, bool(stopped.text)) == ("stopped", True)
        await say(pilot, screen, "the lamp by the river " * 200)
        assert "✗ the conversation has" in transcript(pilot) and "positions for" in transcript(pilot)
        conversation = screen.conversation
        await pilot.press("escape")
    (path,) = idle_cockpit.workspace.conversations_dir.glob("*.json")
    assert ChatFile(idle_cockpit.workspace).read(path) == conversation
