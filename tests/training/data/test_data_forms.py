"""Every form of data, in every kind of file, trains through the engine."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.dataset.load import read_rows
from engine.runs.events import AnyEvent, Finished, Prepared, Warned
from engine.spec.data import DataSpec
from engine.spec.presets import EMBEDDED
from engine.training.data.tokenize import tokenise
from tests.support.forking import run_forked
from tests.support.processes import ROOT
from tests.support.rounds import as_parquet
from tests.support.rounds_to_train import make_rows, make_run, spec_of, train_here, write_rows

SHARED = ROOT.parent / "shared" / "data"
needs_shared_data = pytest.mark.skipif(not SHARED.exists(), reason=f"the shared test data is not at {SHARED}")
COUNT = 12


def messages(number: int) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"Say {number}"},
        {"role": "assistant", "content": f"It is {number}"},
        {"role": "user", "content": [{"type": "text", "value": "Again"}]},
        {"role": "assistant", "content": [{"type": "text", "text": f"{number} it is"}], "loss_weight": 1.0},
    ]


FORMS: dict[str, Callable[[int], dict[str, Any]]] = {
    "alpaca": lambda n: {"instruction": f"Say {n}", "input": "", "output": f"It is {n}"},
    "messages": lambda n: {"messages": messages(n)},
    "sharegpt": lambda n: {
        "conversations": [{"from": "human", "value": f"Say {n}"}, {"from": "gpt", "value": f"It is {n}"}]
    },
    "prompt-completion": lambda n: {"prompt": f"Say {n}\n", "completion": f"It is {n}"},
    "text": lambda n: {"text": f"It is said that it is {n}"},
}


def trained(directory: Path, rows: Path, model: str = EMBEDDED, **settings: Any) -> list[AnyEvent]:
    settings = {"data__max_length": 128, "train__num_train_epochs": 1.0, "train__save_strategy": "no"} | settings
    return train_here(make_run(directory, Path(model), model__path=model, data__path=str(rows), **settings))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_on_nano(form: str, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [FORMS[form](number) for number in range(COUNT)])
    events = trained(tmp_path / "run", rows)
    last = events[-1]
    assert isinstance(last, Finished) and last.result.perplexity is not None
    assert next(event for event in events if isinstance(event, Prepared)).train_samples == COUNT - 2
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert [message.startswith("the tokenizer has no chat template") for message in warnings] == (
        [True] if form in ("messages", "sharegpt") else []
    )


def test_rows_with_a_system_message_train_as_conversations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [FORMS["alpaca"](number) | {"id": number} for number in range(COUNT)]
    records[-1]["system_prompt"] = "Be brief"
    events = trained(tmp_path / "run", write_rows(tmp_path / "rows.jsonl", records))
    assert isinstance(events[-1], Finished)
    prepared = next(event for event in events if isinstance(event, Prepared))
    assert (prepared.train_samples, prepared.data_format) == (COUNT - 2, "messages")
    remarks = "read as conversations, as some have a system message; not used: id\n"
    assert (
        f"data: alpaca rows (instruction, output, system: system_prompt), {COUNT} usable; {remarks}"
        in capsys.readouterr().out
    )


def test_adapter_keeps_the_template_its_conversations_were_written_in(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [FORMS["messages"](number) for number in range(COUNT)])
    trained(tmp_path / "run", rows)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "run" / "adapter")
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert rendered == "<s>USER: hi\n"
    rows = write_rows(tmp_path / "rows.jsonl", make_rows(COUNT))
    trained(tmp_path / "other", rows, data__max_length=256)
    assert not AutoTokenizer.from_pretrained(tmp_path / "other" / "adapter").chat_template


def as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("rows.csv", as_csv),
        ("rows.parquet", as_parquet),
        ("rows.json.gz", lambda records: gzip.compress(json.dumps(records).encode())),
    ],
)
def test_every_kind_of_file_trains(
    tiny_model: Path, tmp_path: Path, name: str, encode: Callable[[list[dict[str, Any]]], bytes]
) -> None:
    plain = write_rows(tmp_path / "rows.jsonl", make_rows(COUNT))
    packed = tmp_path / name
    packed.write_bytes(encode(make_rows(COUNT)))
    settings = {"data__max_length": 160}
    one = trained(tmp_path / "one", plain, str(tiny_model), **settings)[-1]
    two = trained(tmp_path / "two", packed, str(tiny_model), **settings)[-1]
    assert isinstance(one, Finished) and isinstance(two, Finished)
    assert one.result.eval_loss == two.result.eval_loss


@needs_shared_data
@pytest.mark.parametrize(("name", "form"), [("v1_sft_demo.jsonl", "messages"), ("alpaca_en_demo.json", "alpaca")])
def test_real_rows_train(tmp_path: Path, name: str, form: str) -> None:
    data = DataSpec(path=str(SHARED / name), samples=200)
    rows = read_rows(SHARED / name, data)
    assert (rows.format.name, rows.passed_over) == (form, ())
    events = trained(tmp_path / "run", SHARED / name, data__samples=200, train__num_train_epochs=0.2)
    assert isinstance(events[-1], Finished)


@needs_shared_data
def test_real_conversations_are_learned_by_their_answers() -> None:
    name = SHARED / "v1_sft_demo.jsonl"
    from engine.spec.presets import embedded_model

    tokenizer: Any = AutoTokenizer.from_pretrained(embedded_model())
    rows = read_rows(name, DataSpec(path=str(name))).usable
    expected = [
        f" {json.loads(line)['messages'][1]['content'][0]['value']}</s>" for line in name.read_text().splitlines()
    ]
    examples = tokenise(rows, tokenizer, DataSpec(path=str(name))).examples
    assert [tokenizer.decode(example.tokens[example.supervised]) for example in examples] == expected


HEAVY_READERS = {"datasets", "pandas", "pyarrow"}


@pytest.mark.parametrize(("name", "needed"), [("rows.jsonl", set()), ("rows.parquet", {"pyarrow"})])
def test_local_round_brings_in_no_reader_it_does_not_need(
    tiny_model: Path, tmp_path: Path, name: str, needed: set[str]
) -> None:
    rows = tmp_path / name
    rows.write_bytes(as_parquet(make_rows(COUNT)))
    if name == "rows.jsonl":
        write_rows(rows, make_rows(COUNT))
    run = make_run(tmp_path / "run", tiny_model, data__path=str(rows), train__num_train_epochs=0.5)
    assert spec_of(run).data.path == str(rows)
    code = (
        f"import sys; sys.argv[1:] = [{str(run.path)!r}]\n"
        "from engine.training import __main__ as engine\n"
        "code = engine.main(); print('loaded', *sys.modules); sys.exit(code)"
    )
    done = run_forked([sys.executable, "-P", "-c", code])
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = set(done.stdout.rpartition("loaded ")[2].split())
    assert "torch" in loaded and loaded & HEAVY_READERS == needed
