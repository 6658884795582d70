"""The arguments of `loratui sweep` and the commands below it."""

from __future__ import annotations

import argparse
from typing import get_args


def sweep_number(parser: argparse.ArgumentParser) -> None:
    """Add the number of a sweep."""
    parser.add_argument("number", type=int, metavar="N", help="number of the sweep")


def limits(parser: argparse.ArgumentParser) -> None:
    """Add what ends a sweep."""
    parser.add_argument("--trials", type=int, metavar="N", help="try at most N settings (default: all of a grid)")
    parser.add_argument(
        "--budget", metavar="TIME", help="begin no setting once its rounds have trained so long: 90m, 2h, 1h30m"
    )


def sampling(parser: argparse.ArgumentParser) -> None:
    """Add how settings are chosen."""
    from engine.sweeps.sweep import SamplerName

    parser.add_argument(
        "--sampler", choices=get_args(SamplerName), default="tpe", help="what chooses the settings (default: tpe)"
    )
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="N", help="rounds of each setting, with other seeds (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampler (default: 0)")
