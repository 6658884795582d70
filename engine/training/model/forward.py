"""The forward pass of rows through a model, the cheapest that gives this model's own results."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._dynamo.exc import TorchDynamoException
from torch.nn import functional

from engine.errors import LoratuiError, SpecError
from engine.training.data.batching import Batch, pack, packs_of, pad, padded_batches_of
from engine.training.data.tokenize import Example
from engine.training.kernels.cuda_graphs import CudaGraphs
from engine.training.kernels.head_loss import autocast, head_nll, token_nlls
from engine.training.kernels.packed_attention import ATTENTION_NAME, PACKED_ATTENTION, using_attention
from engine.training.kernels.replacement import GIVEN_UP, Replacements
from engine.training.model.operations import inputs_of, random_row, replace_operations
from engine.training.runtime.device import is_out_of_memory
from engine.training.runtime.hub_errors import first_line

LOG = logging.getLogger(__name__)
CHECKED_TOKENS = (12, 20)
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
GRADIENT_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


@dataclass(eq=False)
class Forward:
    """A model with its adapter, and the forward pass of rows through it, until one fails: then the model's own.

    Attributes:
        packed: whether rows are packed, with attention within each, rather than padded.
        fused_head: whether logits and loss are computed together, some tokens at a time.
        attention: transformers' name of the attention that the model was loaded with.
        rope_switch: tokens beyond which a row has all rows of its pass rotated in another way; None if none is longer.
        graphs: CUDA graphs that training passes replay; None if all passes are eager.
        replacements: the operations of the model that are computed in another way.
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    packed: bool
    fused_head: bool
    attention: str
    rope_switch: int | None = None
    graphs: CudaGraphs | None = None
    replacements: Replacements = field(default_factory=Replacements)

    def fall_back(self, error: Exception) -> bool:
        """Use the model's own code from now on, as a pass ended with `error`, and log it; the pass has to be repeated.

        Returns:
            False if nothing is to be repeated: it was the model's own code that failed, or another thing.
        """
        if isinstance(error, (LoratuiError, TorchDynamoException)) or is_out_of_memory(error):
            return False
        if not (self.packed or self.fused_head or self.graphs or self.replacements.sites):
            return False
        self.replacements.restore()
        self.model.get_base_model().set_attn_implementation(self.attention)
        self.packed, self.fused_head, self.graphs = False, False, None
        LOG.warning(GIVEN_UP, first_line(error))
        return True

    def slices_of(self, examples: Sequence[Example], tokens: int) -> list[list[Example]]:
        """Divide into batches of at most `tokens` tokens each, padding included, or a single row."""
        divide = packs_of if self.packed else padded_batches_of
        return [batch for alike in self.alike(examples) for batch in divide(alike, tokens)]

    def alike(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Divide into rows that do not change each other's results in one pass, each part in order."""
        switch = max(map(len, examples)) if self.rope_switch is None else self.rope_switch
        parts = [row for row in examples if len(row) <= switch], [row for row in examples if len(row) > switch]
        return [part for part in parts if part]

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Pack or pad the rows on the device."""
        return (pack if self.packed else pad)(examples, self.device)

    def nll(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the negative log-likelihood of `batch.targets`, in nats, a float32 scalar.

        Logits are computed only where a supervised token is predicted. There is no key-value cache: with one, attention
        would cross from one row into another.
        """
        if not self.fused_head:
            return self._plain_nlls(batch).sum()
        return head_nll(self._logit_states(batch), self.head, batch.targets)

    def token_nlls(self, batch: Batch) -> torch.Tensor:
        """Return the negative log-likelihood of each target, float32 [supervised tokens], without gradient."""
        with torch.no_grad():
            if not self.fused_head:
                return self._plain_nlls(batch)
            return token_nlls(self._logit_states(batch), self.head, batch.targets)

    @property
    def head(self) -> torch.nn.Linear:
        """The output layer."""
        head: torch.nn.Linear = self.model.get_base_model().get_output_embeddings()
        return head

    def _logit_states(self, batch: Batch) -> torch.Tensor:
        """Return [supervised tokens, hidden_size], the states from which the head predicts `batch.targets`."""
        replayed = self.graphs.hidden_states(batch) if self.graphs is not None and torch.is_grad_enabled() else None
        states = self.hidden_states(batch) if replayed is None else replayed  # [1, tokens, hidden_size] if packed
        return states.flatten(0, 1)[batch.logit_positions]

    def hidden_states(self, batch: Batch) -> torch.Tensor:
        """Return the input of the head: [1, tokens, hidden_size] if packed, [rows, longest, hidden_size] if padded."""
        PACKED_ATTENTION.set_rows(batch)
        with autocast(self.device, self.dtype):
            states: torch.Tensor = self.model.get_base_model().get_decoder()(**inputs_of(batch)).last_hidden_state
        return states

    def _plain_nlls(self, batch: Batch) -> torch.Tensor:
        """Return float32 [supervised tokens] from all logits at once."""
        PACKED_ATTENTION.set_rows(batch)
        with autocast(self.device, self.dtype):
            return functional.cross_entropy(self._logits(batch).float(), batch.targets, reduction="none")

    @contextmanager
    def as_loaded(self) -> Iterator[None]:
        """Use the attention that the model was loaded with, and no compilation, as generation needs both."""
        with using_attention(self.model.get_base_model(), self.attention), torch.compiler.set_stance("force_eager"):
            yield

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """Have torch compile the model for batches of any length, by the first pass within the block.

        Raises:
            SpecError: the model cannot be compiled.
        """
        base = self.model.get_base_model()
        (base.get_decoder() if self.fused_head else base).compile(dynamic=True)
        try:
            yield
        except TorchDynamoException as error:
            raise SpecError(
                f"train.torch_compile is true, but the model cannot be compiled: {first_line(error)}: set it to false",
                "train.torch_compile",
            ) from error

    def _logits(self, batch: Batch) -> torch.Tensor:
        """Return [supervised tokens, vocabulary]."""
        keep = batch.logit_positions  # positions if packed; else a mask, bool [rows, longest]
        if not self.packed:
            keep = torch.zeros(batch.input_ids.numel(), dtype=torch.bool, device=self.device)
            keep[batch.logit_positions] = True
            keep = keep.view_as(batch.input_ids)
        logits: torch.Tensor = self.model(**inputs_of(batch), logits_to_keep=keep).logits
        return logits.flatten(0, -2)


def choose_forward(
    model: Any, device: torch.device, dtype: torch.dtype, longest: int, *, own_attention: bool = False
) -> Forward:
    """Try the cheap ways on two short rows, and choose those that give the model's own results and gradients.

    Rows are packed if a change to one does not change another, and the results are those of a row by itself: models
    that mix tokens by anything but plain attention fail this. The head is fused if the logits are the output layer's
    result without further steps. `longest` is the longest row in tokens. With `own_attention` the model keeps the
    attention that it was loaded with, and no rows are packed.
    """
    attention = model.config._attn_implementation
    replacements = replace_operations(model, device, dtype, longest)
    was_training = model.training
    model.eval()
    try:
        with autocast(device, dtype):
            packed, states = False, None
            if not own_attention and not _has_window(model.config, longest):
                packed, states = _takes_packed_rows(model, device, dtype, longest)
            fused = _has_plain_head(model, device, dtype, longest, states)
    finally:
        model.train(was_training)
    if packed:
        model.get_base_model().set_attn_implementation(ATTENTION_NAME)
    switch = rope_switch(model.config, longest)
    return Forward(model, device, dtype, packed, fused, attention, switch, replacements=replacements)


def rope_switch(config: Any, longest: int) -> int | None:
    """Return where LongRoPE (Y. Ding et al., arXiv 2402.13753) changes its factors, None if no row is so long.

    transformers chooses the factors for all rows of a pass by the longest of them.
    """
    settings = getattr(config.get_text_config(), "rope_parameters", None) or {}
    of_layers = [settings, *(each for each in settings.values() if isinstance(each, dict))]
    longrope = [each for each in of_layers if each.get("rope_type") == "longrope"]
    switches = [each.get("original_max_position_embeddings") for each in longrope]
    return min((switch for switch in switches if isinstance(switch, int) and switch < longest), default=None)


def _has_window(config: Any, longest: int) -> bool:
    """Return whether attention has a window shorter than the longest row."""
    text = config.get_text_config()
    windows = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return any(isinstance(window, int) and window < longest for window in windows)


def _takes_packed_rows(
    model: Any, device: torch.device, dtype: torch.dtype, longest: int
) -> tuple[bool, torch.Tensor | None]:
    """Return whether `model` takes packed rows; and inputs of its head, if they show that it alone makes the logits."""
    short, long = (min(length, longest) for length in CHECKED_TOKENS)
    first, other, second = (random_row(model, length, seed) for seed, length in enumerate((short, short, long)))
    after_first, after_other = (pack((row, second), device) for row in (first, other))
    part = slice(short, short + long)
    alone = _logits(model, pad([second], device))
    gradient = _adapter_gradient(model, alone)
    try:
        with using_attention(model.get_base_model(), ATTENTION_NAME):
            packed = _logits(model, after_first)[part]
            packed_gradient = _adapter_gradient(model, packed)
            states = _head_inputs(model, after_other, part, packed)
            with torch.no_grad():
                independent = states is not None or torch.equal(packed, _logits(model, after_other)[part])
    except Exception:  # a model with attention of its own may raise anything
        return False, None
    equal = (
        independent
        and bool((packed - alone).norm() < TOLERANCE[dtype] * alone.norm())
        and bool((packed_gradient - gradient).norm() <= GRADIENT_TOLERANCE[dtype] * gradient.norm())
    )
    return equal, states if equal else None


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return float32 [tokens, vocabulary] of a batch of one row, or of packed ones."""
    PACKED_ATTENTION.set_rows(batch)
    logits: torch.Tensor = model(**inputs_of(batch)).logits[0].float()
    return logits


def _adapter_gradient(model: Any, logits: torch.Tensor) -> torch.Tensor:
    """Return the gradient of a weighted sum of `logits` by all that is trained, in one vector."""
    if not logits.requires_grad:
        return logits.new_zeros(0)
    weights = torch.linspace(-1, 1, logits.numel(), device=logits.device).view_as(logits)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(logits, trained, weights, allow_unused=True)
    return torch.cat([one.flatten().float() for one in gradients if one is not None])


@torch.no_grad()
def _head_inputs(model: Any, batch: Batch, part: slice, logits: torch.Tensor) -> torch.Tensor | None:
    """Return the states of `part` of a batch if the output layer makes `logits` of them, else None."""
    base = model.get_base_model()
    PACKED_ATTENTION.set_rows(batch)
    try:
        states = base.get_decoder()(**inputs_of(batch)).last_hidden_state  # [1, tokens, hidden_size]
        same = torch.equal(base.get_output_embeddings()(states)[0].float()[part], logits)
    except Exception:  # a decoder that cannot be called by itself
        return None
    return states[0][part] if same else None


@torch.no_grad()
def _has_plain_head(
    model: Any, device: torch.device, dtype: torch.dtype, longest: int, states: torch.Tensor | None
) -> bool:
    """Return whether the head can be fused; `states` are inputs of which it is known to make the logits, if any."""
    head = model.get_base_model().get_output_embeddings()
    if type(head) is not torch.nn.Linear or any(parameter.requires_grad for parameter in head.parameters()):
        return False
    row = random_row(model, min(CHECKED_TOKENS[0], longest) if states is None else len(states), 0)
    try:
        if states is None:
            states = _head_inputs(model, batch := pad([row], device), slice(None), _logits(model, batch))
        return states is not None and _has_own_loss(states, head, row.tokens.to(device), dtype)
    except Exception:  # a model or an output layer that does anything else
        return False


def _has_own_loss(hidden: torch.Tensor, head: torch.nn.Linear, tokens: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return whether the fused loss and its gradient by `hidden` [tokens, hidden_size] are those of the logits."""
    targets = tokens.long()

    def own_nll(states: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(head(states).float(), targets, reduction="sum")

    results = []
    for nll_of in (own_nll, lambda states: head_nll(states, head, targets)):
        states = hidden.detach().clone().requires_grad_()
        with torch.enable_grad():
            nll = nll_of(states)
        (gradient,) = torch.autograd.grad(nll, states)
        results.append((nll.detach().float(), gradient.float()))
    (own, own_gradient), (ours, our_gradient) = results
    return bool((ours - own).abs() <= TOLERANCE[dtype] * own.abs()) and bool(
        (our_gradient - own_gradient).norm() <= GRADIENT_TOLERANCE[dtype] * own_gradient.norm()
    )
