"""Passes of the engine that are traced with tensors that have shapes and no numbers, and the memory that they hold.

Each operation of forward and backward is run by torch's FakeTensorMode, which gives the shapes of its results; a
storage counts from the operation that makes it until nothing refers to it any more. Buffers that a kernel allocates for
itself are not seen.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig

from engine.spec.schema import Spec
from engine.training.data.batching import Batch
from engine.training.kernels.packed_attention import ATTENTION_NAME
from engine.training.model.adapter import add_adapter, recompute_activations, trainable_parameters
from engine.training.model.forward import Forward, rope_switch
from engine.training.model.loading import auto_class
from engine.training.model.operations import random_row
from engine.training.model.trial_model import choices_for, kind_of, sites_of
from engine.training.runtime.device import traced_as

ATEN = torch.ops.aten
CARD_BYTES = 512  # to a multiple of which the allocator of a card rounds up: c10/cuda/CUDACachingAllocator.cpp


class PassTracer:
    """Traces forward and backward passes of a round, on the operations of a processor."""

    def __init__(
        self,
        spec: Spec,
        config: PretrainedConfig,
        dtype: torch.dtype,
        longest: int,
        *,
        is_gpu: bool = False,
        tokens: tuple[int, ...] = (),
    ) -> None:
        """Build the model of `config` without numbers, and put the adapter of `spec` on it.

        Args:
            longest: tokens of the longest row.
            is_gpu: whether only those operations of ours are used that are used on a card.
            tokens: ids whose embeddings are trained.

        Raises:
            LoratuiError: the adapter cannot be put on the model.
        """
        self._longest, self._rounding = longest, CARD_BYTES if is_gpu else 1
        self._device_type = "cuda" if is_gpu else "cpu"
        config = copy.deepcopy(config)  # which is changed with the attention of the model
        choices = choices_for(spec, config, dtype, longest)
        self._mode = FakeTensorMode()
        with torch.device("meta"):
            base: Any = auto_class(config).from_config(config, dtype=dtype)
            model: Any = add_adapter(base, spec, tokens)
        _without_numbers(model, self._mode)
        for site in sites_of(model, self._device_type):
            if kind_of(site) in choices.sites:
                site.install(site.replacement)
        self._forward = Forward(
            model, torch.device("cpu"), dtype, choices.packed, choices.fused_head, model.config._attn_implementation,
            rope_switch(config, longest),
        )  # fmt: skip
        if choices.packed:
            model.get_base_model().set_attn_implementation(ATTENTION_NAME)

    @property
    def packed(self) -> bool:
        """True if rows are packed, rather than padded."""
        return self._forward.packed

    def peak_bytes(self, tokens: int, *, recompute: bool) -> int:
        """Return the most bytes that a pass of `tokens` holds at once, beside the model and its gradients.

        Its rows are as long as the longest one, the last aside, and every token but their first is supervised.
        """
        model = self._forward.model
        recompute_activations(model, recompute)
        batch = self._batch(tokens)
        trained = trainable_parameters(model)
        with self._mode:
            for parameter in trained:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        inputs = _tensors_of(batch).values()
        counter = StorageCounter([*model.parameters(), *model.buffers(), *gradients, *inputs], batch, self._rounding)
        with self._mode, counter, traced_as(self._device_type):
            torch.autograd.backward(self._forward.nll(batch))
        model.zero_grad(set_to_none=True)
        return counter.peak

    def _batch(self, tokens: int) -> Batch:
        """Return a batch without numbers; a single row needs no mask of padding, as none of its tokens is padding."""
        full, rest = divmod(tokens, self._longest)
        lengths = [self._longest] * full + ([rest] if rest else [])
        batch = self._forward.batch([random_row(self._forward.model, length, 0) for length in lengths])
        if len(lengths) == 1:
            batch = replace(batch, attention_mask=None)
        without_numbers: dict[str, Any] = {
            name: self._mode.from_tensor(value) for name, value in _tensors_of(batch).items()
        }
        return replace(batch, **without_numbers)


class StorageCounter(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, as long as anything refers to them.

    Attributes:
        peak: the most bytes at once.
    """

    def __init__(self, others: list[torch.Tensor], batch: Batch, rounding: int) -> None:
        """Count all but the storages of `others`, each rounded up to a multiple of `rounding` bytes."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.peak = self._live = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in others}
        self._batch, self._rounding = batch, rounding

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        by_shape = {
            ATEN.nonzero.default: self._nonzero,
            ATEN.index.Tensor: self._index,
            ATEN._grouped_mm.default: _grouped_mm,
        }
        result = by_shape.get(function, function)(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if (key := storage._cdata) not in self._sizes:
            self._sizes[key] = -(-storage.nbytes() // self._rounding) * self._rounding
            self._live += self._sizes[key]
            self.peak = max(self.peak, self._live)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._live -= self._sizes.pop(key)

    def _nonzero(self, mask: torch.Tensor) -> torch.Tensor:
        """Return as many positions as a mask has, which only its numbers would tell.

        A mask of the tokens of a batch is that of its supervised ones. The head's mask of the tokens that are all but
        certain, which has one dimension, is empty: those are few, and take no memory that counts.
        """
        if mask.ndim == 1:
            return mask.new_empty((0, 1), dtype=torch.int64)
        if mask.shape == self._batch.input_ids.shape:
            return mask.new_empty((len(self._batch.targets), mask.ndim), dtype=torch.int64)
        raise DynamicOutputShapeException(ATEN.nonzero.default)

    def _index(self, tensor: torch.Tensor, indices: list[torch.Tensor | None]) -> torch.Tensor:
        """Return what `indices` choose, masks by their positions."""
        positions: list[torch.Tensor | None] = []
        for index in indices:
            if index is not None and index.dtype == torch.bool:
                positions += self._nonzero(index).unbind(1)
            else:
                positions.append(index)
        chosen: torch.Tensor = ATEN.index.Tensor(tensor, positions)
        return chosen


def _grouped_mm(rows: torch.Tensor, weights: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
    """Return the product in the precision of `rows`: torch knows its shape in bfloat16 alone."""
    product: torch.Tensor = ATEN._grouped_mm.default(rows.bfloat16(), weights.bfloat16(), *others, **options)
    return product.to(rows.dtype)


def _tensors_of(batch: Batch) -> dict[str, torch.Tensor]:
    fields = {name: getattr(batch, name) for name in Batch.__slots__}
    return {name: value for name, value in fields.items() if isinstance(value, torch.Tensor)}


def _without_numbers(model: torch.nn.Module, mode: FakeTensorMode) -> None:
    """Replace the parameters and buffers of a model on the meta device by such on a processor; shared ones once."""
    originals = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    with mode:
        empty = {key: torch.empty(tensor.shape, dtype=tensor.dtype) for key, tensor in originals.items()}
    parameters = {
        key: torch.nn.Parameter(empty[key], original.requires_grad)
        for key, original in originals.items()
        if isinstance(original, torch.nn.Parameter)
    }
    for module in model.modules():
        for name, parameter in module._parameters.items():
            module._parameters[name] = None if parameter is None else parameters[id(parameter)]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else empty[id(buffer)]
