"""Define a row of training data, in whatever format it was written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal, TypeAlias

from msgspec import Struct, field

SHOWN_COLUMNS = 8
LETTERS_OF_A_NAME = 40

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class AlpacaRow(Struct, frozen=True, tag="alpaca"):
    """An instruction and its output (https://github.com/tatsu-lab/stanford_alpaca); `input` may be empty.

    LLaMA-Factory adds `system`, `history`, earlier instructions with their outputs, and `tools`, a list in JSON;
    `reasoning` comes before the output.
    """

    instruction: str
    output: str
    input: str = ""
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()
    tools: str = ""
    reasoning: str = ""


class PromptCompletion(Struct, frozen=True, tag="prompt-completion"):
    """A prompt and its completion; the rest as in an Alpaca row."""

    prompt: str
    completion: str
    input: str = ""
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()
    tools: str = ""
    reasoning: str = ""


class Turn(Struct, frozen=True, array_like=True):
    """One message of a conversation.

    Attributes:
        supervised: whether it is an assistant's and to be learned.
        tool_calls: the functions that an assistant calls, a list in JSON; "" for none.
        reasoning: what an assistant thinks before the content, "" for nothing.
        name, tool_call_id: of a tool's result, the function and the call that it is the result of; "" if not named.
    """

    role: Role
    content: str
    supervised: bool = False
    tool_calls: str = ""
    name: str = ""
    tool_call_id: str = ""
    reasoning: str = ""


class Conversation(Struct, frozen=True, tag="conversation"):
    """Turns in their order, at least one of them supervised, and the tools that may be called, a list in JSON."""

    turns: tuple[Turn, ...]
    tools: str = ""


class PlainText(Struct, frozen=True, tag="text"):
    """Text without a prompt: all of it is learned."""

    text: str


Row: TypeAlias = AlpacaRow | PromptCompletion | Conversation | PlainText


class Unusable(ValueError):
    """A record that cannot be trained on; the message is a clause that begins with `it` or `its`."""


class RowProblem(Struct, frozen=True):
    """A row that cannot be trained on; `number` counts the dataset's rows from 1."""

    number: int
    reason: str


class DetectedFormat(Struct, frozen=True):
    """The format of a dataset's rows by its name in `data.format`.

    Attributes:
        columns: the columns by which it was recognized.
        roles: the columns that are used, by their roles.
        unused: the columns, and keys of messages, that hold something in a row that is trained on without it.
        chat_parts: what some rows have that only a chat template can write. With any, all rows are read as
            conversations.
    """

    name: str = field(name="format")  # as `loratui preview --json` prints it
    columns: tuple[str, ...]
    unused: tuple[str, ...] = ()
    chat_parts: tuple[str, ...] = ()
    roles: dict[str, str] = {}

    def __str__(self) -> str:
        used = [column if column == role else f"{role}: {column}" for role, column in self.roles.items()]
        rows = f"{self.name} rows ({', '.join(used or self.columns)})"
        return f"{rows}, every token supervised" if self.name == "text" else rows

    def remarks(self) -> list[str]:
        """Return a clause each on how all rows are read, and on the columns that are not used."""
        chat = f"read as conversations, as some have {' and '.join(self.chat_parts)}" if self.chat_parts else ""
        unused = f"not used: {column_list(self.unused)}" if self.unused else ""
        return [remark for remark in (chat, unused) if remark]


def column_list(names: Iterable[object]) -> str:
    """Return the first names of columns in alphabetical order, and the number of the others."""
    ordered = sorted(str(name).encode(errors="backslashreplace").decode() for name in names)
    more = f" and {len(ordered) - SHOWN_COLUMNS} more" if len(ordered) > SHOWN_COLUMNS else ""
    return (", ".join(name[:LETTERS_OF_A_NAME] for name in ordered[:SHOWN_COLUMNS]) or "nothing") + more


class Rows(Struct, frozen=True):
    """The first rows of a dataset: the usable ones, and those that are left out; its commit if it is of the hub."""

    format: DetectedFormat
    usable: tuple[Row, ...]
    passed_over: tuple[RowProblem, ...]
    revision: str | None = None

    def __len__(self) -> int:
        return len(self.usable) + len(self.passed_over)

    def at(self, number: int) -> Row | RowProblem:
        """Return the row of that number in the dataset, from 1 to the length, or its problem."""
        before = bisect_left(self.passed_over, number, key=lambda problem: problem.number)
        if before < len(self.passed_over) and self.passed_over[before].number == number:
            return self.passed_over[before]
        return self.usable[number - 1 - before]

    def warning(self) -> str | None:
        """Return one sentence on the rows left out, None without any."""
        return left_out(len(self.passed_over), self.passed_over[0]) if self.passed_over else None


class RowCount(Struct, frozen=True):
    """Counts of the first rows.

    Attributes:
        first: the first usable row.
        problem: that of the first row left out.
        longest_text: bytes of the longest row of plain text, 0 without any.
    """

    format: DetectedFormat
    usable: int
    passed_over: int
    first: Row
    problem: RowProblem | None
    longest_text: int = 0

    def examples(self, max_length: int) -> int | None:
        """Return the number of examples to be trained on, None where text may be cut into windows of `max_length`.

        A token is at least a byte; two more may be added at the ends.
        """
        return None if self.longest_text + 2 > max_length else self.usable

    def warning(self) -> str | None:
        """Return one sentence on the rows left out, None without any."""
        return left_out(self.passed_over, self.problem) if self.problem is not None else None


class MeasuredExamples(Struct, frozen=True):
    """The examples that the rows of `data.path` and of each source in `data.mix` become, by their lengths in tokens.

    With `are_all` every row was measured; else the numbers follow from a part of them.
    """

    numbers: tuple[int, ...]
    are_all: bool


def left_out(count: int, first: RowProblem) -> str:
    """Return one sentence on `count` rows that are not trained on."""
    word = "row was" if count == 1 else "rows were"
    return f"{count} {word} left out; the first is row {first.number}: {first.reason}"
