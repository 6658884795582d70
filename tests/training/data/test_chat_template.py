"""Supervised parts of conversations rendered by chat templates of real models, to the character."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaTokenizerFast

from engine.dataset.load import usable_rows
from engine.dataset.rows import AlpacaRow, Conversation, PromptCompletion, Row, Turn
from engine.errors import DatasetError, ModelError
from engine.spec.data import DataSpec
from engine.spec.presets import embedded_model
from engine.training.data.tokenize import Example, tokenise
from tests.support.chat_tokens import chat_tokenizer, parts
from tests.support.processes import ROOT

LLAMA = ROOT.parent / "shared" / "data" / "tokenizer.model"
DATA = DataSpec(path="rows.jsonl")

# Models' own templates, cut to what matters here: how turns are marked, and what is done to them.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (  # as TRL writes templates for training
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED_WITHOUT_END = MARKED.replace(
    "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}",
    "{{ message['content'] }}{% endgeneration %}<|im_end|>",
)
MARKED_IN_A_MACRO = (
    "{% macro write(message) %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endmacro %}"
    "{% for message in messages %}{{ write(message) }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_GENERATION_PROMPT = CHATML.partition("{% if add")[0]
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}"
    "{% for message in rest %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system %}"
    "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
THINKING = (  # as Qwen3: earlier answers lose their reasoning, the last one gets an empty one if it has none
    "{% set ns = namespace(last=0) %}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}{% set content = message['content'].split('</think>')[-1].lstrip('\n') %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.index0 > ns.last %}{% set reasoning = "
    "message['content'].split('</think>')[0].split('<think>')[-1] if '</think>' in message['content'] else '\n\n' %}"
    "{{ '<think>' + reasoning + '</think>\n\n' + content }}{% else %}{{ content }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORCED_THINKING = CHATML.replace(
    "'<|im_start|>assistant\n' }}{% endif", "'<|im_start|>assistant\n<think>\n' }}{% endif"
)
NO_END = (
    "{% for message in messages %}{{ '### ' + message['role'] + ':\n' + message['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)
END_ONLY_AT_THE_END = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] }}{% if loop.last and "
    "not add_generation_prompt %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
TURNS = (
    Turn("user", "Say it"),
    Turn("assistant", "a lamp is", supervised=True),
    Turn("user", "a lamp is"),
    Turn("assistant", "a bridge 🌉", supervised=True),
)
TALK = Conversation(TURNS)


@pytest.fixture
def llama(tmp_path: Path) -> Any:
    """The tokenizer of Llama 2, a SentencePiece model."""
    if not LLAMA.exists():
        pytest.skip(f"no {LLAMA}: the shared test data is not checked out beside the repo")
    shutil.copy(LLAMA, tmp_path / "tokenizer.model")
    return LlamaTokenizerFast.from_pretrained(tmp_path)


def learn(tokenizer: Any, row: Row, **settings: Any) -> Example:
    (example,) = tokenise([row], tokenizer, DataSpec(path="rows.jsonl", **settings)).examples
    return example


@pytest.mark.parametrize(
    ("template", "learned"),
    [
        (CHATML, ["a lamp is<|im_end|>", "a bridge 🌉<|im_end|>"]),
        (MARKED, ["a lamp is<|im_end|>", "a bridge 🌉<|im_end|>"]),
        (MARKED_WITHOUT_END, ["a lamp is<|im_end|>", "a bridge 🌉<|im_end|>"]),
        (MARKED_IN_A_MACRO, ["a lamp is<|im_end|>", "a bridge 🌉<|im_end|>"]),
        (NO_GENERATION_PROMPT, ["a lamp is<|im_end|>", "a bridge 🌉<|im_end|>"]),
        (FORCED_THINKING, ["a lamp is<|im_end|>", "a bridge 🌉<|im_end|>"]),
        (LLAMA_2, [" a lamp is </s>", " a bridge 🌉 </s>"]),
        (ZEPHYR, ["a lamp is</s>", "a bridge 🌉</s>"]),
        (THINKING, ["<think>\n\n</think>\n\na bridge 🌉<|im_end|>"]),
        (NO_END, ["a lamp is\n\n", "a bridge 🌉\n\n</s>"]),
        (END_ONLY_AT_THE_END, ["a bridge 🌉</s>"]),
        (None, [" a lamp is</s>", " a bridge 🌉</s>"]),
    ],
    ids=["chatml", "marked", "marked-without-end", "macro", "no-generation-prompt", "forced-thinking", "llama-2",
         "zephyr", "thinking", "no-end", "end-only-at-the-end", "plain"],
)  # fmt: skip
@pytest.mark.parametrize("base", ["tiny", "nano"])
def test_answers_and_their_ends_are_supervised(template: str | None, learned: list[str], base: str) -> None:
    tokenizer = chat_tokenizer(template, base)
    if base == "tiny":
        tokenizer.bos_token = "<pad>"
    example = learn(tokenizer, TALK)
    assert parts(tokenizer, example) == learned


@pytest.mark.parametrize("template", [CHATML, MARKED, LLAMA_2, ZEPHYR, None])
def test_llamas_tokens_are_supervised_to_the_character(llama: Any, template: str | None) -> None:
    """Llama's decoder removes a space at the beginning of a text, so texts are compared without spaces."""
    llama.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    llama.chat_template = template
    end = "<|im_end|>" if template in (CHATML, MARKED) else "</s>"
    learned = [part.replace(" ", "") for part in parts(llama, learn(llama, TALK))]
    assert learned == [f"alampis{end}", f"abridge🌉{end}"]


@pytest.mark.parametrize("template", [CHATML, MARKED, LLAMA_2, ZEPHYR, THINKING])
def test_tokens_are_those_the_library_gives(template: str) -> None:
    """The start token is not doubled, and training sees the same tokens as inference."""
    tokenizer = chat_tokenizer(template, "nano")
    messages = [{"role": turn.role, "content": turn.content} for turn in TURNS]
    example = learn(tokenizer, TALK)
    assert example.tokens.tolist() == tokenizer.apply_chat_template(messages)["input_ids"]
    if template == MARKED:
        mask = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True)["assistant_masks"]
        assert example.supervised.tolist() == [bool(bit) for bit in mask]


@pytest.mark.parametrize("template", [CHATML, MARKED, LLAMA_2, ZEPHYR])
@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "Say", "input": "it", "output": "a lamp", "system": "Be brief", "history": [["Say 1", "one"]]},
        {"question": "Say", "context": "it", "answer": "a lamp", "system_prompt": "Be brief",
         "history": [["Say 1", "one"]]},
    ],
)  # fmt: skip
def test_rows_of_texts_have_the_tokens_of_their_conversation(template: str, record: dict[str, Any]) -> None:
    tokenizer = chat_tokenizer(template, "nano")
    rows = usable_rows([record, record], DATA, "rows.jsonl").usable
    told = ["system", "Be brief", "user", "Say 1", "assistant", "one", "user", "Say\nit", "assistant", "a lamp"]
    messages = [{"role": role, "content": content} for role, content in zip(told[::2], told[1::2], strict=True)]
    example = tokenise(rows, tokenizer, DATA).examples[0]
    assert example.tokens.tolist() == tokenizer.apply_chat_template(messages)["input_ids"]
    end = {LLAMA_2: " </s>", ZEPHYR: "</s>"}.get(template, "<|im_end|>")
    assert [part.strip() for part in parts(tokenizer, example)] == [f"one{end}", f"a lamp{end}"]


def test_plain_template_writes_what_the_tokenizer_would_begin_with() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(embedded_model())
    example = learn(tokenizer, TALK)
    assert tokenizer.decode(example.tokens) == (
        "<s>USER: Say it\nASSISTANT: a lamp is</s>\nUSER: a lamp is\nASSISTANT: a bridge 🌉</s>\n"
    )
    question = [{"role": "user", "content": "Say it"}]
    assert tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True) == (
        "<s>USER: Say it\nASSISTANT:"
    )
    assert not chat_tokenizer(None).chat_template
    tiny = chat_tokenizer(None)
    assert tiny.decode(learn(tiny, TALK).tokens).startswith("USER: Say it\n")


def test_changes_of_the_template_to_answers_are_reported() -> None:
    plain, thinking = (tokenise([TALK, TALK], chat_tokenizer(template), DATA) for template in (None, THINKING))
    assert plain.warnings == (
        "the tokenizer has no chat template: conversations are written with USER: and ASSISTANT:, by a template that "
        "is saved with the adapter",
    )
    assert thinking.warnings == (
        "2 answers are not learned: the chat template writes them differently when more messages follow",
    )
    assert tokenise([TALK, TALK], chat_tokenizer(CHATML), DATA).warnings == ()


def test_reasoning_that_is_kept_is_learned() -> None:
    tokenizer = chat_tokenizer(THINKING)
    answer = Turn("assistant", "<think>\nlamp?\n</think>\n\na lamp", supervised=True)
    example = learn(tokenizer, Conversation((TURNS[0], answer)))
    assert parts(tokenizer, example) == ["<think>\nlamp?\n</think>\n\na lamp<|im_end|>"]


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_answers_of_no_weight_are_not_supervised(template: str) -> None:
    tokenizer = chat_tokenizer(template)
    turns = (TURNS[0], Turn("assistant", "a lamp is"), *TURNS[2:])
    assert parts(tokenizer, learn(tokenizer, Conversation(turns))) == ["a bridge 🌉<|im_end|>"]
    everything = learn(tokenizer, TALK, supervised_tokens="all")
    assert everything.supervised_tokens == len(everything) - 1


def test_conversation_the_template_refuses_is_left_out_and_reported() -> None:
    tokenizer = chat_tokenizer(LLAMA_2)
    tokenizer.bos_token = "<pad>"
    refused = Conversation((*TURNS[:2], TURNS[1]))
    tokenised = tokenise([TALK, refused, TALK, refused], tokenizer, DATA)
    assert len(tokenised.examples) == 2
    why = "it: Conversation roles must alternate user/assistant/user/assistant/..."
    assert tokenised.warnings == (f"2 of 4 rows were left out; the first because the chat template refuses {why}",)
    with pytest.raises(DatasetError, match=r"2 of 2 rows of rows.jsonl cannot be used: the chat template refuses it"):
        tokenise([refused, refused], tokenizer, DATA)


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{ messages[99]['content'] }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for a in range(10 ** 9) %}x{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ 1 / 0 }}",
    ],
)
def test_hostile_template_ends_in_a_sentence(template: str) -> None:
    with pytest.raises(DatasetError, match=r"2 of 2 rows of rows\.jsonl cannot be used: the chat template refuses it"):
        tokenise([TALK, TALK], chat_tokenizer(template), DATA)


def test_several_templates_without_a_default_are_refused() -> None:
    tokenizer = chat_tokenizer(None)
    tokenizer.chat_template = {"one": CHATML, "two": ZEPHYR}
    with pytest.raises(ModelError, match="several chat templates, and none is called default"):
        tokenise([TALK], tokenizer, DATA)
    tokenizer.chat_template = {"default": CHATML, "two": ZEPHYR}
    assert parts(tokenizer, learn(tokenizer, TALK)) == ["a lamp is<|im_end|>", "a bridge 🌉<|im_end|>"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (AlpacaRow("Add", "4", "2 and 2"), "<|im_start|>user\nAdd\n2 and 2<|im_end|>\n"),
        (PromptCompletion("Add", "4"), "<|im_start|>user\nAdd<|im_end|>\n"),
    ],
)
def test_any_prompt_goes_through_the_chat_template_if_the_spec_says_so(row: Row, text: str) -> None:
    tokenizer = chat_tokenizer(CHATML)
    example = learn(tokenizer, row, prompt_template="chat_template")
    assert tokenizer.decode(example.tokens) == text + "<|im_start|>assistant\n4<|im_end|>\n"
    assert parts(tokenizer, example) == ["4<|im_end|>"]


def test_missing_chat_template_is_replaced_by_the_plain_one() -> None:
    tokenizer = chat_tokenizer(None)
    tokenised = tokenise([AlpacaRow("Add", "4")] * 2, tokenizer, DataSpec(path="", prompt_template="chat_template"))
    assert tokenizer.decode(tokenised.examples[0].tokens) == "USER: Add\nASSISTANT: 4</s>\n"
    assert parts(tokenizer, tokenised.examples[0]) == [" 4</s>"]
    assert len(tokenised.warnings) == 1


TOKENIZERS = {template: chat_tokenizer(template) for template in (CHATML, MARKED, None)}
CONTENT = st.text(min_size=1).filter(lambda text: text.strip() and "<" not in text)


@given(st.sampled_from(list(TOKENIZERS)), st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=4))
def test_only_answers_are_supervised_whatever_the_text(template: str | None, talk: list[tuple[str, str]]) -> None:
    tokenizer = TOKENIZERS[template]
    turns = [
        turn
        for question, answer in talk
        for turn in (Turn("user", question), Turn("assistant", answer, supervised=True))
    ]
    learned = parts(tokenizer, learn(tokenizer, Conversation(tuple(turns))))
    start, end = ("", "<|im_end|>") if template else (" ", "</s>")
    assert learned == [f"{start}{answer}{end}" for _, answer in talk]
