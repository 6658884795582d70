"""Answers of adapters: the base model is loaded once, and the adapters are switched on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftConfig, PeftModel, PeftModelForCausalLM
from transformers import GenerationConfig, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList, TextStreamer

from engine.chat.protocol import AnswerRequest, Complete, Loaded, LoadRequest, Message
from engine.dataset.rows import AlpacaRow, Turn, Unusable
from engine.dataset.templates import render_prompt
from engine.errors import LoratuiError, ModelError
from engine.spec.schema import DataSpec, Spec
from engine.text.redact import redact
from engine.training.data.chat_template import ChatTemplate, give_plain_template
from engine.training.kernels.head_loss import autocast
from engine.training.model.loading import load_base_model, load_config, load_tokenizer
from engine.training.runtime.device import choose_device, out_of_memory, resolve_dtype
from engine.training.runtime.hub_errors import first_line
from engine.training.workers.stop_flag import StopFlag

BASE = "base model"


class ChatModel:
    """A base model with adapters on it, loaded; raises LoratuiError as the engine does for the same model.

    Attributes:
        unusable: a sentence on each adapter that cannot be put on it; the others can be asked all the same.
    """

    def __init__(self, request: LoadRequest) -> None:
        spec = Spec(request.model, DataSpec("none", max_length=8))  # of which only the model is looked at
        self.device = choose_device()
        config = load_config(spec)
        self.dtype = resolve_dtype(request.model.dtype, self.device, config.get_text_config().hidden_size)
        with out_of_memory("while loading"):
            self.model: Any = load_base_model(spec, config, self.dtype, self.device).eval()
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
            if not (
                directory / "adapter_model.safetensors"
            ).is_file():  # or it is looked for on the hub, or as a pickle
                raise FileNotFoundError("there is no adapter_model.safetensors in it")
            if not isinstance(self.model, PeftModel):  # kept before its weights are read, so that it can be taken off
                config = PeftConfig.from_pretrained(str(directory))
                config.inference_mode = True
                self.model = PeftModelForCausalLM(self.model, config, adapter_name=name)
            self.model.load_adapter(str(directory), name)
        except Exception as error:  # the libraries raise whatever a damaged or strange adapter makes them
            if isinstance(self.model, PeftModel) and name in self.model.peft_config:
                self.model.delete_adapter(name)
            raise ModelError(
                f"the adapter in {directory} cannot be put on {request.model.path!r}: {first_line(error)}"
            ) from error
        self.model.eval()
        own = msgspec.structs.replace(request.model, path=str(directory))
        self._tokenizers[name] = load_tokenizer(own if (directory / "tokenizer.json").is_file() else request.model)

    def tokenizer_of(self, adapter: str | None) -> PreTrainedTokenizerBase:
        """Of an adapter or of the base model; raises ModelError for an adapter that cannot be used."""
        if adapter in self.unusable:
            raise ModelError(self.unusable[adapter])
        return self._tokenizers[adapter or BASE]

    def loaded(self) -> Loaded:
        """What whoever opened them is told."""
        unusable = {name: redact(told) for name, told in self.unusable.items()}
        return Loaded(self.device.type, str(self.dtype).removeprefix("torch."), self.positions, unusable)

    def answer(self, question: AnswerRequest, say: Callable[[str], None], stop: StopFlag) -> Complete:
        """Generate, until `stop` is wanted; `say` takes the text as it is made, piece by piece."""
        began = time.monotonic()
        tokenizer = self.tokenizer_of(question.adapter)
        input_ids = _prompt_tokens(question, tokenizer)
        room = self._room(len(input_ids), question)
        torch.manual_seed(question.seed)
        with torch.inference_mode(), autocast(self.device, self.dtype), out_of_memory("while answering"):
            output = self._speaking(question.adapter).generate(
                input_ids=torch.tensor([input_ids], device=self.device),
                attention_mask=torch.ones(1, len(input_ids), dtype=torch.int64, device=self.device),
                generation_config=_generation_config(question, tokenizer, room),
                streamer=PieceStreamer(tokenizer, say),
                stopping_criteria=StoppingCriteriaList([StopWhenRequested(stop)]),
            )
        tokens = output[0, len(input_ids) :].tolist()
        ended = tokens[-1:] == [tokenizer.eos_token_id]
        return Complete(
            text=str(tokenizer.decode(tokens, skip_special_tokens=True)),
            prompt_tokens=len(input_ids),
            tokens=len(tokens),
            seconds=time.monotonic() - began,
            ending="complete" if ended else "stopped" if stop.requested else "cut",
        )

    def _room(self, prompt_tokens: int, question: AnswerRequest) -> int:
        if self.positions is None:
            return question.max_new_tokens
        if prompt_tokens >= self.positions:
            raise LoratuiError(
                f"the conversation has {prompt_tokens:,} tokens by now, and the model has positions for "
                f"{self.positions:,}: begin a new one"
            )
        return min(question.max_new_tokens, self.positions - prompt_tokens)

    def _speaking(self, adapter: str | None) -> Any:
        if not isinstance(self.model, PeftModel):
            return self.model
        if adapter is None:
            self.model.base_model.disable_adapter_layers()
            return self.model.base_model.model
        self.model.base_model.enable_adapter_layers()
        self.model.set_adapter(adapter)
        return self.model


def _prompt_tokens(question: AnswerRequest, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The conversation as tokens, up to where the answer begins."""
    chat = question.prompt_template in ("auto", "chat_template")
    text = _chat_prompt(question.messages, tokenizer) if chat else _plain_prompt(question, tokenizer)
    tokens: list[int] = tokenizer(text, add_special_tokens=not chat, verbose=False)["input_ids"]
    return tokens


def _chat_prompt(messages: tuple[Message, ...], tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.chat_template:
        give_plain_template(tokenizer)
    try:
        return ChatTemplate(tokenizer).prompt([Turn(item.role, item.content) for item in messages])
    except Unusable as error:
        raise LoratuiError(f"{error}: take out the system prompt, or write it another way") from error


def _plain_prompt(question: AnswerRequest, tokenizer: PreTrainedTokenizerBase) -> str:
    """Each question in the prompt of its template, each answer with the token that ends it, one after the other."""
    system = "".join(f"{item.content}\n\n" for item in question.messages if item.role == "system")
    parts = []
    for item in question.messages:
        if item.role == "user":
            parts.append(
                render_prompt(AlpacaRow(instruction=item.content, input="", output=""), question.prompt_template)
            )
        elif item.role == "assistant":
            parts.append(f"{item.content}{tokenizer.eos_token}\n\n")
    return system + "".join(parts)


def _generation_config(question: AnswerRequest, tokenizer: PreTrainedTokenizerBase, room: int) -> GenerationConfig:
    """What the person asked for, whatever the model's own generation_config says."""
    chance = {"temperature": question.temperature, "top_p": question.top_p, "top_k": 0} if question.temperature else {}
    return GenerationConfig(
        do_sample=question.temperature > 0,
        num_beams=1,
        max_new_tokens=room,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        use_cache=True,
        **chance,
    )


class StopWhenRequested(StoppingCriteria):
    """Ends a generation at its next token."""

    def __init__(self, stop: StopFlag) -> None:
        self._stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._stop.requested, dtype=torch.bool, device=input_ids.device)


class PieceStreamer(TextStreamer):
    """Says an answer's text piece by piece."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, say: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._say = say

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._say(text)
