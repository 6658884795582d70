"""Answers of a base model and its adapters: the base is loaded once, and the adapters are switched on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftConfig, PeftModel, PeftModelForCausalLM
from transformers import GenerationConfig, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList, TextStreamer

from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, Message
from engine.dataset.rows import AlpacaRow, Turn, Unusable
from engine.dataset.templates import render_prompt
from engine.errors import ConversationError, ModelError
from engine.spec.data import DataSpec
from engine.spec.schema import Spec
from engine.text.redact import redact
from engine.training.data.answer_ends import answer_ends
from engine.training.data.chat_template import ChatTemplate, give_plain_template
from engine.training.kernels.head_loss import autocast
from engine.training.model.biases import BaseBiases, without_warning_of_biases
from engine.training.model.loading import load_base_model, load_config, load_tokenizer
from engine.training.model.operations import TOKENS as PROBED_TOKENS
from engine.training.model.operations import replace_operations
from engine.training.runtime.device import choose_device, out_of_memory, resolve_dtype
from engine.training.runtime.hub_errors import first_line
from engine.training.workers.stop_flag import StopFlag

BASE = "base model"


class ChatModel:
    """A loaded base model with adapters on it; raises LoratuiError as the engine does for the same model.

    Attributes:
        unusable: a sentence on each adapter that cannot be put on the model; the others can answer all the same.
    """

    def __init__(self, request: LoadRequest) -> None:
        spec = Spec(request.model, DataSpec("none", max_length=8))  # only its model is used
        self.device = choose_device()
        config = load_config(spec)
        self.dtype = resolve_dtype(request.model.dtype, self.device, config.get_text_config().hidden_size)
        with out_of_memory("while loading"):
            self.model: Any = load_base_model(spec, config, self.dtype, self.device).eval()
            self._replacements = replace_operations(self.model, self.device, self.dtype, PROBED_TOKENS)
            self._biases = BaseBiases(self.model)
            self._tokenizers = {BASE: load_tokenizer(request.model)}
            self.unusable: dict[str, str] = {}
            for name, directory in request.adapters.items():
                try:
                    self._load_adapter(name, Path(directory), request)
                except ModelError as error:
                    self.unusable[name] = error.message
        self.positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)

    def _load_adapter(self, name: str, directory: Path, request: LoadRequest) -> None:
        try:
            # peft would look for a missing file on the hub, or as a pickle
            if not (directory / "adapter_model.safetensors").is_file():
                raise FileNotFoundError("it has no adapter_model.safetensors")
            if not isinstance(self.model, PeftModel):  # created before its weights are read, so that it can be deleted
                config = PeftConfig.from_pretrained(str(directory))
                config.inference_mode = True
                self.model = PeftModelForCausalLM(self.model, config, adapter_name=name)
            self.model.load_adapter(str(directory), name)
        except Exception as error:  # a damaged or unusual adapter may raise anything
            if isinstance(self.model, PeftModel) and name in self.model.peft_config:
                self.model.delete_adapter(name)
            raise ModelError(
                f"the adapter in {directory} cannot be put on {request.model.path!r}: {first_line(error)}"
            ) from error
        self.model.eval()
        own = msgspec.structs.replace(request.model, path=str(directory))
        self._tokenizers[name] = load_tokenizer(own if (directory / "tokenizer.json").is_file() else request.model)

    def tokenizer_of(self, adapter: str | None) -> PreTrainedTokenizerBase:
        """Return that of an adapter or the base model; raises ModelError for an adapter that cannot be used."""
        if adapter in self.unusable:
            raise ModelError(self.unusable[adapter])
        return self._tokenizers[adapter or BASE]

    def loaded(self) -> Loaded:
        """Return the reply to the load request."""
        unusable = {name: redact(sentence) for name, sentence in self.unusable.items()}
        return Loaded(self.device.type, str(self.dtype).removeprefix("torch."), self.positions, unusable)

    def answer(self, question: AnswerRequest, on_text: Callable[[str], None], stop: StopFlag) -> Complete:
        """Generate an answer until `stop` is requested; `on_text` gets each piece of the text."""
        started = time.monotonic()
        tokenizer = self.tokenizer_of(question.adapter)
        input_ids = _prompt_tokens(question, tokenizer)
        room = self._room(len(input_ids), question)
        ends = answer_ends(tokenizer, self.model)
        written = Written(on_text)

        def generate() -> torch.Tensor:
            torch.manual_seed(question.seed)
            output: torch.Tensor = self._activate(question.adapter).generate(
                input_ids=torch.tensor([input_ids], device=self.device),
                attention_mask=torch.ones(1, len(input_ids), dtype=torch.int64, device=self.device),
                generation_config=_generation_config(question, ends, room),
                streamer=CallbackStreamer(tokenizer, ends, written.writer()),
                stopping_criteria=StoppingCriteriaList([StopWhenRequested(stop)]),
            )
            return output

        biases = nullcontext() if question.adapter is not None else self._biases.in_place()
        with biases, torch.inference_mode(), autocast(self.device, self.dtype), out_of_memory("while answering"):
            output = self._replacements.call(generate)
        tokens = output[0, len(input_ids) :].tolist()
        ended = tokens[-1:] != [] and tokens[-1] in ends
        return Complete(
            text=str(tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=True)),
            prompt_tokens=len(input_ids),
            tokens=len(tokens),
            seconds=time.monotonic() - started,
            ending="complete" if ended else "stopped" if stop.requested else "cut",
        )

    def _room(self, prompt_tokens: int, question: AnswerRequest) -> int:
        if self.positions is None:
            return question.max_new_tokens
        if prompt_tokens >= self.positions:
            raise ConversationError(
                f"the conversation has {prompt_tokens:,} tokens, and the model has positions for "
                f"{self.positions:,}: start a new one"
            )
        return min(question.max_new_tokens, self.positions - prompt_tokens)

    def _activate(self, adapter: str | None) -> Any:
        """Return the model with `adapter` switched on, or the base model for None."""
        if not isinstance(self.model, PeftModel):
            return self.model
        if adapter is None:
            with without_warning_of_biases():
                self.model.base_model.disable_adapter_layers()
            return self.model.base_model.model
        self.model.base_model.enable_adapter_layers()
        self.model.set_adapter(adapter)
        return self.model


def _prompt_tokens(question: AnswerRequest, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the conversation as tokens, up to where the answer begins."""
    chat = question.prompt_template in ("auto", "chat_template")
    text = _chat_prompt(question.messages, tokenizer) if chat else _plain_prompt(question, tokenizer)
    tokens: list[int] = tokenizer(text, add_special_tokens=not chat, verbose=False)["input_ids"]
    return tokens


def _chat_prompt(messages: tuple[Message, ...], tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.chat_template:
        give_plain_template(tokenizer)
    try:
        return ChatTemplate(tokenizer).prompt([Turn(message.role, message.content) for message in messages])
    except Unusable as error:
        raise ConversationError(f"{error}: remove the system prompt, or rewrite it") from error


def _plain_prompt(question: AnswerRequest, tokenizer: PreTrainedTokenizerBase) -> str:
    """Join the messages: each question in the prompt of its template, each answer with its end token."""
    system = "".join(f"{message.content}\n\n" for message in question.messages if message.role == "system")
    parts = []
    for message in question.messages:
        if message.role == "user":
            parts.append(
                render_prompt(AlpacaRow(instruction=message.content, input="", output=""), question.prompt_template)
            )
        elif message.role == "assistant":
            parts.append(f"{message.content}{tokenizer.eos_token}\n\n")
    return system + "".join(parts)


def _generation_config(question: AnswerRequest, ends: tuple[int, ...], room: int) -> GenerationConfig:
    """Return the settings of the request, whatever the model's own generation_config says."""
    sampling = (
        {"temperature": question.temperature, "top_p": question.top_p, "top_k": 0} if question.temperature else {}
    )
    return GenerationConfig(
        do_sample=question.temperature > 0,
        num_beams=1,
        max_new_tokens=room,
        eos_token_id=list(ends),
        pad_token_id=ends[0],
        use_cache=True,
        **sampling,
    )


class StopWhenRequested(StoppingCriteria):
    """Ends a generation at its next token once a stop is requested."""

    def __init__(self, stop: StopFlag) -> None:
        self._stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._stop.requested, dtype=torch.bool, device=input_ids.device)


class CallbackStreamer(TextStreamer):
    """Passes the text of an answer on piece by piece, without the token that ends it."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, ends: tuple[int, ...], on_text: Callable[[str], None]
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._ends = ends
        self._on_text = on_text

    def put(self, value: torch.Tensor) -> None:
        is_end = value.numel() == 1 and int(value.flatten()[0]) in self._ends and not self.next_tokens_are_prompt
        if not is_end:  # which not every tokenizer counts among its special tokens
            super().put(value)  # type: ignore[no-untyped-call]  # transformers does not annotate it

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._on_text(text)


class Written:
    """The text of an answer that was passed on, which an answer begun anew does not pass on again."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._characters = 0

    def writer(self) -> Callable[[str], None]:
        """Return a function that takes the pieces of an answer from its beginning."""
        passed = 0

        def write(text: str) -> None:
            nonlocal passed
            fresh = text[max(0, self._characters - passed) :]
            passed += len(text)
            self._characters = max(self._characters, passed)
            if fresh:
                self._on_text(fresh)

        return write
