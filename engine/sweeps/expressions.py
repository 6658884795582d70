"""Fields that depend on other fields by arithmetic, such as `lora_alpha = 2*r`."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from engine.errors import SpecError
from engine.spec.fields import format_value, parse_value, spec_fields

OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: math.pow,  # which overflows rather than waits
    ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip
NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
LONGEST = 200


class Expression(Struct, frozen=True):
    """The value of the field `key` as arithmetic on numbers and the names of other fields."""

    key: str
    text: str

    @property
    def names(self) -> frozenset[str]:
        """The dotted keys of the fields that it names."""
        return frozenset(key for key, _ in _fields_in(self.key, _tree(self.key, self.text)))

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return the value for `values` by dotted key.

        Raises:
            SpecError: the result is not an allowed value of the field.
        """
        shown = f"{self.key} is {self.text!r}"
        try:
            result = _result(self.key, _tree(self.key, self.text), values)
            text = format_value(round(result) if math.isclose(result, round(result)) else float(f"{result:.12g}"))
        except (ArithmeticError, ValueError, TypeError) as error:
            values_of_names = ", ".join(f"{key} {format_value(values[key])}" for key in sorted(self.names))
            raise SpecError(
                f"{shown}, which has no value for {values_of_names}: write another expression", self.key
            ) from error
        try:
            return parse_value(self.key, text)
        except SpecError as error:
            raise SpecError(f"{shown}: {error.message}", self.key) from error


def is_expression(key: str, text: str) -> bool:
    """Return True if a text is meant as arithmetic on other fields: it names one, in a field for a number."""
    field = spec_fields().get(key)
    if field is None or field.kind not in ("int", "float"):
        return False
    names = {name for other in spec_fields().values() for name in (other.name, other.group)}
    words = set(NAME.findall(text))
    return bool(words & names) and text.strip() not in (field.empty, field.empty_too)


def read_expression(key: str, text: str) -> Expression:
    """Read a text that `is_expression`.

    Raises:
        SpecError: it is not arithmetic on numbers and on other fields that hold numbers.
    """
    expression = Expression(key, text.strip().removeprefix("=").strip())
    if key in expression.names:
        raise SpecError(f"{key} is {text!r}, which depends on itself: name other fields", key)
    return expression


def _tree(key: str, text: str) -> ast.expr:
    """Return the parsed text; raises SpecError for anything but arithmetic."""
    shown = f"{key} is {text if len(text) <= LONGEST else text[:LONGEST] + '...'!r}"
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise SpecError(f"{shown}: write arithmetic on other fields, such as 2*r", key) from error
    for node in ast.walk(tree):
        allowed = (ast.BinOp, ast.UnaryOp, ast.Name, ast.Attribute, ast.Load, *OPERATORS)
        is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        if not is_number and not isinstance(node, allowed):
            raise SpecError(f"{shown}: only numbers, names of fields and + - * / // % ** ( ) are allowed", key)
    return tree


def _fields_in(key: str, tree: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield the fields that a tree names, each with its node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and not _is_group(node, tree)):
            yield _key_of(key, ast.unparse(node)), node


def _is_group(name: ast.Name, tree: ast.expr) -> bool:
    """Return True for `lora` in `lora.r`."""
    return any(isinstance(node, ast.Attribute) and node.value is name for node in ast.walk(tree))


def _key_of(key: str, name: str) -> str:
    """Return the dotted key of the field that a name stands for, of several the one beside `key`."""
    named = [each for each in spec_fields().values() if name in (each.key, each.name)]
    numbers = [each.key for each in named if each.kind in ("int", "float")]
    nearest = [each for each in numbers if each.partition(".")[0] == key.partition(".")[0]] or numbers
    if len(nearest) > 1:
        raise SpecError(f"{key} names {name!r}, which several fields are: write {' or '.join(nearest)}", key)
    if not nearest:
        what = "is not a number" if named else "is not a field"
        raise SpecError(f"{key} names {name!r}, which {what}: name a field with a number", key)
    return nearest[0]


def _result(key: str, tree: ast.expr, values: Mapping[str, Any]) -> float:
    match tree:
        case ast.BinOp():
            return OPERATORS[type(tree.op)](_result(key, tree.left, values), _result(key, tree.right, values))
        case ast.UnaryOp():
            return OPERATORS[type(tree.op)](_result(key, tree.operand, values))
        case ast.Constant(value=int() | float() as number):
            return float(number)
    return float(values[_key_of(key, ast.unparse(tree))])
