"""The model card beside an adapter: `README.md` as the Hugging Face hub and its readers expect it.

A YAML header (https://huggingface.co/docs/hub/model-cards), how to load the adapter, its results and its settings. What
a person typed is escaped, and of a local path only the last name is told.
"""

from __future__ import annotations

import re
from pathlib import PurePath

import msgspec
from huggingface_hub import EvalResult, ModelCardData
from msgspec import Struct

from engine.compare.columns import measured_text
from engine.files.paths import RunDir
from engine.spec.fields import describe_value, flatten, spec_fields
from engine.spec.round import Result
from engine.spec.schema import Spec, looks_local
from engine.text.humanize import format_bytes, format_count, format_duration
from engine.text.markdown import escape_markdown, markdown_table
from engine.text.sanitize import clean_line

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
LOADING = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer{imported}

adapter = "."  # the directory of this file
base = AutoModelForCausalLM.from_pretrained("{base}"{option})
model = PeftModel.from_pretrained(base, adapter)
tokenizer = AutoTokenizer.from_pretrained(adapter)
```"""
IN_4BIT = ', quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")'


class RoundNames(Struct, frozen=True):
    """What a round is called, as its `spec.json` has it."""

    number: int | None = None
    name: str = ""
    note: str = ""


def read_names(run: RunDir) -> RoundNames:
    """What the round of `run` is called now; nothing where that cannot be read."""
    try:
        return msgspec.json.decode(run.spec.read_bytes(), type=RoundNames)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return RoundNames()


def model_card(spec: Spec, names: RoundNames, result: Result, step: int, total_steps: int) -> str:
    """The card of the adapter that training by `spec` had after `step`; `result` holds what is known of it."""
    base = public_name(spec.model.path)
    number = f"round {names.number}" if names.number is not None else "a round"
    title = clean_line(names.name) or f"Adapter of {number}"
    told = [
        f"---\n{_header(spec, title, result)}\n---",
        f"# {escape_markdown(title)}",
        f"A LoRA adapter for {escape_markdown(base)}, trained with loratui ({number}).",
        f"Why: {escape_markdown(names.note)}" if names.note.strip() else "",
        "## Use",
        _loading(spec, base),
        "## Results",
        f"Of the adapter after step {step} of {total_steps}, over rows held out of training. The perplexity is "
        f"exp(Σ token NLL ÷ supervised tokens).",
        _results(result),
        "## Settings",
        _settings(spec),
    ]
    return "\n\n".join(part for part in told if part) + "\n"


def public_name(path: str) -> str:
    """A hub name as it is, of a local path its last part, of `embedded:nano` what follows the colon."""
    return clean_line(PurePath(path).name or path if looks_local(path) else path.rpartition(":")[2])


def is_hub_name(path: str) -> bool:
    """Whether `path` can be the name of something on the hub."""
    return not looks_local(path) and HUB_NAME.fullmatch(path) is not None


def _header(spec: Spec, title: str, result: Result) -> str:
    rows = public_name(spec.data.path)
    figures = {"loss": result.eval_loss, "perplexity": result.perplexity}
    data = ModelCardData(
        base_model=public_name(spec.model.path),
        datasets=[rows] if is_hub_name(spec.data.path) else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "loratui", "transformers"],
        model_name=title,
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type=rows,
                dataset_name=f"{rows}, held-out rows",
                metric_type=kind,
                metric_value=value,
            )
            for kind, value in figures.items()
            if value is not None
        ],
    )
    return str(data.to_yaml()).strip()


def _loading(spec: Spec, base: str) -> str:
    name = base if is_hub_name(spec.model.path) else "path/to/the/base/model"
    quantised = spec.model.load_in_4bit
    return LOADING.format(
        base=name, option=IN_4BIT if quantised else "", imported=", BitsAndBytesConfig" if quantised else ""
    )


def _results(result: Result) -> str:
    rows = [
        ("eval loss", measured_text(result, "eval_loss")),
        ("perplexity", measured_text(result, "perplexity")),
        ("perplexity of the base model", measured_text(result, "base_perplexity")),
        ("time", format_duration(result.train_seconds)),
        ("tokens", format_count(result.trained_tokens)),
        ("peak memory", format_bytes(result.peak_memory_bytes)),
    ]
    return markdown_table(["result", "value"], [[name, value] for name, value in rows if value])


def _settings(spec: Spec) -> str:
    values = flatten(spec) | {"model.path": public_name(spec.model.path), "data.path": public_name(spec.data.path)}
    rows = [[f"`{key}`", escape_markdown(describe_value(key, values[key]))] for key in spec_fields()]
    return markdown_table(["setting", "value"], rows)
