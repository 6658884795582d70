"""Chat with adapters in the real process: which adapter answers, templates, stops and refusals."""

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

pytestmark = pytest.mark.timeout(120)

GREEDY = {"temperature": 0.0, "max_new_tokens": 40}


def question_to(adapter: str | None, *turns: str, **options: Any) -> AnswerRequest:
    """Return a request for the answer after `turns`, of user and assistant in turn."""
    messages = tuple(Message("assistant" if index % 2 else "user", text) for index, text in enumerate(turns))
    return AnswerRequest(adapter, messages, **{**GREEDY, **options})


def answer(talk: ChatClient, question: AnswerRequest) -> Complete:
    """Return the whole answer, after checking that its pieces add up to it."""
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
    """Each answer is compared with plain greedy decoding of that model by itself."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    models = {None: load(tiny_model)} | {
        f"round {number}": PeftModel.from_pretrained(load(tiny_model), run.adapter).eval()
        for number, run in enumerate(two_runs, 1)
    }
    instruction = "Say three times what a lamp is"
    expected = {
        name: plain_answer(model, tokenizer, WITHOUT_INPUT.format(instruction=instruction), 40)
        for name, model in models.items()
    }
    assert len(set(expected.values())) == 3
    for name in (None, "round 1", "round 2", None, "round 2", "round 1"):
        complete = answer(talk, question_to(name, instruction, prompt_template="alpaca"))
        assert complete.text.strip() == expected[name]


def test_conversation_goes_through_the_chat_template(talk: ChatClient, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    turns = ("What is a lamp?", "a lamp is a lamp", "And a river?")
    prompt = "".join(
        f"USER: {text}\n" if index % 2 == 0 else f"ASSISTANT: {text}{tokenizer.eos_token}\n"
        for index, text in enumerate(turns)
    )
    prompt = f"{tokenizer.bos_token or ''}{prompt}ASSISTANT:" if tokenizer.add_bos_token else f"{prompt}ASSISTANT:"
    complete = answer(talk, question_to(None, *turns))
    tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert complete.prompt_tokens == len(tokens)
    assert complete.text.strip() == _decoded(load(tiny_model), tokenizer, tokens)


def _decoded(model: Any, tokenizer: Any, tokens: list[int]) -> str:
    import torch

    start = len(tokens)
    while len(tokens) < min(start + 40, POSITIONS) and tokenizer.eos_token_id not in tokens[start:]:
        with torch.no_grad():
            tokens = [*tokens, int(model(torch.tensor([tokens])).logits[0, -1].argmax())]
    return str(tokenizer.decode(tokens[start:], skip_special_tokens=True)).strip()


def test_seed_determines_a_sampled_answer(talk: ChatClient) -> None:
    def say(seed: int) -> str:
        return answer(talk, question_to("round 1", "Say what a lamp is", temperature=1.5, top_p=1.0, seed=seed)).text

    assert say(1) == say(1)
    assert len({say(seed) for seed in range(4)}) > 1


def test_ending_is_reported(talk: ChatClient) -> None:
    cut = answer(talk, question_to(None, "Say what a lamp is", max_new_tokens=3))
    assert (cut.ending, cut.tokens) == ("cut", 3)


def test_conversation_past_the_last_position_is_refused_and_the_next_one_answered(talk: ChatClient) -> None:
    with pytest.raises(LoratuiError, match=rf"the conversation has \d+ tokens, and the model has .* {POSITIONS}"):
        list(talk.ask(question_to(None, "lamp " * 400)))
    assert answer(talk, question_to(None, "Say what a lamp is", max_new_tokens=2)).tokens == 2


def test_answer_is_cut_at_the_last_position(talk: ChatClient) -> None:
    short = answer(talk, question_to(None, "a", max_new_tokens=1, prompt_template="{prompt}"))
    complete = answer(talk, question_to(None, "a " * 60, max_new_tokens=400, prompt_template="{prompt}"))
    assert short.prompt_tokens < complete.prompt_tokens
    assert complete.ending == "complete" or complete.prompt_tokens + complete.tokens == POSITIONS


@pytest.mark.usefixtures("forked_workers")
def test_answer_is_stopped_and_the_next_one_is_made() -> None:
    """The stop comes at the first piece; the model would take a second for all its positions."""
    request = AnswerRequest(
        None, (Message("user", "Go on."),), temperature=10.0, top_p=1.0, max_new_tokens=4096, seed=3
    )
    with ChatClient(LoadRequest(ModelSpec(str(embedded_model()), dtype="float32"), {})) as talk:
        positions = talk.loaded().positions
        assert positions is not None
        pieces = talk.ask(request)
        next(pieces)
        talk.stop()
        *_, last = pieces
        assert isinstance(last, Complete)
        assert last.ending == "stopped" and last.prompt_tokens + last.tokens < positions
        assert answer(talk, question_to(None, "Go on.", max_new_tokens=2)).tokens == 2


def test_stop_without_an_answer_ends_nothing(talk: ChatClient) -> None:
    talk.stop()
    assert answer(talk, question_to(None, "Say what a lamp is", max_new_tokens=2)).tokens == 2


def damage(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"\0" * 100)


def delete(adapter: Path) -> None:
    shutil.rmtree(adapter)


def change_rank(adapter: Path) -> None:
    """Change the rank, so that the weights no longer fit the layers."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": config["r"] + 1}))


@pytest.mark.parametrize("harm", [damage, delete, change_rank])
@pytest.mark.parametrize("first", [True, False])
def test_unusable_adapter_is_reported_and_the_others_answer_as_without_it(
    two_runs: list[RunDir], tiny_model: Path, tmp_path: Path, harm: Callable[[Path], None], first: bool
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(two_runs[0].adapter, adapter)
    harm(adapter)
    bad, good = {"bad": str(adapter)}, {"round 2": str(two_runs[1].adapter)}
    request = LoadRequest(ModelSpec(str(tiny_model), dtype="float32"), bad | good if first else good | bad)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with as_in_the_engine():
        model_with_adapters = ChatModel(request)
        assert list(model_with_adapters.unusable) == ["bad"]
        assert f"the adapter in {adapter} cannot be put on" in model_with_adapters.unusable["bad"]
        with pytest.raises(LoratuiError, match="cannot be put on"):
            model_with_adapters.tokenizer_of("bad")
        models = {
            None: load(tiny_model),
            "round 2": PeftModel.from_pretrained(load(tiny_model), good["round 2"]).eval(),
        }
        for name, model in models.items():
            question = question_to(name, "Say what a lamp is", prompt_template="alpaca")
            pieces: list[str] = []
            complete = model_with_adapters.answer(question, pieces.append, StopFlag())
            prompt = WITHOUT_INPUT.format(instruction="Say what a lamp is")
            assert complete.text.strip() == "".join(pieces).strip() == plain_answer(model, tokenizer, prompt, 40)


@pytest.mark.usefixtures("forked_workers")
def test_base_model_answers_where_no_adapter_can_be_used(tiny_model: Path, tmp_path: Path) -> None:
    request = LoadRequest(ModelSpec(str(tiny_model), dtype="float32"), {"gone": str(tmp_path / "gone")})
    with ChatClient(request) as talk:
        assert list(talk.loaded().unusable) == ["gone"]
        with pytest.raises(LoratuiError, match="cannot be put on") as refused:
            list(talk.ask(question_to("gone", "a")))
        assert not isinstance(refused.value, ProcessEnded)
        assert answer(talk, question_to(None, "a", max_new_tokens=2)).tokens == 2


@pytest.mark.usefixtures("forked_workers")
def test_workspace_whose_path_is_not_utf8_can_be_talked_to(
    two_runs: list[RunDir], tiny_model: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(two_runs[0].adapter, workspace / "runs" / "1" / "adapter")
    request = LoadRequest(ModelSpec(str(tiny_model), dtype="float32"), {"round 1": "runs/1/adapter"})
    with ChatClient(request, workspace) as talk:
        assert talk.loaded().unusable == {}
        assert answer(talk, question_to("round 1", "a", max_new_tokens=2)).tokens == 2
    with pytest.raises(LoratuiError, match="is not UTF-8 text"):
        ChatClient(LoadRequest(ModelSpec(str(workspace)), {}))


def test_adapter_without_its_base_model_is_refused(two_runs: list[RunDir], tmp_path: Path) -> None:
    request = LoadRequest(ModelSpec(str(tmp_path / "gone")), {"round 1": str(two_runs[0].adapter)})
    with pytest.raises(LoratuiError, match="the directory does not exist"), as_in_the_engine():
        ChatModel(request)


@pytest.mark.usefixtures("forked_workers")
def test_refusal_and_death_of_the_process_are_reported_and_closing_ends_it(tmp_path: Path) -> None:
    talk = ChatClient(LoadRequest(ModelSpec(str(tmp_path / "gone")), {}))
    with pytest.raises(LoratuiError, match="the directory does not exist"):
        talk.loaded()
    with pytest.raises(LoratuiError, match="no model is loaded: start again"):
        list(talk.ask(question_to(None, "a")))
    psutil.Process(talk.pid).send_signal(signal.SIGKILL)
    with pytest.raises(ProcessEnded, match="the model ended without an answer: signal 9 killed it, which happens when"):
        list(talk.ask(question_to(None, "a")))
    talk.close()
    assert not psutil.pid_exists(talk.pid)


def test_process_is_distinguished_from_one_that_trains(talk: ChatClient) -> None:
    assert talks_among([talk.pid, os.getpid(), 2**22 + 1]) == {talk.pid}


@pytest.mark.usefixtures("forked_workers")
def test_process_ends_with_its_front_end(tiny_model: Path) -> None:
    """Its standard input ends when the front end dies, however that happens."""
    talk = ChatClient(LoadRequest(ModelSpec(str(tiny_model)), {}))
    talk.loaded()
    process = psutil.Process(talk.pid)
    assert talk._process.stdin is not None
    talk._process.stdin.close()
    threading.Thread(target=talk._process.wait, daemon=True).start()
    await_true(lambda: not process.is_running(), "the end of the process")
    talk.close()
