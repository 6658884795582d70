"""Replacements of single operations of a model, each tried on the model's own calls before it is used.

A replacement is installed only where, on the arguments that the model itself passes and under autocast as in training,
its results and gradients are those of the model's own code. Whatever goes wrong later, `Replacements.restore` gives the
model its own code back.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from engine.errors import LoratuiError
from engine.training.runtime.device import is_out_of_memory, random_state, set_random_state
from engine.training.runtime.hub_errors import first_line

LOG = logging.getLogger(__name__)
HALF_TOLERANCE = {torch.float16: 5e-3, torch.bfloat16: 2e-2}  # relative; models round once more

GIVEN_UP = "the model's own code is used from now on, as a pass with ours failed: %s"

Function = Callable[..., Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Call:
    """The arguments of one call that a model made, copied."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


class Site(ABC):
    """A place in a model where an operation is computed, and a replacement of it.

    Attributes:
        operation: a noun for the log.
        tolerance: the relative difference that is allowed in float32.
    """

    operation: str
    tolerance = 1e-5

    @property
    @abstractmethod
    def own(self) -> Function:
        """The model's own code."""

    @property
    @abstractmethod
    def replacement(self) -> Function:
        """A function with the arguments and results of `own`."""

    @property
    @abstractmethod
    def alike(self) -> Hashable:
        """A key; of the sites that share one, only one is tried."""

    @abstractmethod
    def install(self, function: Function) -> None:
        """Have the model call `function`."""

    @abstractmethod
    def restore(self) -> None:
        """Have the model call its own code again."""

    def trained(self) -> list[torch.nn.Parameter]:
        """Return the parameters whose gradients the operation computes."""
        return []

    def learning(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return those of the arguments, in order, whose gradients the operation computes."""
        return tensors

    def variants(self, call: Call) -> list[Call]:
        """Return the calls to try for one that the model made."""
        return [call]

    def comparable(self, own: torch.Tensor, ours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the parts of a result that have to be the same."""
        return own, ours

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Bring the site into the state in which it is tried."""
        yield


class ModuleSite(Site):
    """A module whose `forward` is replaced."""

    def __init__(self, operation: str, module: Any, replace: Callable[[Function], Function]) -> None:
        self.operation = operation
        self.module = module
        self._before = vars(module).get("forward")
        self._own: Function = module.forward
        self._replacement = replace(self._own)

    @property
    def own(self) -> Function:
        return self._own

    @property
    def replacement(self) -> Function:
        return self._replacement

    @property
    def alike(self) -> Hashable:
        return id(self.module)

    def install(self, function: Function) -> None:
        self.module.forward = function

    def restore(self) -> None:
        if self._before is None:
            vars(self.module).pop("forward", None)
        else:
            self.module.forward = self._before


@dataclass
class Replacements:
    """The replacements in use in a model."""

    sites: list[Site] = field(default_factory=list)

    def restore(self) -> None:
        """Give the model its own code back."""
        for site in self.sites:
            site.restore()
        self.sites = []

    def call(self, work: Callable[[], Result]) -> Result:
        """Return `work()`; if it fails, what the model's own code gives, which is used from then on if it works."""
        sites = self.sites
        try:
            return work()
        except Exception as error:
            if not sites or is_out_of_memory(error) or isinstance(error, LoratuiError):
                raise
            reason = first_line(error)
        self.restore()
        try:
            result = work()
        except Exception:
            for site in sites:
                site.install(site.replacement)
            self.sites = sites
            raise
        LOG.warning(GIVEN_UP, reason)
        return result


def replace_where_equal(
    sites: Iterable[Site], forward: Callable[[], object], precision: Callable[[], AbstractContextManager[object]]
) -> Replacements:
    """Install the replacements that give the model's own results and gradients, and log one line on each other kind.

    The random state is as before afterwards.

    Args:
        forward: a pass through the model, whose calls are what the replacements are tried on.
        precision: the autocast that the model is used with.
    """
    replacements, reasons = Replacements(), dict[str, str]()
    groups: dict[Hashable, list[Site]] = {}
    for site in sites:
        groups.setdefault(site.alike, []).append(site)
    before = random_state()
    try:
        calls = _calls_of(list(groups.values()), forward)
        for alike, made in zip(groups.values(), calls, strict=True):
            if not made:  # by this model: its own code is as good
                continue
            if (reason := _difference(alike[0], made, precision)) is not None:
                reasons[alike[0].operation] = reason
                continue
            replacements.sites += alike
            for site in alike:  # at once, as a later one may contain it
                site.install(site.replacement)
    except Exception as error:  # a model may do anything in a pass
        reasons["all operations"] = f"cannot be tried ({first_line(error)})"
        replacements.restore()
    finally:
        set_random_state(before)
    for operation, reason in reasons.items():
        LOG.warning("%s: the model's own code is used, as ours %s", operation, reason)
    return replacements


def _calls_of(groups: list[list[Site]], forward: Callable[[], object]) -> list[list[Call]]:
    """Return the calls that a pass makes at each group of sites, one for each combination of shapes."""
    calls: list[dict[Hashable, Call]] = [{} for _ in groups]

    def recorder(site: Site, made: dict[Hashable, Call]) -> Function:
        def record(*positional: Any, **named: Any) -> Any:
            if (shapes := _shapes(positional, named)) not in made:
                made[shapes] = Call(_copied(positional), _copied(named))
            return site.own(*positional, **named)

        return record

    with ExitStack() as stack:
        for alike, made in zip(groups, calls, strict=True):
            for site in alike:
                site.install(recorder(site, made))
                stack.callback(site.restore)
        with torch.no_grad():
            forward()
    return [list(made.values()) for made in calls]


def _shapes(positional: tuple[Any, ...], named: dict[str, Any]) -> Hashable:
    return tuple((value.shape, value.dtype) for value in _tensors((positional, tuple(named.values()))))


def _copied(value: Any) -> Any:
    """Return `value` with its tensors copied in their memory layout, outside any autograd graph."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone(memory_format=torch.preserve_format)
    if type(value) in (tuple, list):
        return type(value)(map(_copied, value))
    return {key: _copied(item) for key, item in value.items()} if type(value) is dict else value


def _tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors in a structure of tuples and lists, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, (tuple, list)) else []


def _difference(site: Site, calls: list[Call], precision: Callable[[], AbstractContextManager[object]]) -> str | None:
    """Say how results or gradients of the replacement differ from the model's own; None if they do not."""
    try:
        with site.prepared():
            for call in (variant for made in calls for variant in site.variants(made)):
                state = random_state()
                own = _results(site.own, site, call, precision)
                set_random_state(state)  # for the same masks of dropout
                ours = _results(site.replacement, site, call, precision)
                if (reason := _disagreement(site, own, ours)) is not None:
                    return reason
    except Exception as error:  # an operation that is called in another way, or a GPU without a compiler
        return f"fails ({first_line(error)})"
    return None


def _results(
    function: Function, site: Site, call: Call, precision: Callable[[], AbstractContextManager[object]]
) -> list[torch.Tensor | None]:
    """Return the outputs of a call, then its gradients by its inputs and by what is trained."""
    positional, named = _copied(call.positional), _copied(call.named)
    tensors = site.learning(_tensors((positional, tuple(named.values()))))
    inputs = [*(tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()), *site.trained()]
    with torch.inference_mode(False), torch.enable_grad(), precision():
        outputs = _tensors(function(*positional, **named))
    learning = [output for output in outputs if output.requires_grad]
    weights = [torch.linspace(-1, 2, output.numel()).to(output).view_as(output) for output in learning]
    gradients = torch.autograd.grad(learning, inputs, weights, allow_unused=True)
    return [*(output.detach() for output in outputs), *gradients]


def _disagreement(site: Site, own: list[torch.Tensor | None], ours: list[torch.Tensor | None]) -> str | None:
    """Say how two lists of results differ; None if they do not, by the lowest precision that the model has in its."""
    precisions = {theirs.dtype for theirs in own if theirs is not None}
    tolerance = max((HALF_TOLERANCE.get(dtype, site.tolerance) for dtype in precisions), default=0.0)
    for theirs, actual in zip(own, ours, strict=True):
        if theirs is None or actual is None:
            if theirs is not actual:
                return "has other gradients"
        elif theirs.shape != actual.shape or theirs.dtype != actual.dtype:
            return f"gives {actual.dtype} {tuple(actual.shape)} for {theirs.dtype} {tuple(theirs.shape)}"
        elif theirs.is_floating_point():
            expected, result = (part.double() for part in site.comparable(theirs, actual))
            error, size = float((result - expected).norm()), float(expected.norm())
            if not error <= tolerance * size:
                return f"differs by {error / max(size, 1e-30):.1e}"
    return None
