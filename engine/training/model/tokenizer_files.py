"""The tokenizer beside an adapter: the base model's own files, which also load where the base was written."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from engine.files.atomic import read_plain
from engine.preflight.base_model import TOKENIZER_FILES, find_model_dir
from engine.spec.schema import ModelSpec

CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
FILES = (
    *TOKENIZER_FILES, CONFIG, TEMPLATE, "chat_template.json", "special_tokens_map.json", "added_tokens.json",
    "merges.txt", "sentencepiece.bpe.model",
)  # fmt: skip
MAX_BYTES = 256 * 1024**2
PROBE = " Hello, wörld!\n\n\tif x == 1234567:  # 你好 👋🏽\r\n"


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, model: ModelSpec, directory: Path) -> None:
    """Write `tokenizer`, that of `model`, into `directory`.

    transformers writes its newest form, which its earlier versions do not load. The files of the base model are written
    instead if they give the same tokenizer, with another chat template in them if it has another.
    """
    files = _base_files(tokenizer, model.path, model.revision)
    if not files:
        tokenizer.save_pretrained(directory)
        return
    contents = {file.name: read_plain(file, max_bytes=MAX_BYTES, follow_link=True) for file in files}
    template = tokenizer.chat_template
    if isinstance(template, str) and template != _template_in(contents):
        contents |= _with_template(contents, template)
    for name, content in contents.items():
        (directory / name).write_bytes(content)


@lru_cache(maxsize=1)
def _base_files(tokenizer: PreTrainedTokenizerBase, path: str, revision: str | None) -> tuple[Path, ...]:
    """Return the files of the base model that load as `tokenizer` does without its config.json; none if they do not."""
    model = find_model_dir(path, revision=revision)
    files = tuple(model / name for name in FILES if (model / name).is_file()) if model is not None else ()
    try:
        with tempfile.TemporaryDirectory(prefix="loratui-") as copy:
            for file in files:
                (Path(copy) / file.name).write_bytes(read_plain(file, max_bytes=MAX_BYTES, follow_link=True))
            alike = _is_alike(AutoTokenizer.from_pretrained(copy), tokenizer)
    except Exception:  # the library's many tokenizers may raise anything
        return ()
    return files if alike else ()


def _is_alike(copy: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether two tokenizers have the same tokens, and write texts and special tokens with them alike."""
    texts = (PROBE, PROBE.join(tokenizer.all_special_tokens), *tokenizer.all_special_tokens)
    if copy.get_vocab() != tokenizer.get_vocab() or copy.special_tokens_map != tokenizer.special_tokens_map:
        return False
    return all(
        copy(text, add_special_tokens=special).input_ids == tokenizer(text, add_special_tokens=special).input_ids
        for text in texts
        for special in (False, True)
    )


def _template_in(contents: dict[str, bytes]) -> object:
    """Return the chat template in the files, None if there is none."""
    if TEMPLATE in contents:
        return contents[TEMPLATE].decode()
    return json.loads(contents.get(CONFIG, b"{}")).get("chat_template")


def _with_template(contents: dict[str, bytes], template: str) -> dict[str, bytes]:
    """Return the files that another chat template changes."""
    if TEMPLATE in contents:
        return {TEMPLATE: template.encode()}
    config = json.loads(contents.get(CONFIG, b"{}")) | {"chat_template": template}
    return {CONFIG: json.dumps(config, indent=2, ensure_ascii=False).encode()}
