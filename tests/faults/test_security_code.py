"""Models, checkpoints and data that carry code: none of it runs, and what cannot be had without it is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.chat.client import ChatClient
from engine.chat.protocol import LoadRequest
from engine.compare.extra_evaluations import evaluate_on
from engine.dataset.preview import Previewer
from engine.errors import LoratuiError, ModelError
from engine.files.paths import RunDir
from engine.preflight import checks
from engine.runs.events import AnyEvent, Finished
from engine.training.workers.preview import RowPreviews
from tests.support.faults.canary import pickled, python, write_npy, write_torch_pickle
from tests.support.faults.tried import Tried
from tests.support.rounds_to_train import fail_here, figures_of, make_run, spec_of, train_here
from tests.support.waiting import await_true

pytestmark = pytest.mark.timeout(120)
SHORT: dict[str, object] = {"train__num_train_epochs": 0.2}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory that is made by whatever code runs that should not."""
    return tmp_path / "fired"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_canaries_fire_where_they_are_loaded(canary: Path, tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    import numpy as np
    import torch

    def torch_pickle() -> None:
        write_torch_pickle(tmp_path / "x.pt", canary)
        torch.load(tmp_path / "x.pt", weights_only=False)

    def npy() -> None:
        write_npy(tmp_path / "x.npy", canary)
        np.load(tmp_path / "x.npy", allow_pickle=True)

    for load in (lambda: pickle.loads(pickled(canary)), torch_pickle, npy, lambda: exec(python(canary))):
        load()
        assert canary.exists()
        canary.rmdir()


WEIGHTS = (
    "pytorch_model.bin",
    "adapter_model.bin",
    "model.pt",
    "consolidated.00.pth",
    "optimizer.pt",
    "training_args.bin",
)
PICKLES = (*WEIGHTS, "rng_state.pth", "scheduler.pt", "vocab.pkl", "tokenizer.pickle", "state_dict.npy", "scaler.pt")


def scatter(directory: Path, canary: Path) -> None:
    """Pickles under every name that some library has loaded."""
    for name in PICKLES:
        if name.endswith(".npy"):
            write_npy(directory / name, canary)
        elif name.endswith((".pkl", ".pickle")):
            (directory / name).write_bytes(pickled(canary))
        else:
            write_torch_pickle(directory / name, canary)


def test_pickles_beside_good_weights_are_left_alone(
    model: Path, canary: Path, tmp_path: Path, tried: Tried, reference: tuple[RunDir, list[AnyEvent]]
) -> None:
    """In the model's directory and in the checkpoint that is gone on from."""
    scatter(model, canary)
    run = make_run(tmp_path / "run", model)
    checks.check(spec_of(run))
    train_here(run, stop_after=7)
    scatter(run.checkpoint(7), canary)
    events = train_here(run, resume=True)
    tried("S5", "pickles beside the weights of a model and in a checkpoint", 2 * len(PICKLES), canary.exists())
    assert not canary.exists()
    assert figures_of(events) == figures_of(reference[1], after=7)


@pytest.mark.parametrize("name", WEIGHTS)
def test_model_whose_weights_are_a_pickle_is_refused(
    model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, name: str
) -> None:
    (model / "model.safetensors").unlink()
    write_torch_pickle(model / name, canary)
    (model / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": name}}))
    run = make_run(tmp_path / "run", model)
    with pytest.raises(ModelError, match=r"there are no \.safetensors weights in it, and no others are loaded"):
        checks.check(spec_of(run))
    message = fail_here(run, monkeypatch)
    tried("S5", "a model that has its weights in a pickle", 1, canary.exists())
    assert not canary.exists()
    assert "it has no .safetensors weights, and other formats are not read" in message


@pytest.mark.parametrize("name", ["model.safetensors", "training_state.safetensors"])
def test_pickle_under_the_name_of_safetensors_is_refused(
    model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, name: str
) -> None:
    run = make_run(tmp_path / "run", model)
    if name == "model.safetensors":
        write_torch_pickle(model / name, canary)
        assert "copy or download the model again" in fail_here(run, monkeypatch)
    else:
        train_here(run, stop_after=7)
        from engine.runs.checkpoints import write_manifest

        write_torch_pickle(run.checkpoint(7) / name, canary)
        (run.checkpoint(7) / "manifest.json").unlink()
        write_manifest(run.checkpoint(7))
        fail_here(run, monkeypatch, resume=True)
    tried("S5", "a pickle that is called safetensors", 1, canary.exists())
    assert not canary.exists()


@pytest.mark.parametrize("weights", ["adapter_model.bin", "adapter_model.safetensors"])
def test_model_with_an_adapter_in_it_is_refused(
    model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, weights: str
) -> None:
    """The library would load the adapter too, and if it is alone the base model that it names."""
    config = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "other"), "target_modules": ["q_proj"]}
    (model / "adapter_config.json").write_text(json.dumps(config))
    write_torch_pickle(model / weights, canary)
    run = make_run(tmp_path / "run", model)
    with pytest.raises(ModelError, match=r"it holds an adapter: name its base model, and .* lora\.initial_adapter"):
        checks.check(spec_of(run))
    message = fail_here(run, monkeypatch)
    tried("S5", "a model directory with an adapter in it", 1, canary.exists())
    assert not canary.exists() and "it is an adapter: set model.path to its base model" in message


@pytest.mark.parametrize("kind", ["rows.npy", "rows.pkl", "rows.pt", "directory", "script"])
def test_data_that_would_run_code_is_refused(
    tiny_model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, kind: str
) -> None:
    place = tmp_path / "data" / kind
    place.parent.mkdir()
    if kind in ("directory", "script"):
        place.mkdir()
        (place / f"{kind}.py").write_text(python(canary))
        (place / "state.json").write_text("{}")
        (place / "dataset_info.json").write_text("{}")
        (place / "cache-0.arrow").write_bytes(pickled(canary))
        if kind == "script":
            place = place / "script.py"
    elif kind == "rows.npy":
        write_npy(place, canary)
    elif kind == "rows.pt":
        write_torch_pickle(place, canary)
    else:
        place.write_bytes(pickled(canary))
    run = make_run(tmp_path / "run", tiny_model, data__path=str(place))
    with pytest.raises(LoratuiError):
        checks.check(spec_of(run))
    fail_here(run, monkeypatch)
    tried("S5" if kind.startswith("rows") else "S6", "pickles and scripts in the place of data", 1, canary.exists())
    assert not canary.exists()


AUTO_MAP = {
    "AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoModelForCausalLM": "evil.Model",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
}  # fmt: skip


def change(file: Path, **values: object) -> None:
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | values))


def plant(model: Path, canary: Path) -> None:
    """Code under every name by which a model may ask for it to be run."""
    for name in ("evil.py", "modeling_llama.py", "configuration_llama.py", "tokenization_llama.py", "handler.py"):
        (model / name).write_text(python(canary))
    (model / "custom_generate").mkdir()
    (model / "custom_generate" / "generate.py").write_text(python(canary))
    for name in ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json"):
        change(model / name, auto_map=AUTO_MAP)
    change(model / "config.json", trust_remote_code=True, custom_generate="evil")


def test_code_of_a_known_kind_of_model_is_not_run(model: Path, canary: Path, tmp_path: Path, tried: Tried) -> None:
    plant(model, canary)
    run = make_run(tmp_path / "run", model, **SHORT)
    checked = checks.check(spec_of(run))
    events = train_here(run)
    RowPreviews(spec_of(run)).show(1)
    tried("S6", "code beside a model that can do without it", 8, canary.exists())
    assert not canary.exists() and isinstance(events[-1], Finished)
    assert not any("trust_remote_code" in warning for warning in checked.warnings)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_model_that_needs_its_code_is_refused_in_a_sentence(
    model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, file: str
) -> None:
    plant(model, canary)
    if file == "config.json":
        change(model / file, model_type="evil", architectures=["EvilForCausalLM"])
    else:
        change(model / file, tokenizer_class="EvilTokenizer")
    run = make_run(tmp_path / "run", model, **SHORT)
    try:
        message = fail_here(run, monkeypatch)
    except AssertionError:  # the library found a tokenizer that does without the code
        message = ""
    tried("S6", "a model that needs its own code", 1, canary.exists())
    assert not canary.exists()
    if file == "config.json":
        assert "set model.trust_remote_code to true if you trust its author" in message


def test_code_is_run_only_where_the_spec_says_so_and_the_plan_warns(
    model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    plant(model, canary)
    change(model / "config.json", model_type="evil", architectures=["EvilForCausalLM"])
    run = make_run(tmp_path / "run", model, model__trust_remote_code=True, **SHORT)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    (warning,) = (text for text in checks.check(spec_of(run)).warnings if "trust_remote_code" in text)
    assert warning == (
        f"model.trust_remote_code is true: Python code that comes with {model} will run with all your rights"
    )
    assert not canary.exists()
    fail_here(run, monkeypatch)  # the code is no model
    tried("S6", "a model whose code the spec trusts, with a warning", 1, not canary.exists())
    assert canary.exists()


@pytest.fixture
def trained(reference: tuple[RunDir, list[AnyEvent]], tmp_path: Path) -> RunDir:
    """A run directory for this test alone."""
    return RunDir(Path(shutil.copytree(reference[0].path, tmp_path / "runs" / "run")))


def plant_kernels(site: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package `kernels`, which tells when it is imported, where processes started from here find it."""
    site.joinpath("kernels").mkdir(parents=True)
    site.joinpath("kernels", "__init__.py").write_text(python(canary))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.setenv("USE_HUB_KERNELS", "YES")


def ask_talk(run: RunDir) -> None:
    with ChatClient(LoadRequest(spec_of(run).model, {"round 1": str(run.adapter)})) as talk:
        talk.loaded()


def ask_evaluation(run: RunDir) -> None:
    evaluate_on(run, spec_of(run).data, lambda _: None)


def ask_preview(run: RunDir) -> None:
    with Previewer(spec_of(run)) as process:
        process.show(1)


def ask_training(run: RunDir) -> None:
    run.events.unlink()
    subprocess.run([sys.executable, "-P", "-m", "engine.training", run.path], check=True, capture_output=True)


@pytest.mark.long
@pytest.mark.parametrize("ask", [ask_training, ask_talk, ask_evaluation, ask_preview])
def test_kernels_are_not_loaded_from_the_hub(
    trained: RunDir,
    canary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tried: Tried,
    ask: Callable[[RunDir], None],
) -> None:
    """By the package that libraries import for it where it is installed."""
    plant_kernels(tmp_path / "site", canary, monkeypatch)
    ask(trained)
    tried("S6", "the package that loads compiled code from the hub", 1, canary.exists())
    assert not canary.exists()


@pytest.mark.long
def test_libraries_by_themselves_would_load_kernels(
    canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_kernels(tmp_path / "site", canary, monkeypatch)
    subprocess.run([sys.executable, "-P", "-c", "import transformers.integrations.hub_kernels"], capture_output=True)
    assert canary.exists()


ESCAPES = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__['__builtins__']['open']('CANARY', 'w') }}",
    "cycler": "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "attr filter": "{{ (messages|attr('__class__')|attr('__base__'))|attr('__subclasses__')() }}",
    "import": "{% import 'os' as os %}{{ os.system('touch CANARY') }}",
    "change": "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
}


def use_template(model: Path, template: str) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    change(model / "tokenizer_config.json", chat_template=template)


@pytest.mark.parametrize("template", ESCAPES.values(), ids=ESCAPES)
def test_chat_template_stays_in_its_sandbox(
    model: Path, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, template: str
) -> None:
    use_template(model, template.replace("CANARY", str(canary)))
    run = make_run(tmp_path / "run", model, data__prompt_template="chat_template")
    message = fail_here(run, monkeypatch)
    tried("S6", "a chat template that reaches out of its sandbox", 1, canary.exists())
    assert not canary.exists()
    assert "the chat template refuses it" in message or "the chat template changes its answers" in message


LOOPS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for a in range(99999) %}{% for b in range(99999) %}{% set ns.n = ns.n + 1 %}"
    "{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
]


@pytest.mark.parametrize("template", LOOPS)
def test_chat_template_that_does_not_end_is_ended(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried, template: str
) -> None:
    monkeypatch.setattr("engine.training.data.chat_template.RENDER_SECONDS", 0.5)
    use_template(model, template)
    run = make_run(tmp_path / "run", model, data__prompt_template="chat_template")
    begun = time.monotonic()
    message = fail_here(run, monkeypatch)
    seconds = time.monotonic() - begun
    tried("S6", "a chat template that loops for ever", 1, seconds > 30)
    assert "took more than 0.5 s for one row: replace it in its tokenizer_config.json" in message
    assert seconds < 30


def test_time_limit_ends_with_its_block(tried: Tried) -> None:
    from engine.training.runtime.time_limit import TimeLimit, TimeLimitExceeded

    limit = TimeLimit(0.3)
    for _ in range(3):
        with pytest.raises(TimeLimitExceeded), limit:
            while True:
                pass
        with limit:
            pass
        await_true(lambda: not [item for item in threading.enumerate() if "_watch" in item.name], "the watch's end")
    tried("S6", "code after a time limit, which is not to be hit", 3)


def test_weights_of_another_shape_or_too_many_layers_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    """A billion layers would be made one by one before the first weight is looked at."""
    changes: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: change(model / "config.json", num_hidden_layers=10**9),
            "num_hidden_layers in its config.json is above 10,000",
        ),
        (lambda: change(model / "config.json", num_hidden_layers=10**400), "config.json is above"),
        (
            lambda: change(model / "config.json", num_hidden_layers=2, vocab_size=10**12),
            "weights are damaged or do not match",
        ),
    ]
    for apply, words in changes:
        apply()
        run = make_run(tmp_path / f"run-{words[:8]}-{time.monotonic_ns()}", model)
        message = fail_here(run, monkeypatch)
        tried("S10", "a config.json of a billion layers or tokens", 1, words not in message)
        assert words in message
