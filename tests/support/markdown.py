"""Markdown read back by a parser."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

from engine.text.sanitize import clean

HOSTILE = [
    "a | b || c |",
    "back\\slash \\| end\\",
    "two\nlines\r\n\r\n# heading\n- item\n> quote\n| x | y |\n|---|---|",
    "<script>alert(1)</script> <b>x</b> <!-- x --> &lt; &amp; &#124;",
    "[click](https://evil.example) ![img](http://x/y.png) <https://a.b> [x]: http://y",
    "https://evil.example www.evil.example WWW.EVIL.EXAMPLE ftp://x.y me@evil.example",
    "`code` ``x`` *i* **b** ***bi*** _i_ __init__ ~~gone~~ a_b_c 2*3*4",
    "=1+1 -2 +3 @SUM(A1) \t=x",
    "$x$ :smile: #1 \u202e bidi \u200b 🦙",
    "---",
    "```",
    "1. one",
]
COMMENT = "<!-- -->"
# https://docs.github.com/en/get-started/writing-on-github: mentions, issues, emoji, mathematics, and
# https://github.github.com/gfm/#autolinks-extension-: what starts a link, with no angle brackets around it
ACTED_ON = re.compile(
    r"(?i)@[a-z0-9]|#[0-9]|\bgh-[0-9]|:[a-z0-9_+-]+:|\$[^\s$][^$]*\$|\bwww\.[a-z0-9]|\b(?:https?|ftp)://[a-z0-9]"
)
PARSER = MarkdownIt("gfm-like", {"html": True})
assert PARSER.linkify is not None
PARSER.linkify.set({"fuzzy_link": False})  # it would take any name with a dot for a link: `comparison.md`, in Moldova


def parse(document: str) -> list[Token]:
    """Return the tokens of a GitHub document."""
    return PARSER.parse(document)


def text_nodes(document: str) -> list[str]:
    """Return the text nodes of a GitHub document once it is rendered."""
    return TextNodes(PARSER.render(document)).found


def flat(tokens: list[Token]) -> list[Token]:
    return [inner for token in tokens for inner in (token, *flat(token.children or []))]


def text_of(token: Token) -> str:
    return "".join(inner.content for inner in token.children or [] if inner.type in ("text", "code_inline"))


def tables_of(document: str) -> list[list[list[str]]]:
    """Every table as rows of cell texts."""
    tables: list[list[list[str]]] = []
    for token in parse(document):
        match token.type:
            case "table_open":
                tables.append([])
            case "tr_open":
                tables[-1].append([])
            case "inline" if tables and token.level > 2:
                tables[-1][-1].append(text_of(token))
    return tables


def folded(text: str) -> str:
    """`text` as an export holds it: on one line, its hidden characters as symbols."""
    return clean(" ".join(text.split()))


class TextNodes(HTMLParser):
    """The text nodes of a page: GitHub looks in each for what to act on, once the Markdown is rendered."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_data(self, data: str) -> None:
        self.found.append(data)
