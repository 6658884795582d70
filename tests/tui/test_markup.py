"""What no screen can do by mistake: take somebody's text for markup, or print past what makes it harmless."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

TEXT_WIDGETS = {"Static", "Label"}  # they, and notifications, take markup unless told not to
ALWAYS_MARKUP = {"Button", "Option", "Checkbox", "RadioButton", "TabPane", "Collapsible", "Link", "Markdown"}
FORBIDDEN = {"from_markup", "from_ansi", "render_str", "MarkupText"}
TITLES = {"border_title", "border_subtitle", "tooltip", "title", "sub_title", "TITLE", "SUB_TITLE", "placeholder"}
PLAIN = {("placeholder", "tui/screens/run/search_field.py")}  # of an Input, which draws it as a Text
PRINTING = {"print": "tui/terminal/console.py", "Console": "tui/terminal/console.py"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def is_plain(node: ast.expr) -> bool:
    """Whether an argument is our own words, or a `Text`, which knows no markup."""
    if isinstance(node, ast.Call):
        return (isinstance(node.func, ast.Name) and node.func.id in ("Text", "clean_line")) or _is_assembled(node)
    return isinstance(node, ast.Constant)


def _is_assembled(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "assemble"


def mistakes(tree: ast.AST, file: str) -> list[str]:
    found = []
    for name, call in calls(tree):
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        off = isinstance(markup := keywords.get("markup"), ast.Constant) and markup.value is False
        if name in TEXT_WIDGETS | {"notify"} and not off:
            found.append(f"{file}:{call.lineno}: {name} without markup=False")
        if name in ALWAYS_MARKUP and call.args and not (is_plain(call.args[0]) or _is_ours(call.args[0])):
            found.append(f"{file}:{call.lineno}: {name} takes markup: give it a Text")
        if name == "add_row" and not all(is_plain(cell) or _is_ours(cell) for cell in call.args):
            found.append(f"{file}:{call.lineno}: a cell that may be markup: give it a Text")
        if name in FORBIDDEN:
            found.append(f"{file}:{call.lineno}: {name} reads markup or escape sequences")
        if name in PRINTING and file != PRINTING[name] and isinstance(call.func, ast.Name):
            found.append(f"{file}:{call.lineno}: {name} prints past `tui.terminal.console`")
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if (
                    isinstance(target, ast.Attribute)
                    and target.attr in TITLES
                    and (target.attr, file) not in PLAIN
                    and not isinstance(node.value, ast.Constant)
                ):
                    found.append(f"{file}:{node.lineno}: {target.attr} takes markup: only our own words")
    return found


def _is_ours(node: ast.expr) -> bool:
    """A name or a starred list that the code around it made of `Text`s, or a call of our own that returns one."""
    if isinstance(node, ast.Starred):
        value = node.value
        return not isinstance(value, ast.GeneratorExp) or is_plain(value.elt)
    return isinstance(node, ast.Name) or (isinstance(node, ast.Call) and "_describe" in ast.unparse(node.func))


def sources() -> list[Path]:
    return sorted((ROOT / "tui").rglob("*.py"))


def test_no_text_is_taken_for_markup_or_printed_raw() -> None:
    files = sources()
    assert len(files) > 20
    assert [line for file in files for line in mistakes(ast.parse(file.read_text()), str(file.relative_to(ROOT)))] == []


@pytest.mark.parametrize(
    "code",
    [
        "Static(text)", "Label('x', markup=True)", "self.notify(text)", "Button(f'{name}')", "Option(name.upper())",
        "table.add_row(name.upper())", "table.add_row(*(cell for cell in row))", "Text.from_markup(text)",
        "print(text)", "Console()", "self.border_title = name", "Static(Text.from_ansi(text), markup=False)",
    ],
)  # fmt: skip
def test_mistakes_are_found(code: str) -> None:
    assert mistakes(ast.parse(code), "tui/example.py")
