"""`python -P -m engine.report.chart_process`: draw the curves of some rounds, for `engine.report.chart_client`."""

from __future__ import annotations

import os
import sys

import msgspec

from engine.errors import reason_of
from engine.report.chart_client import ChartFile, ChartRequest
from engine.system.worker_process import Refusal


def main() -> None:
    """Draw the request on the standard input."""
    os.chdir("/")  # where no matplotlibrc lies
    from engine.report.chart_drawing import draw_chart  # matplotlib, in this process alone

    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=ChartRequest)
    answer: ChartFile | Refusal
    try:
        answer = draw_chart(request)
    except OSError as error:
        answer = Refusal(f"{error.filename} cannot be read, so that nothing is drawn: {reason_of(error)}")
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")


if __name__ == "__main__":
    main()
