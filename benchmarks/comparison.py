"""Run the contenders in turn, count, measure, and say which targets are met."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console

from benchmarks.contenders import CONTENDERS, DEFAULT, LORATUI, TRL_MODULE
from benchmarks.machine import describe_machine
from benchmarks.measuring import BenchmarkError, Figures, ask, count_contender, environment, make_run, time_contender
from benchmarks.report import Measured, Report, figures_table, ratios_table, verdicts
from engine.errors import LoratuiError
from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import Evaluated, Prepared, Step
from engine.spec.fields import build_spec, parse_value
from engine.spec.schema import Spec
from engine.text.humanize import format_duration


def add_round_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained, and on what."""
    parser.add_argument("--model", required=True, type=Path, help="directory of the base model")
    parser.add_argument("--data", required=True, type=Path, help="Alpaca rows, .json or .jsonl")
    parser.add_argument("--rows", type=int, default=256, help="use the first N rows, a tenth of them held out")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=len(psutil.Process().cpu_affinity() or [0]))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a field of the round's spec, for all contenders",
    )


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/engine.py", description=__doc__)
    add_round_options(parser)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--repeats", type=int, default=3, help="timed runs of each contender, interleaved, each with another train.seed"
    )
    parser.add_argument(
        "--contenders", default=",".join(DEFAULT), help=f"some of {', '.join(CONTENDERS)}; default %(default)s"
    )
    parser.add_argument(
        "--no-flops", action="store_true", help="do not run each contender once more to count operations"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the run directories in this new directory")
    options = parser.parse_args(arguments)
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep is {options.keep}, and there is something in it: give an empty directory or a new one")
    options.contenders = options.contenders.split(",")
    for name in options.contenders:
        if name not in CONTENDERS:
            parser.error(f"there is no contender {name!r}; there are {', '.join(CONTENDERS)}")
        if CONTENDERS[name][0] == TRL_MODULE and find_spec("trl") is None:
            parser.error(
                f"{name} needs trl: pip install -c constraints.txt -e '.[bench]', or leave it out of --contenders"
            )
    return options


def make_spec(options: argparse.Namespace) -> Spec:
    """The round that all train; raises SpecError for a field that does not exist."""
    values: dict[str, Any] = {
        "model.path": str(options.model.resolve()),
        "data.path": str(options.data.resolve()),
        "data.samples": options.rows,
        "data.max_length": 512,
        "train.per_device_train_batch_size": 4,
        "train.gradient_accumulation_steps": 8,
        "train.num_train_epochs": float(options.epochs),
    }
    for setting in options.set:
        key, _, text = setting.partition("=")
        values[key] = parse_value(key, text)
    return build_spec(values)


def choose_device(wanted: str, directory: Path, threads: int) -> tuple[str, str]:
    """(cpu or cuda, what it is called); raises BenchmarkError if it is not what was wanted."""
    answer = ask("engine.training.runtime.device", [], directory, environment(directory, wanted, threads))
    told = msgspec.json.decode(answer, type=dict[str, str])
    if wanted not in ("auto", told["device"]):
        raise BenchmarkError(f"--device is {wanted}, but torch finds no such device here")
    if told["device"] not in ("cpu", "cuda"):
        raise BenchmarkError(f"the device is {told['device']}: give --device cpu")
    return told["device"], f"{told['device']}, {told['name']}"


def say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)


class Comparison:
    """The contenders on one round, in run directories under `directory`."""

    def __init__(self, spec: Spec, contenders: list[str], directory: Path, device: str, threads: int) -> None:
        self.spec = spec
        self.contenders = contenders
        self.directory = directory
        self.device = device
        self.threads = threads
        self.matrix_rates: list[float] = []

    def time(self, repeats: int) -> dict[str, list[Figures]]:
        """Each contender `repeats` times, in turn, beginning with another one each time.

        Each repeat has a seed of its own, which is that of all contenders in it.
        """
        runs: dict[str, list[Figures]] = {name: [] for name in self.contenders}
        for repeat in range(repeats):
            turn = repeat % len(self.contenders)
            for name in [*self.contenders[turn:], *self.contenders[:turn]]:
                run = self._make_run(_repeated(name, repeat), repeat)
                figures = time_contender(name, run, self._variables(run), self.device)
                runs[name].append(figures)
                if name == LORATUI:
                    self.matrix_rates.append(self._matrix_rate(prepared_in(run).dtype))
                say(
                    f"{repeat + 1}/{repeats} {name}: {format_duration(figures.wall_seconds)}, "
                    f"steps {figures.training_seconds:.1f} s, first step at {figures.first_step_seconds:.1f} s"
                )
        return runs

    def count(self) -> dict[str, int]:
        """Operations of each contender's steps; one that cannot be counted, which takes more memory, is left out."""
        flops = {}
        for name in self.contenders:
            run = self._make_run(f"{name}-counted")
            try:
                flops[name] = count_contender(name, run, self._variables(run))
            except BenchmarkError as error:
                say(f"{name} is not counted: {error}")
            else:
                say(f"{name}: {flops[name] / 1e12:.3f} TFLOP")
        return flops

    def measure(self, repeats: int) -> tuple[Measured, dict[str, list[float]]]:
        """What the ruler says of the round, and of the adapters that each contender made, in the order of its repeats.

        Raises:
            BenchmarkError: this engine counts other rows or tokens than the ruler.
        """
        run = self._make_run("ruler")
        runs = {
            name: [RunDir(self.directory / _repeated(name, repeat)) for repeat in range(repeats)]
            for name in self.contenders
        }
        adapters = [str(each.adapter) for of_contender in runs.values() for each in of_contender]
        answer = ask("benchmarks.ruler", [str(run.path), *adapters], run.path, self._variables(run))
        measured = msgspec.json.decode(answer, type=Measured)
        for each in runs.get(LORATUI, ()):
            check_rows(each, measured, int(self.spec.train.num_train_epochs))
        return measured, {name: [measured.losses[str(each.adapter)] for each in runs[name]] for name in runs}

    def _matrix_rate(self, dtype: str) -> float:
        """Operations per second of the device in a precision, when all else on the machine is as in the run before."""
        directory = self.directory / "matrix_rate"
        variables = environment(directory, self.device, self.threads)
        return float(ask("benchmarks.matrix_rate", [self.device, dtype], directory, variables))

    def _make_run(self, name: str, repeat: int = 0) -> RunDir:
        train = msgspec.structs.replace(self.spec.train, seed=self.spec.train.seed + repeat)
        return make_run(self.directory / name, msgspec.structs.replace(self.spec, train=train))

    def _variables(self, run: RunDir) -> Mapping[str, str]:
        return environment(run.path, self.device, self.threads)


def _repeated(name: str, repeat: int) -> str:
    return f"{name}-run{repeat + 1}"


def prepared_in(run: RunDir) -> Prepared:
    """What this engine recorded before its first step."""
    return next(event for event in read_events(run.events) if isinstance(event, Prepared))


def check_rows(run: RunDir, measured: Measured, epochs: int) -> None:
    """Raise BenchmarkError unless this engine learned and counted what the ruler does."""
    events, prepared = read_events(run.events), prepared_in(run)
    tokens = [event.trained_tokens for event in events if isinstance(event, Step)][-1]
    counted = [event.supervised_tokens for event in events if isinstance(event, Evaluated)][-1]
    ours = prepared.train_samples, prepared.eval_samples, tokens, counted
    theirs = measured.train_samples, measured.eval_samples, measured.tokens * epochs, measured.eval_tokens
    if ours != theirs:
        raise BenchmarkError(
            f"rows trained on, rows held out, tokens trained on and tokens evaluated are {ours} in {LORATUI} and "
            f"{theirs} by the ruler: nothing can be compared"
        )


def compare(options: argparse.Namespace, directory: Path) -> Report:
    """Everything, which takes minutes."""
    spec = make_spec(options)
    epochs = spec.train.num_train_epochs
    if not epochs.is_integer():
        raise BenchmarkError(f"train.num_train_epochs is {epochs}: only whole epochs can be compared")
    device, device_name = choose_device(options.device, directory, options.threads)
    machine = describe_machine(device_name, options.threads)
    say("; ".join(machine))
    comparison = Comparison(spec, options.contenders, directory, device, options.threads)
    runs = comparison.time(options.repeats)
    measured, losses = comparison.measure(options.repeats)
    return Report(
        machine=machine,
        command=" ".join(["python", *sys.argv]),
        device=device,
        epochs=int(epochs),
        runs=runs,
        flops={} if options.no_flops else comparison.count(),
        losses=losses,
        ruler=measured,
        matrix_rates=comparison.matrix_rates,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit code: 0 whether or not the targets are met, 1 if there is no comparison."""
    options = read_options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends the contender at work too
    try:
        with tempfile.TemporaryDirectory(prefix="loratui-benchmark-") as temporary:
            directory = (options.keep or Path(temporary)).resolve()
            directory.mkdir(parents=True, exist_ok=True)
            report = compare(options, directory)
    except (BenchmarkError, LoratuiError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    show(report)
    return 0


def show(report: Report) -> None:
    """The report on the standard output, as Markdown."""
    console = Console(width=200)
    for line in report.machine:
        console.print(line, highlight=False)
    console.print(figures_table(report))
    console.print(
        f"{report.tokens:,} trained tokens; fewest FLOPs {report.fewest_flops / 1e12:.3f} T; "
        f"eval loss of the base model {report.ruler.base_loss:.4f}; medians, minima in brackets; of the eval loss the "
        f"mean over the seeds and their standard deviation",
        highlight=False,
    )
    if report.matrix_rates:
        rates = ", ".join(f"{rate / 1e12:.3f}" for rate in report.matrix_rates)
        console.print(f"matrix rate after each run of {LORATUI}: {rates} TFLOP/s", highlight=False)
    if LORATUI in report.runs and len(report.runs) > 1:
        console.print(ratios_table(report))
    for line in verdicts(report):
        console.print(line, highlight=False)
