"""A process that has imported what engines and workers need, or what draws charts, and forks one for each request.

`python -P -m tests.support.fork_server SOCKET training|charts PADDING`: `tests.support.forking` starts it and sends the
requests.
A request is a line of JSON, a `Request`, that comes with the descriptors of the new process.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import resource
import runpy
import signal
import socket
import sys
import traceback
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Struct

HIGH = 1000  # descriptors are moved out of the way of those that a process is to have


class Request(Struct, frozen=True):
    """One process to start.

    Attributes:
        words: the command line, `[python, "-P", "-m", module, ...]` or `[python, "-P", "-c", code, ...]`.
        descriptors: the numbers under which it has the descriptors that come with the request.
        file_bytes: how far it may let a file grow; None for no limit.
    """

    words: list[str]
    directory: bytes
    environment: dict[str, str]
    descriptors: list[int]
    new_session: bool
    file_bytes: int | None


def main() -> None:
    from engine.training.runtime.fast_exit import FastExit

    end = FastExit()  # before the libraries are imported, as it must be
    channel = socket.socket(fileno=int(sys.argv[1]))
    {"training": import_training, "charts": import_charts}[sys.argv[2]]()
    gc.collect()
    gc.freeze()  # so that the pages stay shared
    end.exit_code = 0
    request = serve(channel)
    if request is None:
        return
    end.exit_code = None
    end.exit_code = run(request)


def import_training() -> None:
    """Import what takes seconds, and nothing that is run as `__main__`."""
    from engine.training.runtime.imports import quieten

    quieten()
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # as `importing` leaves it out
    import engine.training.data.render
    import engine.training.loop.recipe
    import engine.training.runtime.device
    import engine.training.workers.chat_model
    import engine.training.workers.scorer  # noqa: F401, imported so that every fork has it


def import_charts() -> None:
    """Import what draws charts, with the fonts and the two formats."""

    import engine.report.chart_drawing  # noqa: F401, imported so that every fork has it


def serve(channel: socket.socket) -> Request | None:
    """Fork for each request; return it in the process so started, and None here once there are no more."""
    while received := receive(channel):
        request, descriptors = received
        between = os.fork()
        if between == 0:
            # A second fork, whose parent ends at once: the process goes to the next ancestor that takes orphans in.
            pid = os.fork()
            if pid == 0:
                become(request, descriptors)
                return request
            channel.sendall(f"{pid}\n".encode())
            os._exit(0)
        os.waitpid(between, 0)
        channel.sendall(b"started\n")
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def receive(channel: socket.socket) -> tuple[Request, list[int]] | None:
    line, descriptors = b"", list[int]()
    while not line.endswith(b"\n"):
        data, more, _, _ = socket.recv_fds(channel, 1 << 20, 64)
        if not data:
            return None
        line, descriptors = line + data, descriptors + more
    return msgspec.json.decode(line, type=Request), descriptors


def become(request: Request, descriptors: list[int]) -> None:
    """Have the session, descriptors, limits, environment and directory that the request says."""
    if request.new_session:
        os.setsid()
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, HIGH) for descriptor in descriptors]
    for descriptor, number in zip(moved, request.descriptors, strict=True):
        os.dup2(descriptor, number)
    last = 2
    for number in sorted(number for number in request.descriptors if number > 2):
        os.closerange(last + 1, number)
        last = number
    os.closerange(last + 1, HIGH + len(moved))
    if request.file_bytes is not None:
        sys.dont_write_bytecode = True  # which would be cut short and stay
        resource.setrlimit(resource.RLIMIT_FSIZE, (request.file_bytes, request.file_bytes))
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.directory)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    show_words(request.words)


def show_words(words: list[str]) -> None:
    """Have `ps` show this command line, as tests find processes by it: written over that of the server."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
    line = b"\0".join(word.encode() for word in words)[: end - start - 1]
    ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)


def run(request: Request) -> int:
    """Run the module or the code as `__main__`; the exit code."""
    _, _, kind, what, *arguments = request.words
    try:
        if kind == "-m":
            sys.argv = [what, *arguments]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.argv = ["-c", *arguments]
            sys.modules["__main__"] = module = ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), vars(module))
    except SystemExit as ended:
        return exit_code(ended.code)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def exit_code(code: Any) -> int:
    """What Python makes of the argument of `sys.exit`."""
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
