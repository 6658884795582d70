"""Links, commands and settings in the pages for people exist, and each that exists is documented."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import get_args

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from engine.spec.data import DataFormat
from engine.spec.fields import spec_fields
from engine.spec.presets import shipped_presets
from scripts import commands as reference
from scripts import data_forms
from tests.support.processes import ROOT
from tui.cli.arguments import COMMANDS
from tui.cli.parser import parse

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
COMMAND = re.compile(r"\bloratui ([a-z][a-z-]*)(?![\w/.:-])")
PATH = re.compile(r"(engine|tui|tests|scripts|benchmarks|docs)/[\w./-]*")
SHELLS = ("sh", "bash")


def tokens(page: Path) -> Iterator[Token]:
    """The tokens of a page, those within its paragraphs included."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        yield token
        yield from token.children or ()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> Iterator[str]:
    """The commands that follow `loratui` in a page's code."""
    for token in tokens(page):
        if token.type in ("code_inline", "fence"):
            yield from COMMAND.findall(token.content)


def example_lines(page: Path) -> Iterator[list[str]]:
    """The arguments of each `loratui COMMAND ...` line in a page's shell examples."""
    for token in tokens(page):
        if token.type == "fence" and token.info in SHELLS:
            for line in token.content.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["loratui"] and words[1:2] and words[1] in COMMANDS:
                    yield [*takewhile(lambda word: word not in (">", "|"), words[1:])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    links = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in tokens(page) if token.attrs]
    for link in links:
        if not link or "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_paths_in_pages_exist() -> None:
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]
    named = {token.content for page in pages for token in tokens(page) if PATH.fullmatch(token.content)}
    assert "engine/spec/lora.py" in named
    assert [path for path in sorted(named) if "NAME" not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_pages_exist(page: Path) -> None:
    assert set(commands(page)) <= set(COMMANDS)
    for arguments in example_lines(page):
        parse(arguments)


@pytest.mark.parametrize("name", [*spec_fields(), *shipped_presets(), *get_args(DataFormat)])
def test_every_setting_preset_and_format_is_documented(name: str) -> None:
    pages = [ROOT / "docs" / "train.md", ROOT / "docs" / "data.md"]
    assert name in {token.content for page in pages for token in tokens(page) if token.type == "code_inline"}


def test_commands_and_options_are_documented_as_they_are() -> None:
    assert reference.PART.is_written(reference.reference()), "run python -m scripts.commands"


def test_rows_of_public_datasets_are_read_as_the_page_says() -> None:
    assert data_forms.PART.is_written(data_forms.table()), "run python -m scripts.data_forms"


def test_everything_of_a_command_has_a_sentence() -> None:
    for words, command in reference.each_command():
        assert command.sentence and ": None" not in reference.details(words, command), words
