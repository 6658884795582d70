"""The presets whose model and data are on the hub, trained for some steps on a tiny model and rows of the same form."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from engine.runs.events import Finished
from engine.spec.fields import flatten
from engine.spec.presets import load_preset, shipped_presets
from tests.support.rounds_to_train import make_rows, make_run, prepared_in, steps_of, train_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft uses an old name of transformers

STEPS = 3
TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}</s>{% endfor %}"
SPLITS = {"train": 24, "test": 8}


def messages(row: dict[str, str]) -> dict[str, object]:
    """A row of Capybara: a conversation."""
    turns = {"user": row["instruction"], "assistant": row["output"]}
    return {"messages": [{"role": role, "content": content} for role, content in turns.items()]}


def text(row: dict[str, str]) -> dict[str, object]:
    """A row of C4 or of Open Assistant's chats: a text."""
    return {"text": f"{row['instruction']}\n{row['output']}"}


FORMS = {"chat-sft": messages, "domain-text": text, "qlora-small-card": text}


def test_every_preset_of_the_hub_is_trained_here() -> None:
    assert {name for name, preset in shipped_presets().items() if preset.source} == set(FORMS)


@pytest.fixture
def stand_ins(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> dict[str, str]:
    """A model with a chat template, and a directory with the splits of the preset's dataset."""
    model, data = tmp_path / "model", tmp_path / "data"
    data.mkdir()
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    spec = load_preset(request.param).spec
    files = [f"- {{split: {split}, path: {split}.jsonl}}" for split in SPLITS]
    head = [
        "---",
        "configs:",
        f"- config_name: {spec.data.name or 'default'}",
        "  data_files:",
        *(f"  {f}" for f in files),
    ]
    (data / "README.md").write_text("\n".join([*head, "---", ""]))
    for split, count in SPLITS.items():
        rows = [json.dumps(FORMS[request.param](row)) for row in make_rows(count)]
        (data / f"{split}.jsonl").write_text("\n".join(rows))
    return {"preset": request.param, "model": str(model), "data": str(data)}


@pytest.mark.parametrize("stand_ins", FORMS, indirect=True)
def test_preset_trains(stand_ins: dict[str, str], tmp_path: Path) -> None:
    spec = load_preset(stand_ins["preset"]).spec
    settings = {key.replace(".", "__"): value for key, value in flatten(spec).items()}
    here = {"model__path": stand_ins["model"], "data__path": stand_ins["data"], "data__max_length": 64,
            "data__samples": 20, "train__max_steps": STEPS, "train__sample_tokens": 4}  # fmt: skip
    events = train_here(make_run(tmp_path / "run", Path(stand_ins["model"]), **settings | here))
    steps, last = steps_of(events), events[-1]
    assert len(steps) == STEPS and all(step.loss is not None and math.isfinite(step.loss) for step in steps)
    assert isinstance(last, Finished) and last.result.eval_loss is not None
    of_one_set = spec.data.eval_split is None
    assert prepared_in(events).eval_samples == (2 if of_one_set else SPLITS["test"])
