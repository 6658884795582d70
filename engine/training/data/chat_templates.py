"""Chat templates by choice: named ones in the manner of their families, or one from a file."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

from engine.errors import SpecError, reason_of
from engine.files.atomic import NoPlainFile, read_plain
from engine.spec.data import DataSpec
from engine.training.data.chat_template import start_of

MAX_TEMPLATE_BYTES = 1024 * 1024
CHATML = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
SYSTEM_BEFORE_USER = """\
{%- set system = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages -%}
"""
# Without the start token, which is put before each for a tokenizer that puts it before any text.
NAMED = {
    "chatml": CHATML,
    "qwen": """\
{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
"""
    + CHATML,
    "llama3": """\
{%- for message in messages -%}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}
""",
    "gemma": SYSTEM_BEFORE_USER
    + """\
{%- for message in turns -%}
{%- set role = 'model' if message.role == 'assistant' else message.role -%}
{{ '<start_of_turn>' + role + '\\n' + (system if loop.first else '') + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
""",
    "mistral": SYSTEM_BEFORE_USER
    + """\
{%- for message in turns -%}
{%- if message.role == 'assistant' -%}
{{ ' ' + message.content + eos_token }}
{%- else -%}
{{ '[INST] ' + (system if loop.first else '') + message.content + ' [/INST]' }}
{%- endif -%}
{%- endfor -%}
""",
    "phi": """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}
""",
    "zephyr": """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}
""",
}
MARKERS = {
    "chatml": "<|im_end|>", "qwen": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi": "<|end|>",
}  # fmt: skip


def choose_chat_template(tokenizer: PreTrainedTokenizerBase, data: DataSpec) -> list[str]:
    """Give the tokenizer the template that `data.chat_template` names, and return warnings about it.

    Raises:
        SpecError: it is a file that cannot be read, or that is not a jinja template; with the line where there is one.
    """
    name = data.chat_template
    if name is None:
        return []
    if name not in NAMED:
        tokenizer.chat_template = _read_template(Path(name).expanduser())
        return []
    tokenizer.chat_template = start_of(tokenizer) + NAMED[name]
    marker = MARKERS.get(name)
    if marker is None or marker in tokenizer.get_vocab():
        return []
    return [
        f"data.chat_template is {name}, which ends a turn with {marker}, and the tokenizer has no such token: it is "
        f"read as several, and the end token follows the last answer"
    ]


def _read_template(file: Path) -> str:
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        text = read_plain(file, max_bytes=MAX_TEMPLATE_BYTES, follow_link=True).decode()
        _compile_jinja_template(text)
    except TemplateSyntaxError as error:
        reason = f"line {error.lineno} is not a jinja template: {error.message}"
    except OSError as error:
        reason = reason_of(error)
    except (NoPlainFile, UnicodeDecodeError, TemplateError, RecursionError) as error:
        reason = str(error).strip() or type(error).__name__
    else:
        return text
    raise SpecError(f"data.chat_template is {str(file)!r}: {reason}", "data.chat_template")
