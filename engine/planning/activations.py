"""Count what a training pass holds in memory, from a model's config and the shapes of its weights.

The operation that reads the output of a linear layer keeps it for backward; attention keeps its own output too, and an
adapted layer its input, for the gradient of A. Frozen layers keep nothing else. (V. Korthikanti et al., arXiv
2205.05198, count a model that is trained in full.)
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from msgspec import Struct

from engine.preflight.adapter_size import TRANSPOSED, adapted_layers, adapted_parameters
from engine.preflight.base_model import read_config
from engine.preflight.base_weights import BaseWeights, Shapes, base_weights
from engine.preflight.families import family_of
from engine.runs.disk_forecast import FLOAT32_BYTES
from engine.spec.lora import LoraSpec
from engine.system.training_memory import ATTENDED_WIDTH, LOGIT_BYTES

# Families whose counts were compared with what torch allocates.
COUNTED = frozenset({
    "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "mixtral", "phi3", "qwen2", "qwen3",
    "qwen3_moe",
})  # fmt: skip
BLOCK = re.compile(r"((?:.*\.)?(?:layers|h)\.\d+)\.")
LAST = frozenset({"o_proj", "c_proj", "dense", "down_proj", "dense_4h_to_h"})  # the last layers of their modules
FUSED = frozenset({"qkv_proj", "query_key_value"})  # their output stays beside the query and key that are rotated
ATTENTION = FUSED | {"q_proj", "c_attn"}
POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
ACTIVATION_KEYS = ("hidden_act", "hidden_activation", "activation_function")
TANH_GELU = "gelu_new"
TANH_STEPS = 3  # tensors that a GELU computed in steps keeps besides its input
SCORES = 2.4  # of each head and pair of tokens, where attention changes its scores by a softcap
LOGIT_COPIES = 2  # of logits, in float32: they themselves, and their gradient in another precision with a copy of it
# Numbers in half precision that count for more: backward of attention is in float32 on a CPU, Gemma's norms everywhere.
ATTENTION_ON_CPU, NORMS_OF_GEMMA = 1.13, 1.12


class Activations(Struct, frozen=True):
    """Numbers that forward and backward hold, per token and in the base model's precision if nothing else is said.

    Attributes:
        layers: number of layers.
        for_backward: that all layers save for it together.
        widest: that one layer keeps at most.
        backward: that backward of one layer allocates besides.
        width: the hidden size, which is all that a layer keeps if activations are recomputed.
        inputs: that are kept for all adapters together, included in `for_backward`.
        dropped: that dropout on a GPU keeps in place of `inputs`, a byte of mask beside each: what it returns, which no
            two adapters share; 0 without dropout.
        ranks: that all adapters keep together, in float32.
        experts: of the products that peft multiplies out for the adapted experts of a layer, whatever the tokens.
        heads: of a layer whose attention keeps its scores, one in float32 for each pair of tokens; else 0.
        vocabulary: logits for each supervised token.
        all_logits: whether all of them are held at once, as they are changed before the loss; else some tokens' are.
        half: factor of all that is in half precision, on a GPU.
    """

    layers: int
    for_backward: int
    widest: int
    backward: int
    width: int
    inputs: int
    dropped: int
    ranks: int
    experts: int = 0
    heads: int = 0
    vocabulary: int = 0
    all_logits: bool = False
    half: float = 1.0

    def bytes_in(self, tokens: int, longest: int, precision: int, *, recompute: bool, on_cpu: bool) -> int:
        """Return the bytes of a pass of `tokens`, in rows of up to `longest`, at `precision` bytes a number."""
        layers = 1 if recompute else self.layers
        saved: float = self.width * self.layers + self.widest if recompute else self.for_backward
        if self.dropped and not on_cpu:
            saved += (self.dropped * (precision + 1) / precision - self.inputs) * layers / self.layers
        half = 1.0 if precision == FLOAT32_BYTES else self.half * (ATTENTION_ON_CPU if on_cpu else 1)
        wide = self.ranks * layers / self.layers + SCORES * self.heads * layers * longest
        logits, backward = self._logits_in(tokens, on_cpu, precision), tokens * half * precision * self.backward
        # Backward of the layers begins when that of the head has freed its logits.
        last = logits + backward if self.all_logits else max(logits, backward)
        per_token = half * precision * saved + FLOAT32_BYTES * wide
        return round(tokens * per_token + last) + precision * self.experts * layers

    def _logits_in(self, tokens: int, on_cpu: bool, precision: int) -> int:
        """Return the bytes of the logits that are held at once."""
        all_logits = LOGIT_COPIES * FLOAT32_BYTES * tokens * self.vocabulary
        if self.all_logits:
            return all_logits
        if on_cpu and self.width <= ATTENDED_WIDTH and precision == FLOAT32_BYTES:
            return 0  # the loss is computed as attention, in bfloat16 on some processors
        return min(all_logits, LOGIT_COPIES * LOGIT_BYTES["cpu" if on_cpu else "cuda"])


def activations_of(directory: Path, lora: LoraSpec) -> Activations | None:
    """Return what passes of a local model and its adapter hold, None for a family that was not compared.

    Raises:
        ModelError, SpecError: as `adapter_size`.
    """
    config, weights = read_config(directory), base_weights(directory)
    family, blocks = family_of(config), _blocks_of(weights)
    if family not in COUNTED or "quantization_config" in config or not blocks:
        return None
    adapted = frozenset(adapted_layers(weights, family, lora))
    experts = adapted_parameters(weights, family, lora)
    counts = [
        _Block(name, modules, weights.shapes, config, adapted, weights.experts, bool(experts), lora.use_dora)
        for name, modules in blocks.items()
    ]
    saved = [count.for_backward for count in counts]
    return Activations(
        layers=len(counts),
        for_backward=sum(saved),
        widest=max(saved),
        backward=max(count.backward for count in counts),
        width=counts[0].width,
        inputs=sum(count.inputs for count in counts),
        dropped=sum(count.dropped for count in counts) if lora.lora_dropout else 0,
        ranks=lora.r * len(adapted),
        experts=sum(prod(weights.shapes[name]) for name in experts) // len(counts),
        heads=number_in(config, "num_attention_heads") if config.get("attn_logit_softcapping") else 0,
        vocabulary=number_in(config, "vocab_size"),
        all_logits=bool(config.get("final_logit_softcapping")),
        half=NORMS_OF_GEMMA if family.startswith("gemma") else 1.0,
    )


def _blocks_of(weights: BaseWeights) -> dict[str, dict[str, list[str]]]:
    """Return the paths of the linear layers of each layer of the model, by the module that they are in."""
    blocks: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in weights.layers:
        if path in weights.linear and (block := BLOCK.match(path)):
            blocks[block[1]][path.rpartition(".")[0]].append(path)
    return blocks


def number_in(config: Mapping[str, object], *keys: str) -> int:
    """Return the first of these numbers that a config has, 0 if it has none."""
    return next((value for key in keys if isinstance(value := config.get(key), int)), 0)


class _Block(Struct, frozen=True):
    """One layer of a model; `modules` are its linear layers by the module that they are in.

    `stacked` names the weights of experts, those of other layers too.
    """

    name: str
    modules: Mapping[str, Sequence[str]]
    shapes: Shapes
    config: Mapping[str, object]
    adapted: frozenset[str]
    stacked: frozenset[str]
    adapts_experts: bool
    use_dora: bool

    @property
    def width(self) -> int:
        """The hidden size."""
        firsts = (path for paths in self.modules.values() for path in paths if not _is_last(path))
        return next((self._sizes(path)[0] for path in firsts), 0)

    @property
    def for_backward(self) -> int:
        """The numbers that it saves for backward, per token."""
        saved = sum(map(self._saved_in, self.modules)) + self._saved_by_experts
        if all(f"{self.name}.{norm}.weight" in self.shapes for norm in POST_NORMS):
            saved += self.width * len(POST_NORMS)  # the norms' inputs, beside the residual sums after them
        return saved - (self.width if self.config.get("use_parallel_residual") else 0)

    @property
    def inputs(self) -> int:
        """The inputs that it saves for adapters, per token: one that several of them read once."""
        return sum(map(self._inputs_in, self.modules))

    @property
    def dropped(self) -> int:
        """The inputs of all adapters, per token."""
        return sum(self._sizes(path)[0] for paths in self.modules.values() for path in paths if path in self.adapted)

    @property
    def backward(self) -> int:
        """The numbers that backward of its feed-forward part allocates, per token, less what that has freed before."""
        used = [self._experts_per_token * (3 - self.adapts_experts) * self._expert_width]
        for paths in self.modules.values():
            names = {_last_name(path) for path in paths}
            gradients = 3 if self._activation == TANH_GELU or any("gate" in name for name in names) else 2
            used += [
                (gradients - (path in self.adapted)) * self._sizes(path)[0]
                for path in paths
                if _is_last(path) and not names & ATTENTION
            ]
        return max(used) + self.width

    def _saved_in(self, module: str) -> int:
        """Return what the linear layers of a module and the operations between them keep."""
        paths = self.modules[module]
        saved = sum(self._sizes(path)[1] for path in paths)
        if self.use_dora:
            saved += 2 * sum(self._sizes(path)[1] for path in paths if path in self.adapted)
        saved += self._inputs_in(module)
        for path in filter(_is_last, paths):
            inner = self._sizes(path)[0]
            between = self._saved_by_attention if self._is_attention(module) else self._saved_by_activation
            saved += between(module, inner)
        return saved

    def _inputs_in(self, module: str) -> int:
        """Return what the linear layers of a module keep for their adapters: all but the last read the same input."""
        adapted = [path for path in self.modules[module] if path in self.adapted]
        first = max((self._sizes(path)[0] for path in adapted if not _is_last(path)), default=0)
        return first + sum(self._sizes(path)[0] for path in adapted if _is_last(path))

    def _is_attention(self, module: str) -> bool:
        return any(_last_name(path) in ATTENTION for path in self.modules[module])

    def _saved_by_attention(self, module: str, attended: int) -> int:
        """Return the sizes of its output, of what norms of query and key keep, and of both beside a fused output."""
        fused = sum(self._sizes(path)[1] for path in self.modules[module] if _last_name(path) in FUSED)
        rotated = (attended + fused) // 2 if fused else 0  # without the value, which is as wide as the key
        normed = sum(
            self._sizes(f"{module}.{part}_proj")[1] for part in "qk" if f"{module}.{part}_norm.weight" in self.shapes
        )
        return attended + rotated + normed

    def _saved_by_activation(self, module: str, inner: int) -> int:
        """Return what an activation function keeps beside its input."""
        names = {_last_name(path) for path in self.modules[module]}
        if "gate_proj" in names and self._activation == "silu":
            return 0  # computed again
        if any("gate" in name for name in names):
            return inner
        return TANH_STEPS * inner if self._activation == TANH_GELU else 0

    @property
    def _activation(self) -> object:
        return next((self.config[key] for key in ACTIVATION_KEYS if self.config.get(key)), None)

    @property
    def _experts_per_token(self) -> int:
        return number_in(self.config, "num_experts_per_tok")

    @property
    def _expert_width(self) -> int:
        """The width between the two matrices of an expert, 0 without experts."""
        return next((shape[2] for name, shape in self._experts.items() if name.endswith("down_proj")), 0)

    @property
    def _experts(self) -> Shapes:
        own = f"{self.name}."
        return {name: self.shapes[name] for name in self.stacked if name.startswith(own)}

    @property
    def _saved_by_experts(self) -> int:
        """Return what the experts of each token keep, and the residual sum after them."""
        if not (inner := self._expert_width):
            return 0
        inputs = (self.width + inner) * self.adapts_experts
        return self.width + self._experts_per_token * (3 * inner + 2 * self.width + inputs)

    def _sizes(self, path: str) -> tuple[int, int]:
        """Return the numbers of inputs and outputs of a linear layer."""
        rows, columns = self.shapes[f"{path}.weight"]
        return (rows, columns) if self.config.get("model_type") in TRANSPOSED else (columns, rows)


def _last_name(path: str) -> str:
    return path.rpartition(".")[2]


def _is_last(path: str) -> bool:
    return _last_name(path) in LAST
