"""Preparation of a round: data tokenised and split, model loaded, adapter put on it, memory measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from engine.dataset.rows import Conversation, Rows
from engine.errors import SpecError
from engine.files.paths import RunDir
from engine.runs.events import Prepared
from engine.spec.held_out import check_held_out
from engine.spec.mix import sources_of
from engine.spec.plan import Plan, plan_steps
from engine.spec.schema import Spec
from engine.text.humanize import format_bytes
from engine.training.data.batching import slices_of, step_rows
from engine.training.data.chat_templates import choose_chat_template
from engine.training.data.cut import cut
from engine.training.data.load import load_sets
from engine.training.data.token_cache import tokenise_cached
from engine.training.data.tokenize import Example, TokenisedRows, mix, split
from engine.training.evaluation.perplexity import example_hash
from engine.training.loop.optimizer import make_optimizer
from engine.training.loop.provenance import provenance_of
from engine.training.loop.recorder import Recorder
from engine.training.loop.state import Training
from engine.training.model.adapter import add_adapter, check_adapter
from engine.training.model.forward import Forward, choose_forward
from engine.training.model.loading import (
    check_vocabulary,
    embedded_tokens,
    load_base_model,
    load_config,
    load_tokenizer,
)
from engine.training.model.memory_budget import Budget, measure_budget
from engine.training.model.pissa import is_pissa
from engine.training.model.targets import tied_warnings, unadapted
from engine.training.model.trainable_tokens import trainable_tokens
from engine.training.runtime.background import Background
from engine.training.runtime.device import device_name, emulates, resolve_dtype, use_fast_kernels
from engine.training.runtime.malloc import keep_freed_memory

STEPS_EXAMINED = 64  # for the size of their micro-batches
MUCH, NAMED = 0.02, 4  # share of the weights, and how many names a sentence has


def prepare(
    spec: Spec, run: RunDir, recorder: Recorder, device: torch.device, earlier: Prepared | None = None
) -> Training:
    """Load and tokenise the data, load the model and put the adapter on it.

    A resumed round keeps what `earlier` measured when it began, if the type of device is the same.
    """
    use_fast_kernels(device)
    if earlier is not None and earlier.device != device.type:
        earlier = None
    torch.manual_seed(spec.train.seed)
    recorder.phase("loading")
    check_held_out(spec)
    sets = load_sets(spec.data)
    tokenizer = load_tokenizer(spec.model)
    for warning in choose_chat_template(tokenizer, spec.data):
        recorder.warn(warning)
    tokenising = Background(
        lambda progress: [tokenise_cached(rows.usable, tokenizer, spec.data, progress) for rows in sets]
    )
    config = load_config(spec)
    dtype = _choose_dtype(spec, config, device, earlier)
    if emulates(dtype, device):
        recorder.warn(
            f"model.dtype is bfloat16, for which {device_name(device)} has no instructions: the round takes many times "
            f"as long as with model.dtype auto"
        )
    tokens = trainable_tokens(spec.lora, tokenizer, embedded_tokens(config))
    check_adapter(spec, config, tokens)
    examples = partial(_examples, sets, tokenising, spec, recorder)
    base, train, held_out = _load(spec, config, dtype, device, tokenizer, examples)
    plan = _plan(spec, train, held_out)
    provenance = Background(lambda _: provenance_of(spec, run, device, train, held_out, sets))
    model = add_adapter(base, spec, tokens)
    _warn_of_modules(model, spec, recorder)
    optimizer = make_optimizer(model, spec, device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    forward = choose_forward(
        model, device, dtype, max(map(len, (*train, *held_out))), own_attention=spec.model.attn_implementation != "auto"
    )
    budget = _choose_budget(spec, forward, train, plan, earlier)
    if device.type == "cpu":
        keep_freed_memory()  # after the measurement, which would not see retained memory
    training = Training(
        spec, plan, run, recorder, tokenizer, forward, budget, train, held_out, optimizer, scaler, provenance
    )
    # The name decides in which template the round is talked to.
    _record_prepared(training, "messages" if isinstance(sets[0].usable[0], Conversation) else sets[0].format.name)
    return training


def _warn_of_modules(model: torch.nn.Module, spec: Spec, recorder: Recorder) -> None:
    """Say which tied embedding is adapted alone, and what `all-linear` leaves out, if that is more than a little."""
    for warning in tied_warnings(model):
        recorder.warn(warning)
    share, names = unadapted(model)
    recorder.log(f"adapters on {1 - share:.0%} of the weights of the base's layers")
    if spec.lora.target_modules == "all-linear" and share > MUCH:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        recorder.warn(
            f"lora.target_modules is all-linear, but {share:.0%} of the base's weights, embeddings aside, get no "
            f"adapter, because they are excluded, are not linear layers for text, or cannot get one: "
            f"{', '.join(names[:NAMED])}{more}"
        )


def _plan(spec: Spec, train: Sequence[Example], held_out: Sequence[Example]) -> Plan:
    """Return the plan of a round over these rows; raises SpecError if none is left to train on."""
    if not train:
        raise SpecError(
            f"data.eval_fraction is {spec.data.eval_fraction}: none of {len(held_out)} rows would be left to train on: "
            f"set it lower",
            "data.eval_fraction",
        )
    return plan_steps(spec, len(train), len(held_out))


def _choose_dtype(spec: Spec, config: PretrainedConfig, device: torch.device, earlier: Prepared | None) -> torch.dtype:
    setting = earlier.dtype if earlier is not None else spec.model.dtype
    if setting == "auto" and is_pissa(spec):
        setting = "float32"  # the only one in which the parts of a split weight add up to it again
    return resolve_dtype(setting, device, config.get_text_config().hidden_size)


def _choose_budget(spec: Spec, forward: Forward, train: list[Example], plan: Plan, earlier: Prepared | None) -> Budget:
    """Measure the budget by the first passes through the model, which also compile it if the spec says so."""
    recompute = spec.train.gradient_checkpointing
    with forward.compiled() if spec.train.torch_compile else nullcontext():
        budget = measure_budget(
            forward,
            train,
            plan.effective_batch,
            None if recompute == "auto" else recompute,
            partial(_largest_pass, spec, forward, train, plan),
        )
    if earlier is not None and earlier.micro_batch_tokens is not None:
        budget = replace(budget, tokens=min(budget.tokens, earlier.micro_batch_tokens))
    return budget


def _largest_pass(spec: Spec, forward: Forward, train: list[Example], plan: Plan, tokens: int) -> int:
    """Return the tokens, padding included, of the largest micro-batch of the first steps if it may have `tokens`."""
    largest = 0
    for step in range(1, min(STEPS_EXAMINED, plan.total_steps or 1) + 1):
        rows = [train[index] for index in step_rows(step, len(train), plan.effective_batch, spec.train.seed)]
        if spec.train.micro_batches == "fixed":
            parts = slices_of(rows, spec.train.per_device_train_batch_size)
        else:
            parts = forward.slices_of(rows, tokens)
        lengths = [list(map(len, part)) for part in parts]
        largest = max(largest, *(sum(each) if forward.packed else max(each) * len(each) for each in lengths))
    return largest


def _load(
    spec: Spec,
    config: PretrainedConfig,
    dtype: torch.dtype,
    device: torch.device,
    tokenizer: PreTrainedTokenizerBase,
    examples: Callable[[], tuple[list[Example], list[Example]]],
) -> tuple[Any, list[Example], list[Example]]:
    """Return the base model, and the `examples` to train on and held out, for which nobody waits before it is loaded.

    Only a tokenizer with more tokens than the model embeds may have them refused, which is to be known before that.
    """
    embedded = embedded_tokens(config)
    if embedded is not None and len(tokenizer) > embedded:
        train, held_out = examples()
        check_vocabulary(embedded, chain(train, held_out), tokenizer, spec.model)
        return load_base_model(spec, config, dtype, device), train, held_out
    base: Any = load_base_model(spec, config, dtype, device)
    train, held_out = examples()
    check_vocabulary(base.get_input_embeddings().num_embeddings, chain(train, held_out), tokenizer, spec.model)
    return base, train, held_out


def _examples(
    sets: Sequence[Rows], tokenising: Background[list[TokenisedRows]], spec: Spec, recorder: Recorder
) -> tuple[list[Example], list[Example]]:
    """Wait for the tokens of all rows; return the examples to train on, and those held out."""
    tokenised = tokenising.result(lambda done, total: recorder.phase("tokenising", done, total))
    train, held_out = _divide(sets, tokenised, spec, recorder)
    if spec.data.drop_copies:
        train = _without_copies(train, held_out, recorder)
    return train, held_out


def _divide(
    sets: Sequence[Rows], tokenised: Sequence[TokenisedRows], spec: Spec, recorder: Recorder
) -> tuple[list[Example], list[Example]]:
    """Return the examples to train on, mixed from their sources, and those held out of each or as a separate set."""
    sources = sources_of(spec.data)
    names = ["data", *map(str, sources), "held-out set"]
    cut_sets = [
        _cut(name, rows, examples, spec, recorder) for name, rows, examples in zip(names, sets, tokenised, strict=False)
    ]
    parts = [split(examples, spec.data) for examples in cut_sets[: len(sources) + 1]]
    train = mix([part for part, _ in parts], spec.data)
    if sources:
        counts = [
            len(parts[0][0]),
            *(source.times(len(part)) for source, (part, _) in zip(sources, parts[1:], strict=True)),
        ]
        shares = ", ".join(f"{name} {count / len(train):.0%}" for name, count in zip(names, counts, strict=False))
        recorder.log(f"an epoch has {len(train):,} rows: {shares}")
    held_out = [example for _, part in parts for example in part]
    return train, held_out + [example for examples in cut_sets[len(sources) + 1 :] for example in examples]


def _without_copies(train: list[Example], held_out: Sequence[Example], recorder: Recorder) -> list[Example]:
    """Return the training rows that are not held out too; raises SpecError if none is left."""
    held_out_hashes = set(map(example_hash, held_out))
    remaining = [example for example in train if example_hash(example) not in held_out_hashes]
    if not remaining:
        raise SpecError(
            "data.drop_copies is true, and every row to train on is held out too: hold out other rows, or set it to "
            "false",
            "data.drop_copies",
        )
    if dropped := len(train) - len(remaining):
        recorder.warn(f"{dropped} of {len(train)} training rows are dropped, as they are held out too, token for token")
    return remaining


def _cut(name: str, rows: Rows, tokenised: TokenisedRows, spec: Spec, recorder: Recorder) -> list[Example]:
    """Return the examples of the set of this name that can be used; warn of those that cannot, or are cut."""
    recorder.log("; ".join([f"{name}: {rows.format}, {len(rows.usable):,} usable", *rows.format.remarks()]))
    cut_examples = cut(tokenised.examples, spec.data.max_length, in_windows=rows.format.name == "text")
    if cut_examples.in_windows and cut_examples.cut:
        recorder.log(
            f"{name}: {cut_examples.cut:,} of {cut_examples.rows:,} texts are longer than data.max_length "
            f"{spec.data.max_length} tokens: together with the others they make {len(cut_examples.examples):,} windows"
        )
    for warning in (rows.warning(), *tokenised.warnings, *cut_examples.warnings(spec.data.max_length)):
        if warning is not None:
            recorder.warn(warning if name == "data" else f"{name}: {warning}")
    return cut_examples.examples


def _record_prepared(training: Training, data_format: str) -> None:
    trainable, parameters = training.model.get_nb_trainable_parameters()
    budget = training.budget
    training.recorder.log(
        f"{str(training.forward.dtype).removeprefix('torch.')} on {training.device.type}, micro-batches of at most "
        f"{budget.tokens:,} tokens{'' if training.forward.packed else ' with padding'}, activations "
        f"{'recomputed' if budget.gradient_checkpointing else 'stored'}, about {format_bytes(budget.bytes)} of memory"
    )
    training.recorder.append(
        Prepared(
            time=time.time(),
            device=training.device.type,
            dtype=str(training.forward.dtype).removeprefix("torch."),
            parameters=parameters,
            trainable_parameters=trainable,
            train_samples=len(training.train),
            eval_samples=len(training.held_out),
            total_steps=training.plan.total_steps or 0,
            steps_per_epoch=training.plan.steps_per_epoch or 0,
            micro_batch_tokens=training.budget.tokens,
            gradient_checkpointing=training.budget.gradient_checkpointing,
            estimated_memory_bytes=training.budget.bytes,
            data_format=data_format,
        )
    )
