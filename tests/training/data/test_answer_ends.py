"""The tokens that end an answer, in rows, samples, scores and chats alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from engine.chat.protocol import AnswerRequest, LoadRequest, Message
from engine.files.paths import RunDir
from engine.runs.answers import read_answers
from engine.runs.events import Sampled
from engine.spec.schema import ModelSpec
from engine.training.data.answer_ends import answer_ends, before_end
from engine.training.data.render import RenderedRow
from engine.training.data.tokenize import make_examples
from engine.training.workers.chat_model import ChatModel
from engine.training.workers.stop_flag import StopFlag
from tests.support.rounds_to_train import make_run, train_here
from tests.support.tiny_model import make_tokenizer, write_model

TURNS = "{% for message in messages %}[{{ message.role }}]{{ message.content }}<turn>\n{% endfor %}"
WORDS = ("lamp", "river")


def tokenizer_with(template: str | None, special: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose `</s>` ends a sequence, and whose `<turn>` may end a turn."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<turn>"], special_tokens=special)
    tokenizer.chat_template = template
    return tokenizer


def with_generation(*ends: int) -> Any:
    return type("Model", (), {"generation_config": GenerationConfig(eos_token_id=list(ends))})


@pytest.mark.parametrize(
    ("template", "generation", "expected"),
    [
        (None, None, ["</s>"]),
        (TURNS, None, ["</s>", "<turn>"]),
        (TURNS.replace("<turn>", "{{ eos_token }}"), None, ["</s>"]),
        (TURNS.replace("<turn>", "[/end]"), None, ["</s>"]),
        (TURNS + "{% if add_generation_prompt %}<pad>{% endif %}", None, ["</s>", "<turn>"]),
        ("{{ raise_exception('only questions') }}", None, ["</s>"]),
        (None, ["</s>", "<turn>", "<pad>"], ["</s>", "<turn>", "<pad>"]),
        (TURNS, ["<pad>"], ["</s>", "<turn>", "<pad>"]),
    ],
)
def test_ends_are_those_of_sequence_turn_and_generation(
    template: str | None, generation: list[str] | None, expected: list[str]
) -> None:
    tokenizer = tokenizer_with(template)
    ids = [int(tokenizer.vocab[token]) for token in generation or ()]
    ends = answer_ends(tokenizer, with_generation(*ids) if generation else None)
    assert tokenizer.convert_ids_to_tokens(list(ends)) == expected


def test_one_number_in_a_generation_config_is_an_end_too() -> None:
    model = type("Model", (), {"generation_config": GenerationConfig(eos_token_id=7)})
    assert answer_ends(tokenizer_with(None), model) == (0, 7)
    assert answer_ends(tokenizer_with(None), type("Model", (), {"generation_config": None})) == (0,)


def test_answer_is_cut_before_its_first_end() -> None:
    assert before_end(torch.tensor([4, 5, 1, 6, 0]), (0, 1)).tolist() == [4, 5]
    assert before_end(torch.tensor([4, 5]), (0, 1)).tolist() == [4, 5]


@pytest.mark.parametrize(("text", "last"), [("a lamp", "</s>"), ("a lamp<turn>", "<turn>"), ("a lamp</s>", "</s>")])
def test_row_gets_an_end_only_if_it_has_none(text: str, last: str) -> None:
    tokenizer = tokenizer_with(TURNS)
    (example,) = make_examples([RenderedRow(text, [(0, len(text))], True, True)], tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(example.tokens.tolist())
    assert tokens[-1] == last and sum(token in ("</s>", "<turn>") for token in tokens) == 1
    assert bool(example.supervised[-1])


@pytest.fixture(params=["template", "template, no special token", "generation_config"])
def talkative(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model that answers anything with `lamp river <turn>`, and then river after river."""
    directory = write_model(tmp_path / "model")
    tokenizer = tokenizer_with(TURNS if "template" in request.param else None, "no special" not in request.param)
    tokenizer.save_pretrained(directory)
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    first, second = (tokenizer(word)["input_ids"][-1] for word in WORDS)
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")) or "embed" in name or "lm_head" in name:
                weight.zero_()
        rows, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        rows[:, 0] = head[first, 0] = 1.0  # after any other token
        for direction, (before, after) in enumerate([(first, second), (second, turn), (turn, second)], 1):
            rows[before, direction] = head[after, direction] = 9.0
    if request.param == "generation_config":
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, turn]
    model.save_pretrained(directory)
    return directory


def text_of_words(directory: Path) -> str:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    return str(tokenizer.decode([tokenizer(word)["input_ids"][-1] for word in WORDS])).strip()


def test_samples_and_scored_answers_end_with_the_turn(talkative: Path, tmp_path: Path) -> None:
    run: RunDir = make_run(
        tmp_path / "run", talkative, train__num_train_epochs=0.1, train__learning_rate=1e-9, train__sample_tokens=20,
        generation__examples=2, generation__max_new_tokens=20,
    )  # fmt: skip
    samples = [event for event in train_here(run) if isinstance(event, Sampled)]
    assert samples and {sample.text for sample in samples} == {text_of_words(talkative)}
    assert {answer.text for answer in read_answers(run, 0)} == {text_of_words(talkative)}


def test_expected_answer_is_shown_without_its_end(talkative: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", talkative, train__num_train_epochs=0.1, data__prompt_template="chat_template")
    expected = {event.expected for event in train_here(run) if isinstance(event, Sampled)}
    assert expected and not any("<turn>" in text or "</s>" in text for text in expected)


def test_chat_ends_with_the_turn(talkative: Path) -> None:
    pieces: list[str] = []
    question = AnswerRequest(None, (Message("user", "What?"),), temperature=0.0, max_new_tokens=20)
    model = ChatModel(LoadRequest(ModelSpec(str(talkative), dtype="float32"), {}))
    complete = model.answer(question, pieces.append, StopFlag())
    assert (complete.ending, complete.tokens) == ("complete", 3)
    assert "".join(pieces).strip() == complete.text.strip() == text_of_words(talkative)
