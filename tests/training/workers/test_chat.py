"""Talking to adapters by the real process: whose words they are, in which template, stopped and refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from peft import PeftModel
from transformers import AutoTokenizer

from engine.chat.client import ChatClient, talks_among
from engine.chat.protocol import AnswerRequest, Complete, LoadRequest, Message, TextDelta
from engine.errors import LoratuiError, ProcessEnded
from engine.files.paths import RunDir
from engine.runs.events import AnyEvent
from engine.spec.presets import embedded_model
from engine.spec.schema import ModelSpec
from engine.training.workers.chat_model import ChatModel
from engine.training.workers.stop_flag import StopFlag
from tests.support.plain import WITHOUT_INPUT, load, plain_answer
from tests.support.rounds_to_train import POSITIONS, as_in_the_engine, make_run, train_here
from tests.support.waiting import await_true

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.timeout(120)]

GREEDY = {"temperature": 0.0, "max_new_tokens": 40}


def asked(adapter: str | None, *turns: str, **options: Any) -> AnswerRequest:
    """A question after turns of user and assistant, by turns."""
    messages = tuple(Message("assistant" if place % 2 else "user", text) for place, text in enumerate(turns))
    return AnswerRequest(adapter, messages, **{**GREEDY, **options})


def answer(talk: ChatClient, question: AnswerRequest) -> Complete:
    """The whole answer, whose pieces must add up to it."""
    *pieces, last = talk.ask(question)
    assert isinstance(last, Complete)
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)).strip() == last.text.strip()
    return last


@pytest.fixture(scope="module")
def two_runs(
    reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[RunDir]:
    other = make_run(tmp_path_factory.mktemp("other") / "run", tiny_model, train__seed=5, lora__r=2)
    train_here(other)
    return [reference[0], other]


@pytest.fixture(scope="module")
def talk(two_runs: list[RunDir], tiny_model: Path) -> Iterator[ChatClient]:
    adapters = {f"round {number}": str(run.adapter) for number, run in enumerate(two_runs, 1)}
    with ChatClient(LoadRequest(ModelSpec(str(tiny_model), dtype="float32"), adapters)) as talk:
        loaded = talk.loaded()
        assert (loaded.device, loaded.dtype, loaded.positions) == ("cpu", "float32", POSITIONS)
        yield talk


def test_each_adapter_and_the_base_model_answer_with_their_own_words(
    talk: ChatClient, two_runs: list[RunDir], tiny_model: Path
) -> None:
    """Asked by turns, and each answer held against the plainest greedy decoding of that model by itself."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    models = {None: load(tiny_model)} | {
        f"round {number}": PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()
        for number, run in enumerate(two_runs, 1)
    }
    said = "Say three times what a lamp is"
    wanted = {
        name: plain_answer(model, tokenizer, WITHOUT_INPUT.format(instruction=said), 40)
        for name, model in models.items()
    }
    assert len(set(wanted.values())) == 3
    for name in (None, "round 1", "round 2", None, "round 2", "round 1"):
        found = answer(talk, asked(name, said, prompt_template="alpaca"))
        assert found.text.strip() == wanted[name]


def test_conversation_goes_through_the_chat_template(talk: ChatClient, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    turns = ("What is a lamp?", "a lamp is a lamp", "And a river?")
    prompt = "".join(
        f"USER: {text}\n" if index % 2 == 0 else f"ASSISTANT: {text}{tokenizer.eos_token}\n"
        for index, text in enumerate(turns)
    )
    prompt = f"{tokenizer.bos_token or ''}{prompt}ASSISTANT:" if tokenizer.add_bos_token else f"{prompt}ASSISTANT:"
    found = answer(talk, asked(None, *turns))
    tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert found.prompt_tokens == len(tokens)
    assert found.text.strip() == _decoded(load(tiny_model), tokenizer, tokens)


def _decoded(model: Any, tokenizer: Any, tokens: list[int]) -> str:
    import torch

    start = len(tokens)
    while len(tokens) < min(start + 40, POSITIONS) and tokenizer.eos_token_id not in tokens[start:]:
        with torch.no_grad():
            tokens = [*tokens, int(model(torch.tensor([tokens])).logits[0, -1].argmax())]
    return str(tokenizer.decode(tokens[start:], skip_special_tokens=True)).strip()


def test_seed_decides_what_chance_says(talk: ChatClient) -> None:
    def say(seed: int) -> str:
        return answer(talk, asked("round 1", "Say what a lamp is", temperature=1.5, top_p=1.0, seed=seed)).text

    assert say(1) == say(1)
    assert len({say(seed) for seed in range(4)}) > 1


def test_ending_is_told(talk: ChatClient) -> None:
    cut = answer(talk, asked(None, "Say what a lamp is", max_new_tokens=3))
    assert (cut.ending, cut.tokens) == ("cut", 3)


def test_conversation_past_the_last_position_is_refused_and_the_next_one_answered(talk: ChatClient) -> None:
    with pytest.raises(
        LoratuiError, match=rf"the conversation has \d+ tokens by now, and the model has .* {POSITIONS}"
    ):
        list(talk.ask(asked(None, "lamp " * 400)))
    assert answer(talk, asked(None, "Say what a lamp is", max_new_tokens=2)).tokens == 2


def test_answer_is_cut_at_the_last_position(talk: ChatClient) -> None:
    short = answer(talk, asked(None, "a", max_new_tokens=1, prompt_template="{prompt}"))
    found = answer(talk, asked(None, "a " * 60, max_new_tokens=400, prompt_template="{prompt}"))
    assert short.prompt_tokens < found.prompt_tokens
    assert found.ending == "complete" or found.prompt_tokens + found.tokens == POSITIONS


def test_answer_is_stopped_and_the_next_one_is_made() -> None:
    """At its first piece, of a model that takes a second for all that it has positions for."""
    said = AnswerRequest(None, (Message("user", "Go on."),), temperature=10.0, top_p=1.0, max_new_tokens=4096, seed=3)
    with ChatClient(LoadRequest(ModelSpec(str(embedded_model()), dtype="float32"), {})) as talk:
        positions = talk.loaded().positions
        assert positions is not None
        pieces = talk.ask(said)
        next(pieces)
        talk.stop()
        *_, last = pieces
        assert isinstance(last, Complete)
        assert last.ending == "stopped" and last.prompt_tokens + last.tokens < positions
        assert answer(talk, asked(None, "Go on.", max_new_tokens=2)).tokens == 2


def test_stop_without_an_answer_ends_nothing(talk: ChatClient) -> None:
    talk.stop()
    assert answer(talk, asked(None, "Say what a lamp is", max_new_tokens=2)).tokens == 2


def damage(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"\0" * 100)


def take_away(adapter: Path) -> None:
    shutil.rmtree(adapter)


def change_rank(adapter: Path) -> None:
    """So that its weights no longer fit the layers that are made for them."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": config["r"] + 1}))


@pytest.mark.parametrize("harm", [damage, take_away, change_rank])
@pytest.mark.parametrize("first", [True, False])
def test_adapter_that_cannot_be_used_is_told_and_the_others_answer_as_if_it_were_not_there(
    two_runs: list[RunDir], tiny_model: Path, tmp_path: Path, harm: Callable[[Path], None], first: bool
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(two_runs[0].adapter, adapter)
    harm(adapter)
    bad, good = {"bad": str(adapter)}, {"round 2": str(two_runs[1].adapter)}
    request = LoadRequest(ModelSpec(str(tiny_model), dtype="float32"), bad | good if first else good | bad)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with as_in_the_engine():
        speakers = ChatModel(request)
        assert list(speakers.unusable) == ["bad"]
        assert f"the adapter in {adapter} cannot be put on" in speakers.unusable["bad"]
        with pytest.raises(LoratuiError, match="cannot be put on"):
            speakers.tokenizer_of("bad")
        models = {
            None: load(tiny_model),
            "round 2": PeftModel.from_pretrained(load(tiny_model), good["round 2"]).eval(),
        }
        for name, model in models.items():
            question = asked(name, "Say what a lamp is", prompt_template="alpaca")
            pieces: list[str] = []
            found = speakers.answer(question, pieces.append, StopFlag())
            prompt = WITHOUT_INPUT.format(instruction="Say what a lamp is")
            assert found.text.strip() == "".join(pieces).strip() == plain_answer(model, tokenizer, prompt, 40)


def test_base_model_answers_where_no_adapter_can_be_used(tiny_model: Path, tmp_path: Path) -> None:
    request = LoadRequest(ModelSpec(str(tiny_model), dtype="float32"), {"gone": str(tmp_path / "gone")})
    with ChatClient(request) as talk:
        assert list(talk.loaded().unusable) == ["gone"]
        with pytest.raises(LoratuiError, match="cannot be put on") as refused:
            list(talk.ask(asked("gone", "a")))
        assert not isinstance(refused.value, ProcessEnded)
        assert answer(talk, asked(None, "a", max_new_tokens=2)).tokens == 2


def test_adapter_whose_base_is_gone_is_refused(two_runs: list[RunDir], tmp_path: Path) -> None:
    request = LoadRequest(ModelSpec(str(tmp_path / "gone")), {"round 1": str(two_runs[0].adapter)})
    with pytest.raises(LoratuiError, match="the directory does not exist"), as_in_the_engine():
        ChatModel(request)


def test_refusal_and_death_of_the_process_are_told_and_a_closed_one_is_gone(tmp_path: Path) -> None:
    talk = ChatClient(LoadRequest(ModelSpec(str(tmp_path / "gone")), {}))
    with pytest.raises(LoratuiError, match="the directory does not exist"):
        talk.loaded()
    with pytest.raises(LoratuiError, match="there is no model to ask"):
        list(talk.ask(asked(None, "a")))
    psutil.Process(talk.pid).send_signal(signal.SIGKILL)
    with pytest.raises(ProcessEnded, match="the model ended without an answer: signal 9 killed it, as happens where"):
        list(talk.ask(asked(None, "a")))
    talk.close()
    assert not psutil.pid_exists(talk.pid)


def test_process_is_told_apart_from_one_that_trains(talk: ChatClient) -> None:
    assert talks_among([talk.pid, os.getpid(), 2**22 + 1]) == {talk.pid}


def test_process_ends_with_what_asks_it(tiny_model: Path) -> None:
    """Its standard input ends when the front end dies, however that happens."""
    talk = ChatClient(LoadRequest(ModelSpec(str(tiny_model)), {}))
    talk.loaded()
    process = psutil.Process(talk.pid)
    assert talk._process.stdin is not None
    talk._process.stdin.close()
    threading.Thread(target=talk._process.wait, daemon=True).start()
    await_true(lambda: not process.is_running(), "the end of the process")
    talk.close()
