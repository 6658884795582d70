"""Chat templates by choice, named or from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from engine.dataset.rows import AlpacaRow, Conversation, Turn
from engine.errors import DatasetError, SpecError
from engine.preflight.checks import check
from engine.spec.data import CHAT_TEMPLATES, DataSpec
from engine.training.data.answer_ends import answer_ends
from engine.training.data.chat_templates import NAMED, choose_chat_template
from engine.training.data.tokenize import tokenise
from tests.support.chat_tokens import chat_tokenizer, parts
from tests.support.rounds_to_train import make_run, spec_of, train_here, warned_in
from tests.support.tiny_model import make_tokenizer

CHAT = Conversation((Turn("system", "S"), Turn("user", "Q"), Turn("assistant", "A", True), Turn("user", "Q2"),
                     Turn("assistant", "B", True)))  # fmt: skip
# As the families' models write this conversation; </s> stands for the tokenizer's end token.
TEXTS = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nQ"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Q2<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>",
    "gemma": "<start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nQ2"
    "<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>\n",
    "mistral": "[INST] S\n\nQ [/INST] A</s>[INST] Q2 [/INST] B</s>",
    "phi": "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nQ2<|end|>\n<|assistant|>\nB"
    "<|end|>\n",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\nA</s>\n<|user|>\nQ2</s>\n<|assistant|>\nB</s>\n",
}
TEXTS["qwen"] = TEXTS["chatml"]
ENDS = {"chatml": "<|im_end|>", "qwen": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>",
        "phi": "<|end|>", "mistral": "</s>", "zephyr": "</s>"}  # fmt: skip


def test_names_are_those_of_the_spec() -> None:
    assert set(NAMED) == set(CHAT_TEMPLATES) == set(TEXTS)


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_named_template_writes_as_its_family_and_its_answers_are_learned(name: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([ENDS[name]], special_tokens=True)
    data = DataSpec(path="", chat_template=name)
    assert choose_chat_template(tokenizer, data) == []
    tokenised = tokenise([CHAT, CHAT], tokenizer, data)
    example = tokenised.examples[0]
    assert tokenizer.decode(example.tokens) == TEXTS[name]
    assert parts(tokenizer, example) == [f"A{ENDS[name]}", f"B{ENDS[name]}"]
    assert tokenised.warnings == ()
    assert tokenizer.convert_tokens_to_ids(ENDS[name]) in answer_ends(tokenizer)


def test_qwen_has_its_default_system_message() -> None:
    tokenizer = chat_tokenizer(None)
    choose_chat_template(tokenizer, DataSpec(path="", chat_template="qwen"))
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Q"}], tokenize=False)
    assert text.startswith("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.")


def test_start_token_comes_first_where_the_tokenizer_puts_one() -> None:
    tokenizer = chat_tokenizer(None, "embedded")
    choose_chat_template(tokenizer, DataSpec(path="", chat_template="chatml"))
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Q"}], tokenize=False)
    assert text == "<s><|im_start|>user\nQ<|im_end|>\n"


def test_marker_that_is_no_token_is_warned_of() -> None:
    tokenizer = make_tokenizer()
    data = DataSpec(path="", chat_template="llama3")
    (warning,) = choose_chat_template(tokenizer, data)
    assert "which ends a turn with <|eot_id|>, and the tokenizer has no such token" in warning
    example = tokenise([CHAT, CHAT], tokenizer, data).examples[0]
    assert int(example.tokens[-1]) == tokenizer.eos_token_id and bool(example.supervised[-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% for m in messages %}\n{{ m.content }}\n{% endfo %}", "line 3 is not a jinja template: "),
        ("{{ messages", "line 1 is not a jinja template: "),
    ],
)
def test_file_that_is_no_template_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        choose_chat_template(make_tokenizer(), DataSpec(path="", chat_template=str(file)))
    assert caught.value.message.startswith(f"data.chat_template is {str(file)!r}: {message}")
    assert caught.value.key == "data.chat_template"
    file.unlink()
    with pytest.raises(SpecError, match="no such file or directory"):
        choose_chat_template(make_tokenizer(), DataSpec(path="", chat_template=str(file)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% for m in messages %}\n{{ m.content }}\n{{ m.nothing.at_all }}\n{% endfor %}", "in line 3: "),
        ("\n{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{% set _ = messages.append(1) %}", "unsafe"),
        ("{{ raise_exception('only one user') }}", "refuses it: only one user"),
    ],
    ids=["undefined", "object", "mutation", "own refusal"],
)
def test_template_runs_in_a_sandbox_and_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(text)
    tokenizer, data = make_tokenizer(), DataSpec(path="", chat_template=str(file))
    choose_chat_template(tokenizer, data)
    with pytest.raises(DatasetError, match=r"2 of 2 rows of .* cannot be used: the chat template refuses it") as caught:
        tokenise([CHAT, CHAT], tokenizer, data)
    assert message in caught.value.message


def test_template_that_no_row_uses_is_warned_of() -> None:
    tokenizer, data = chat_tokenizer(None), DataSpec(path="", chat_template="chatml")
    choose_chat_template(tokenizer, data)
    row = AlpacaRow("Q", "A")
    (warning,) = tokenise([row, row], tokenizer, data).warnings
    assert warning.startswith("data.chat_template is chatml, but no row is rendered by it: set data.prompt_template to")


def test_template_is_saved_with_the_adapter(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", tiny_model, data__chat_template="zephyr", data__prompt_template="chat_template",
                   data__samples=8, data__max_length=128, train__num_train_epochs=1)  # fmt: skip
    assert warned_in(train_here(run)) == []
    saved = AutoTokenizer.from_pretrained(run.adapter)
    text = saved.apply_chat_template([{"role": "user", "content": "Q"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>\nQ</s>\n<|assistant|>\n"


def test_name_that_is_neither_is_refused_before_training(tiny_model: Path, tmp_path: Path) -> None:
    spec = spec_of(make_run(tmp_path / "r", tiny_model, data__chat_template="chatml2"))
    with pytest.raises(
        SpecError, match=r"data.chat_template is 'chatml2', which is not a file: set it to one of chatml"
    ):
        check(spec)
