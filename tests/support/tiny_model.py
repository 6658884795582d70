"""A base model of two small layers, random but seeded, with a tokenizer of its own."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.dataset.rows import AlpacaRow
from engine.dataset.templates import render_prompt
from tests.support.rounds_to_train import POSITIONS, make_rows


def make_tokenizer(pad: str = "<pad>") -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on the rows themselves; it puts no token of its own at either end."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [render_prompt(AlpacaRow(**row)) + row["output"] for row in make_rows()]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token=pad)


def write_model(
    directory: Path,
    pad: str = "<pad>",
    *,
    attention_bias: bool = False,
    layers: int = 2,
    width: int = 32,
    tie_word_embeddings: bool = False,
) -> Path:
    tokenizer = make_tokenizer(pad)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        attention_bias=attention_bias,
        tie_word_embeddings=tie_word_embeddings,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
