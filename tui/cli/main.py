"""`loratui`: start the terminal app, or run a command of the command line."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from engine.api import Cockpit
from engine.errors import FileError, LoratuiError, ProcessError, StoreMissing, UsageError
from engine.files.paths import Workspace, current_directory
from engine.files.permissions import PRIVATE_UMASK, set_umask
from engine.runner.launcher import start_runner
from engine.runner.workspace_runner import Start
from engine.system.user import name_user
from tui.cli.parser import parse
from tui.terminal.console import flush_output, open_outputs, say

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
LONGEST_QUOTE = 200
SWITCH_SECONDS = 0.0005  # a tenth of Python's: a key passes the threads that read and write the terminal


def main(argv: Sequence[str] | None = None, start: Start = start_runner) -> int:
    """Run one command or the app; return the exit code: 0, 1 for a round or process that failed, 2 for bad input.

    `start` starts the runner of a workspace; tests pass their own.
    """
    os.umask(PRIVATE_UMASK)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        open_outputs()
        code = _outcome(arguments, start)
        flush_output()
        return code
    except LoratuiError as error:
        missing = isinstance(error, StoreMissing) and "--readonly" not in arguments
        hint = ": `loratui new` makes one, --workspace DIR uses another" if missing else ""
        say(f"loratui: {error.message}{hint}", error=True)
        return EXIT_FAILED if isinstance(error, ProcessError) else EXIT_BAD_INPUT
    except UnicodeEncodeError as error:  # of what is stored: what is printed has another spelling instead
        text = error.object if len(error.object) <= LONGEST_QUOTE else f"{error.object[:LONGEST_QUOTE]}..."
        say(f"loratui: {text!r} is not UTF-8 text: rename the file, or type it again", error=True)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        return 0  # nobody reads the output any more
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from tui.terminal.crash_log import record_crash, shortage_of

        say(f"loratui: {record_crash(error)}", error=True)
        return EXIT_BAD_INPUT if shortage_of(error) else EXIT_FAILED


def _outcome(arguments: list[str], start: Start) -> int:
    """Run what the arguments ask for and return the exit code."""
    name_user()
    try:
        options = parse(arguments)
    except SystemExit:  # as argparse ends after help
        return 0
    workspace = _workspace(options)
    return _run_app(workspace, options, start) if options.function is None else _run(workspace, options, start)


def _workspace(options: argparse.Namespace) -> Workspace:
    """Return the workspace that the options name, by default this directory."""
    workspace = Workspace(Path("." if options.workspace is None else options.workspace))
    if options.workspace == "" or not os.path.isdir(workspace.root):
        raise UsageError(f"--workspace is {options.workspace!r}, which is not a directory")
    return workspace


def _run_app(workspace: Workspace, options: argparse.Namespace, start: Start) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the terminal app needs a terminal: use a command such as `loratui ls` in a script or a pipe")
    if not sys.stderr.isatty():
        say("loratui: the terminal app draws on the standard error: do not redirect it, as 2>FILE does")
        return EXIT_BAD_INPUT
    set_umask(workspace)
    for another in ("COLUMNS", "LINES"):  # Textual would use them instead of the terminal's size
        os.environ.pop(another, None)
    if "STY" in os.environ:  # GNU screen shows at most 256 colours, whatever the outer terminal can do
        os.environ.pop("COLORTERM", None)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.disable()  # the app enables it after its first table; objects made before live to the end
    from tui.app import LoratuiApp  # a command does not wait for Textual

    cockpit = Cockpit(workspace, start, readonly=options.readonly)
    app = LoratuiApp(cockpit, _current_directory(workspace))
    try:
        parting = app.run()
    finally:
        cockpit.drafts.close()
    if parting:
        say(f"loratui: {parting}", error=True)
    return app.return_code or 0


def _current_directory(workspace: Workspace) -> Path:
    """Return where the app's relative paths start: this directory, and if it was deleted, the workspace."""
    try:
        return current_directory()
    except FileError:
        return workspace.root


def _run(workspace: Workspace, options: argparse.Namespace, start: Start) -> int:
    """Run one command and return its exit code."""
    from tui.cli import commands

    set_umask(workspace)
    command: Callable[[Cockpit, argparse.Namespace], int] = getattr(commands, options.function)
    cockpit = Cockpit(workspace, start, readonly=options.readonly)
    try:
        return command(cockpit, options)
    finally:
        _say_notices(cockpit)


def _say_notices(cockpit: Cockpit) -> None:
    """Print the notices of the store: repairs, which a person sees only once, and what is wrong with it."""
    with suppress(LoratuiError):
        notices = cockpit.store.notices()
        for notice in notices:
            say(f"loratui: {notice}", error=True)
        if notices and sys.stderr.isatty():
            cockpit.store.dismiss()


if __name__ == "__main__":
    sys.exit(main())
