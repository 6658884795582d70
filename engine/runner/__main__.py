"""`python -P -m engine.runner WORKSPACE`: train the queue of a workspace."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path

from engine.errors import LoratuiError
from engine.files.paths import Workspace
from engine.files.permissions import set_umask
from engine.runner.queue import (
    EngineCommand,
    Runner,
    engine_command,
)
from engine.system.systemd import move_to_own_scope


def main(command: EngineCommand = engine_command) -> None:
    """`python -P -m engine.runner WORKSPACE`"""
    workspace = Workspace(Path(sys.argv[1]))
    set_umask(workspace)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores, and its children
    move_to_own_scope("loratui-runner")
    try:
        Runner(workspace, command).run()
    except LoratuiError as error:  # such as a workspace that was moved, whose new runner takes over
        print(error.message)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
