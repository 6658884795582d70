"""What the figures come to: a table, ratios of interleaved runs, and which targets are met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from rich import box
from rich.table import Table

from benchmarks.contenders import LORATUI
from benchmarks.measuring import Figures
from engine.text.humanize import format_bytes

REFERENCE, TRL = "reference", "trl"
FASTER = {  # wall time over this engine's, at least; of TRL that of its fastest configuration
    "cpu": {REFERENCE: 4.2, TRL: 3.0},
    "cuda": {REFERENCE: 6.0, TRL: 1.2},
}
HEADINGS = (
    "",
    "wall s",
    "CPU s",
    "first step at s",
    "steps s",
    "with evaluations s",
    "tokens/s",
    "TFLOP",
    "÷ fewest",
    "of matrix rate",
    "peak memory",
    "eval loss",
)
NOT_COUNTED = "–"
FLOPS_OVER_FEWEST = 1.05
LOSS_DIFFERENCE = 0.005
SHARE_OF_MATRIX_RATE = {"cpu": 0.65, "cuda": 0.45}


class Measured(Struct, frozen=True):
    """What the ruler says of a round.

    Attributes:
        train_samples, eval_samples: rows trained on and held out.
        tokens: of the training rows, each once, padding left out.
        eval_tokens: supervised tokens of the held-out rows.
        fewest_flops: of one epoch: each row alone, nothing computed twice, logits of supervised tokens only.
        base_loss: of the base model on the held-out rows, in nats per supervised token.
        losses: of each adapter, by the path it was given as.
    """

    train_samples: int
    eval_samples: int
    tokens: int
    eval_tokens: int
    fewest_flops: int
    base_loss: float
    losses: dict[str, float]


class Report(Struct, frozen=True):
    """Everything one run of the benchmark found.

    Attributes:
        machine: what it ran on, in lines.
        command: what was typed.
        device: cpu or cuda.
        epochs: how often the training rows were gone through.
        runs: the timed runs by contender, in the order of their repeats.
        flops: operations of all steps, by contender; without those that were not counted.
        losses: eval losses by contender, by the ruler, in the order of the runs, each of which has another seed.
        ruler: what the ruler says of the rows.
        matrix_rates: operations per second of the device in the precision that this engine trained in, measured after
            each of its runs.
    """

    machine: list[str]
    command: str
    device: str
    epochs: int
    runs: dict[str, list[Figures]]
    flops: dict[str, int]
    losses: dict[str, list[float]]
    ruler: Measured
    matrix_rates: list[float]

    @property
    def fewest_flops(self) -> int:
        """Of the whole round."""
        return self.ruler.fewest_flops * self.epochs

    @property
    def tokens(self) -> int:
        """Trained tokens of the whole round, padding left out."""
        return self.ruler.tokens * self.epochs

    def share_of_matrix_rate(self, contender: str) -> float | None:
        """The fewest operations over the time of the steps, as a part of the matrix rate; None if that is not known.

        The median of the runs, each beside the rate that was measured in its turn.
        """
        if not self.matrix_rates:
            return None
        pairs = zip(self.runs[contender], self.matrix_rates, strict=True)
        return statistics.median(self.fewest_flops / run.training_seconds / rate for run, rate in pairs)


Take = Callable[[Figures], float]


def wall(figures: Figures) -> float:
    return figures.wall_seconds


def cpu(figures: Figures) -> float:
    return figures.cpu_seconds


def training(figures: Figures) -> float:
    return figures.training_seconds


def ratios(report: Report, contender: str, take: Take) -> tuple[float, float]:
    """(median of the ratios of neighbouring runs, ratio of the minima), a contender over this engine."""
    theirs, ours = (list(map(take, report.runs[name])) for name in (contender, LORATUI))
    paired = [their / our for their, our in zip(theirs, ours, strict=True)]
    return statistics.median(paired), min(theirs) / min(ours)


def _median_and_minimum(values: Sequence[float], digits: int = 1) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f})"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table that prints as Markdown: the first column names, the others figures."""
    table = Table(box=box.MARKDOWN)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    return table


def figures_table(report: Report) -> Table:
    """A row for each contender: medians, and minima in brackets."""
    return markdown_table(HEADINGS, [_figures_row(report, name) for name in report.runs])


def _figures_row(report: Report, name: str) -> list[str]:
    runs = report.runs[name]
    return [
        name,
        _median_and_minimum([run.wall_seconds for run in runs]),
        _median_and_minimum([run.cpu_seconds for run in runs]),
        _median_and_minimum([run.first_step_seconds for run in runs]),
        _median_and_minimum([run.training_seconds for run in runs]),
        _median_and_minimum([run.evaluated_seconds for run in runs]),
        f"{report.tokens / statistics.median([run.training_seconds for run in runs]):,.0f}",
        f"{report.flops[name] / 1e12:.3f}" if name in report.flops else NOT_COUNTED,
        f"{report.flops[name] / report.fewest_flops:.3f}" if name in report.flops else NOT_COUNTED,
        NOT_COUNTED if (share := report.share_of_matrix_rate(name)) is None else f"{share:.2f}",
        format_bytes(statistics.median([run.peak_memory_bytes for run in runs])) + _estimate(runs),
        _mean_and_deviation(report.losses[name]),
    ]


def _mean_and_deviation(losses: Sequence[float]) -> str:
    mean = f"{statistics.mean(losses):.4f}"
    return mean if len(losses) == 1 else f"{mean} ± {statistics.stdev(losses):.4f}"


def _estimate(runs: Sequence[Figures]) -> str:
    """What was expected of the memory, in brackets; nothing where nobody expected."""
    estimates = [run.estimated_memory_bytes for run in runs if run.estimated_memory_bytes is not None]
    return f" (estimated {format_bytes(statistics.median(estimates))})" if estimates else ""


def ratios_table(report: Report) -> Table:
    """How many times as long each contender takes as this engine."""
    rows = [
        [name, *(f"{ratio:.2f}×" for take in (wall, cpu, training) for ratio in ratios(report, name, take))]
        for name in report.runs
        if name != LORATUI
    ]
    headings = [f"{what}, {which}" for what in ("wall", "CPU", "steps") for which in ("median", "minima")]
    return markdown_table([f"÷ {LORATUI}", *headings], rows)


def verdicts(report: Report) -> list[str]:
    """A line for each target, met or not."""
    if LORATUI not in report.runs:
        return []
    lines = []
    for kind, wanted in FASTER[report.device].items():
        names = [name for name in report.runs if name.partition("-")[0] == kind]
        if names:
            name = min(names, key=lambda name: ratios(report, name, wall)[0])
            steps = ratios(report, name, training)[0]
            what = f"wall time of {name} ÷ {LORATUI} (steps alone: {steps:.2f})"
            lines.append(_verdict(what, ratios(report, name, wall)[0], wanted, at_least=True))
    if LORATUI in report.flops:
        what = "FLOPs ÷ the fewest that give the same gradients"
        lines.append(_verdict(what, report.flops[LORATUI] / report.fewest_flops, FLOPS_OVER_FEWEST))
    if REFERENCE in report.losses:
        ours, reference = (statistics.mean(report.losses[name]) for name in (LORATUI, REFERENCE))
        lines.append(
            _verdict("eval loss, distance from the reference's", abs(ours - reference) / reference, LOSS_DIFFERENCE)
        )
    lines += [
        _noise_verdict(report, name) for name in report.losses if name != LORATUI and len(report.losses[name]) > 1
    ]
    share = report.share_of_matrix_rate(LORATUI)
    if share is not None:
        lines.append(_verdict("share of the matrix rate", share, SHARE_OF_MATRIX_RATE[report.device], at_least=True))
    return lines


def _noise_verdict(report: Report, name: str) -> str:
    """Whether the mean eval losses of a contender and of this engine are as near as those of one of them by seed."""
    theirs, ours = report.losses[name], report.losses[LORATUI]
    spread = max(max(losses) - min(losses) for losses in (theirs, ours))
    distance = abs(statistics.mean(theirs) - statistics.mean(ours))
    return _verdict(f"eval loss, distance of the means from {name}'s", distance, spread)


def _verdict(what: str, value: float, wanted: float, *, at_least: bool = False) -> str:
    met = value >= wanted if at_least else value <= wanted
    return f"{'met' if met else 'NOT met'}: {what} is {value:.4g}, wanted {'>=' if at_least else '<='} {wanted:.3g}"
