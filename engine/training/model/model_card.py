"""The model card beside an adapter: `README.md` as the Hugging Face hub and its readers expect it.

It has a YAML header (https://huggingface.co/docs/hub/model-cards), code that loads the adapter, results and settings.
Text that a person typed is escaped, and a local path is reduced to its last part.
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
from engine.spec.held_out import holds_nothing_out
from engine.spec.local_paths import looks_local
from engine.spec.mix import sources_of, with_mixed_paths
from engine.spec.round import Result
from engine.spec.schema import Spec
from engine.text.humanize import format_bytes, format_count, format_duration
from engine.text.markdown import escape_markdown, markdown_table
from engine.text.sanitize import clean_line

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
LOADING = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer{imported}

adapter = "."  # the directory of this file
base = AutoModelForCausalLM.from_pretrained("{base}"{options})
model = PeftModel.from_pretrained(base, adapter)
tokenizer = AutoTokenizer.from_pretrained(adapter)
```"""
PATHS = ("model.path", "data.path", "data.eval_path", "data.chat_template", "lora.initial_adapter")
IN_4BIT = ', quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")'
IN_8BIT = ", quantization_config=BitsAndBytesConfig(load_in_8bit=True)"


class RoundNames(Struct, frozen=True):
    """Number, name and note of a round, as in its `spec.json`."""

    number: int | None = None
    name: str = ""
    note: str = ""


def read_names(run: RunDir) -> RoundNames:
    """Read the names of the round of `run`; empty ones if they cannot be read."""
    try:
        return msgspec.json.decode(run.spec.read_bytes(), type=RoundNames)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return RoundNames()


def model_card(spec: Spec, names: RoundNames, result: Result, step: int, total_steps: int) -> str:
    """Return the card of the adapter of `spec` after `step`, with the figures of `result`."""
    base = public_name(spec.model.path)
    number = f"round {names.number}" if names.number is not None else "a round"
    title = clean_line(names.name) or f"Adapter of {number}"
    parts = [
        f"---\n{_header(spec, title, result)}\n---",
        f"# {escape_markdown(title)}",
        f"A LoRA adapter for {escape_markdown(base)}, trained with loratui ({number}).",
        f"Why: {escape_markdown(names.note)}" if names.note.strip() else "",
        "## Use",
        _loading(spec, base),
        "## Results",
        f"These are the results of the adapter after step {step} of {total_steps}. {_measurement(spec)}",
        _results(result),
        "## Settings",
        _settings(spec),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _measurement(spec: Spec) -> str:
    if holds_nothing_out(spec.data):
        return "No rows were held out of training, so no perplexity was measured."
    return "The perplexity is exp(Σ token NLL ÷ supervised tokens), over rows held out of training."


def public_name(path: str) -> str:
    """Return a hub name as it is, the last part of a local path, or the part of `embedded:nano` after the colon."""
    return clean_line(PurePath(path).name or path if looks_local(path) else path.rpartition(":")[2])


def is_hub_name(path: str) -> bool:
    """Return whether `path` can be a name on the hub."""
    return not looks_local(path) and HUB_NAME.fullmatch(path) is not None


def _header(spec: Spec, title: str, result: Result) -> str:
    rows = public_name(spec.data.path)
    sources = [spec.data.path, *(source.path for source in sources_of(spec.data))]
    figures = {"loss": result.eval_loss, "perplexity": result.perplexity}
    data = ModelCardData(
        base_model=public_name(spec.model.path),
        datasets=[path for path in sources if is_hub_name(path)] or None,
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
    quantised = IN_4BIT if spec.model.load_in_4bit else IN_8BIT if spec.model.load_in_8bit else ""
    revision = f", revision={spec.model.revision!r}" if spec.model.revision is not None else ""
    return LOADING.format(
        base=name,
        options=revision + quantised,
        imported=", BitsAndBytesConfig" if quantised else "",
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
    values = flatten(spec)
    values |= {key: public_name(values[key]) for key in PATHS if values[key] is not None}
    values["data.mix"] = with_mixed_paths(spec.data.mix, public_name)
    rows = [[f"`{key}`", escape_markdown(describe_value(key, values[key]))] for key in spec_fields()]
    return markdown_table(["setting", "value"], rows)
