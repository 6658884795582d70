"""Write every command and its options into docs/command-line.md: `python -m scripts.commands`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scripts.pages import DOCS, Part
from tui.cli.arguments import COMMANDS, Command
from tui.cli.parser import Parser

PART = Part(DOCS / "command-line.md", "<!-- commands: written by scripts/commands.py -->", "<!-- end of commands -->")


def each_command(
    commands: Mapping[str, Command] = COMMANDS, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, Command]]:
    """Yield every command with its words, those below another after it."""
    for name, command in commands.items():
        yield " ".join((*above, name)), command
        yield from each_command(command.subcommands, (*above, name))


def overview() -> str:
    """Return a Markdown table with a line for each command."""
    rows = [f"| [`{words}`](#{words.replace(' ', '-')}) | {command.sentence} |" for words, command in each_command()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def details(words: str, command: Command) -> str:
    """Return a section with the usage of a command and a line for each argument."""
    parser = Parser(prog=f"loratui {words}", add_help=False)
    command.add_arguments(parser)
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    lines = [f"### {words}", "", f"`{usage}`", ""]
    for action in parser._actions:
        names = [
            name if action.nargs == 0 else f"{name} {action.metavar or '|'.join(action.choices or ())}"
            for name in action.option_strings
        ]
        names = names or [str(action.metavar or action.dest)]
        lines.append(f"- {', '.join(f'`{name}`' for name in names)}: {action.help}")
    return "\n".join(lines).rstrip()


def reference() -> str:
    """Return the overview and a section for each command."""
    return "\n\n".join([overview(), *(details(words, command) for words, command in each_command())])


if __name__ == "__main__":
    PART.write(reference())
