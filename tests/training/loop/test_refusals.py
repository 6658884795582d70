"""Rounds that cannot be trained end with one sentence that names the thing, its value and the way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from engine.errors import SpecError, TrainingError
from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import Evaluated
from engine.training.loop import setup
from engine.training.runtime.device import out_of_memory, resolve_dtype
from tests.support.rounds_to_train import fail_here, make_run, spec_of, train_here

WEIGHTS = "model.safetensors"


def change_config(model: Path, **values: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | values))


def change_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(model / WEIGHTS)
    change(weights)
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"lora__target_modules": ("q_proj", "qq_proj")},
            "lora.target_modules has 'qq_proj', which this model lacks: it has down_proj, gate_proj, k_proj, o_proj, "
            "q_proj, up_proj, v_proj",
        ),
        (
            {"lora__target_modules": ("self_attn.up_proj",)},
            "lora.target_modules has 'self_attn.up_proj', but this model has no module of that name: it has, "
            "for example, model.layers.0.self_attn.q_proj",
        ),
        ({"data__max_length": 161}, "data.max_length is 161, but this model has 160 positions: set it to at most 160"),
        (
            {"model__dtype": "float16"},
            "model.dtype is float16, which CPU cannot train in: set it to auto or float32",
        ),
        (
            {"data__eval_fraction": 0.99},
            "data.eval_fraction is 0.99: none of 40 rows would be left to train on: set it lower",
        ),
    ],
)
def test_spec_that_does_not_fit(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], sentence: str
) -> None:
    assert fail_here(make_run(tmp_path / "run", tiny_model, **settings), monkeypatch) == sentence


def test_file_with_fewer_rows_than_the_spec_asks_for(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model, data__samples=41)
    rows = spec_of(run).data.path
    message = fail_here(run, monkeypatch)
    assert message == f"data.samples is 41, but {rows} has 40 rows: set it to at most 40, or leave it empty"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the base model, which the test damages."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


BREAKS: list[tuple[Callable[[Path], object], str]] = [
    (shutil.rmtree, "it has no tokenizer"),
    (lambda model: (model / WEIGHTS).unlink(), "it has no .safetensors weights, and other formats are not read"),
    (lambda model: (model / WEIGHTS).rename(model / "pytorch_model.bin"), "it has no .safetensors weights"),
    (lambda model: (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:5000]), "copy or download"),
    (lambda model: (model / WEIGHTS).write_bytes(b""), "copy or download the model again"),
    (lambda model: change_config(model, hidden_size=64), "damaged or do not match its config.json"),
    (lambda model: change_config(model, num_hidden_layers=3), "its weights have no model.layers.2"),
    (
        lambda model: change_weights(model, lambda weights: weights.pop("lm_head.weight")),
        "its weights have no lm_head.weight",
    ),
    (
        lambda model: change_config(model, architectures=["LlamaForSequenceClassification"]),
        "it is a LlamaForSequenceClassification, and only causal language models can be trained",
    ),
    (
        lambda model: change_config(model, model_type="t5", architectures=["T5ForConditionalGeneration"]),
        "it is a T5ForConditionalGeneration, and only causal language models can be trained",
    ),
    (
        lambda model: change_config(model, architectures=["BartForConditionalGeneration"], model_type="bart"),
        "it is a BartForConditionalGeneration, and only causal language models can be trained",
    ),
    (
        lambda model: change_config(model, architectures=["BertForMaskedLM"], model_type="bert"),
        "it is a BertForMaskedLM, and only causal language models can be trained",
    ),
    (lambda model: change_config(model, model_type="nobody's"), "model type `nobody's`"),
    (lambda model: (model / "config.json").write_text("{"), "not a valid JSON file"),
    (lambda model: (model / "tokenizer.json").unlink(), "it has no tokenizer: copy tokenizer.json there"),
    (lambda model: (model / "tokenizer.json").write_text("{"), "its tokenizer cannot be loaded"),
    (
        lambda model: (model / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}'),
        "its tokenizer has no end-of-sequence token: name one as eos_token",
    ),
    (
        lambda model: change_config(model, auto_map={"AutoConfig": "evil.Config"}, model_type="evil"),
        "it cannot be loaded",
    ),
]


@pytest.mark.parametrize(("damage", "words"), BREAKS)
def test_model_that_cannot_be_used(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
    words: str,
) -> None:
    damage(model)
    message = fail_here(make_run(tmp_path / "run", model), monkeypatch)
    assert message.startswith(f"model.path is '{model}': ")
    assert words in message


def test_token_that_the_model_does_not_embed_is_refused_before_the_model_is_loaded(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the template writes tokens that were added to the tokenizer alone."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = len(tokenizer)
    tokenizer.add_tokens(["<|new|>"], special_tokens=True)
    tokenizer.save_pretrained(model)
    monkeypatch.setattr(setup, "load_base_model", lambda *_: pytest.fail("the model is loaded"))
    message = fail_here(make_run(tmp_path / "run", model, data__prompt_template="<|new|>{prompt}"), monkeypatch)
    reason = (
        f"'<|new|>', but the model embeds only {rows}: use the tokenizer that belongs to the model, or save the model "
        f"with a larger embedding (resize_token_embeddings)"
    )
    assert message == f"model.path is '{model}': its tokenizer gives token {rows}, {reason}"
    message = fail_here(make_run(tmp_path / "trained", model, lora__trainable_token_indices=("<|new|>",)), monkeypatch)
    sentence = f"lora.trainable_token_indices has '<|new|>', token {rows} of the tokenizer, but the model embeds only"
    assert message.startswith(sentence)


def test_token_that_no_row_has_needs_no_embedding(model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<|new|>"], special_tokens=True)
    tokenizer.save_pretrained(model)
    train_here(make_run(tmp_path / "run", model), stop_after=1)


def test_code_that_comes_with_a_model_is_not_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    (model / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    change_config(model, auto_map={"AutoConfig": "modeling_evil.C", "AutoModelForCausalLM": "modeling_evil.M"})
    train_here(make_run(tmp_path / "run", model, train__num_train_epochs=0.2))
    assert not canary.exists()


def test_base_model_with_nan_weights(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_weights(model, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    run = make_run(tmp_path / "run", model)
    message = fail_here(run, monkeypatch)
    assert message.startswith("loss is not finite at step 1")
    events = read_events(run.events)
    (evaluated,) = (event for event in events if isinstance(event, Evaluated))
    assert (evaluated.eval_loss, evaluated.perplexity) == (None, None)


def test_spec_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path)
    for content in (b"", b"[]", b"\xff", b"{}", b'{"spec": {"model": {}}}'):
        run.spec.write_bytes(content)
        assert fail_here(run, monkeypatch)


def test_out_of_memory_names_the_step() -> None:
    raises = pytest.raises(
        TrainingError, match=r"^out of GPU memory at step 3: 2.0 GiB needed; try train.micro_batches auto"
    )
    with raises, out_of_memory("at step 3"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


OUT_OF_MEMORY: list[tuple[Exception, str]] = [
    (
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.10 GiB. GPU 0 has a total capacity of 14.74 GiB of which 412.12 "
            "MiB is free. Including non-PyTorch memory, this process has 14.33 GiB memory in use. Of the allocated "
            "memory 13.90 GiB is allocated by PyTorch, and 100.50 MiB is reserved by PyTorch but unallocated."
        ),
        "out of GPU memory at step 41: 2.1 GiB needed, 0.4 GiB free; try ",
    ),
    (
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which 9.44 "
            "MiB is free. Process 1234 has 79.09 GiB memory in use."
        ),
        "out of GPU memory at step 41: 20.0 MiB needed, 9.4 MiB free; try ",
    ),
    (torch.OutOfMemoryError("CUDA error: out of memory"), "out of GPU memory at step 41; try "),
    (
        RuntimeError(
            "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB). "
            "Tried to allocate 1.50 GB on private pool."
        ),
        "out of GPU memory at step 41: 1.5 GiB needed; try ",
    ),
    (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:126] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 137438953472 bytes. Error code 12 (Cannot allocate memory)"
        ),
        "out of memory at step 41: 128.0 GiB needed; try ",
    ),
    (
        MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,)"),
        "out of memory at step 41: 7.5 GiB needed; try ",
    ),
    (MemoryError(), "out of memory at step 41; try "),
]


@pytest.mark.parametrize(("error", "sentence"), OUT_OF_MEMORY)
def test_out_of_memory_names_the_bytes_needed_and_free(error: Exception, sentence: str) -> None:
    with pytest.raises(TrainingError) as caught, out_of_memory("at step 41"):
        raise error
    assert caught.value.message.startswith(sentence)


def test_out_of_memory_on_a_cpu_is_recognised_by_torchs_message() -> None:
    with (
        pytest.raises(TrainingError, match=r"^out of memory at step 1: 1073741824\.0 GiB needed; try "),
        out_of_memory("at step 1"),
    ):
        torch.empty(2**58)


@pytest.mark.parametrize(
    ("setting", "native", "dtype"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float16),
        ("bfloat16", False, torch.bfloat16),
        ("float16", True, torch.float16),
        ("float32", True, torch.float32),
    ],
)
def test_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch, setting: str, native: bool, dtype: torch.dtype) -> None:
    """A T4 says that it can do bfloat16, which it only emulates (MakazhanAlpamys/Soup#385)."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert resolve_dtype(setting, torch.device("cuda")) == dtype


def test_precision_elsewhere() -> None:
    assert resolve_dtype("auto", torch.device("mps")) == torch.float32
    for device in (torch.device("cpu"), torch.device("mps")):
        with pytest.raises(SpecError, match="set it to auto or float32"):
            resolve_dtype("float16", device)
