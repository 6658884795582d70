"""Match a person's regular expression with the names of modules, as peft does, within a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from engine.errors import SpecError

SECONDS = 5.0  # to match all names, which takes milliseconds unless the expression backtracks without end
MATCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
json.dump([name for name in names if re.fullmatch(pattern, name)], sys.stdout)
"""


def full_matches(key: str, pattern: str, names: Sequence[str]) -> list[str]:
    """Return those of `names` that `pattern`, the value of the field `key`, matches as a whole, in their order.

    They are matched in a process of its own: `re` holds the interpreter's lock, and some expressions never end.

    Raises:
        SpecError: it is not a regular expression, or takes too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", MATCH],
            input=json.dumps((pattern, names)).encode(),
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise SpecError(
            f"{key} is {pattern!r}, a regular expression that takes too long to match: write it without a repetition "
            f"within a repetition",
            key,
        ) from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2].partition(": ")[2]
        raise SpecError(f"{key} is {pattern!r}, which is not a valid regular expression: {reason}", key)
    return msgspec.json.decode(done.stdout, type=list[str])
