"""The subject of `bench check`: decide whether it is a problem or an optimizer, and check it."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from bench.harness.check.laws import Finding, check_laws, one_thread
from bench.harness.check.method_laws import MethodLaws
from bench.harness.check.problem_laws import ProblemLaws
from bench.harness.check.small_problems import CASES, network_for
from bench.harness.core.errors import BenchError, Infrastructure, Usage
from bench.harness.core.notices import say
from bench.harness.core.paths import data_source
from bench.harness.planning import problems
from bench.models.problem import DataError, Problem
from bench.optim import plugins, registry
from bench.optim.hyperparameters import nearest
from bench.optim.objective import Method
from bench.optim.plugins import short
from bench.optim.random_streams import RandomStreams
from bench.optim.text import ParsedEntry, parse
from bench.optim.torch.adapter import TORCH_PREFIX, is_factory
from bench.optim.torch.configured import takes_names
from bench.optim.torch.signature import UPDATES, counts

Kind = Literal["problem", "optimizer"]
PARAMETERS = ("params", "parameters", "param_groups")
"""What the first argument of a function that makes an optimizer is called."""


@dataclass(frozen=True)
class LawReport:
    """The checked problem or optimizer, with one finding for each law."""

    name: str
    kind: Kind
    preset: str | None
    findings: list[Finding]

    @property
    def broken(self) -> int:
        """The number of laws that do not hold."""
        return sum(finding.state == "fails" for finding in self.findings)


def check(text: str, preset: str, data_dir: str | None) -> LawReport:
    """Check the problem or optimizer named by `text` against every law.

    Raises Usage if there is no such problem or optimizer, and Infrastructure if data are missing.
    """
    if kind_of(text) == "optimizer":
        method, written = registry.resolve(text), parse(text)
        batch = method.hyperparameters.get("batch", 0)
        if isinstance(batch, int) and batch > CASES:
            # A larger batch costs more and shows nothing else: it repeats the same cases.
            say(f"The laws are checked with batch={CASES}: the small problems have no more cases.")
            written = _with(written, batch=CASES)
        network_for(_make_method(written))  # Raises UsageError if there is none.
        laws = MethodLaws(partial(_make_method, written)).laws()
        with one_thread():
            return LawReport(text, "optimizer", None, check_laws(laws))
    source = data_source(data_dir)
    problems.resolve(text, preset)
    try:
        laws = ProblemLaws(lambda at: problems.resolve(text, at), preset, source).laws()
        return LawReport(text, "problem", preset, check_laws(laws))
    except DataError as error:
        raise Infrastructure(str(error)) from error
    except ValueError as error:  # The data do not fit the network.
        raise Usage(f"{text}: {str(error).rstrip('.')}.") from error
    except BenchError:
        raise
    except Exception as error:  # Somebody's own code may raise anything.
        raise Usage(f"{text}: its data() raised {short(error).rstrip('.')}.") from error


def _make_method(written: ParsedEntry, **given: object) -> Method:
    """Return the method of an entry, with some of its values replaced."""
    (method,) = registry.make(_with(written, **given))
    return method


def _with(written: ParsedEntry, **given: object) -> ParsedEntry:
    values = {**written.values, **{name: (str(value),) for name, value in given.items()}}
    return replace(written, values=values)


def _makes_an_optimizer(loaded: object) -> bool:
    """Return whether a function is a factory of torch optimizers, and not of a problem."""
    if not is_factory(loaded) or isinstance(loaded, Problem):
        return False
    if takes_names(loaded):
        return True
    function: Any = loaded
    try:
        with RandomStreams.seeded(0).in_place():
            told = dict.fromkeys(counts(function, ""), UPDATES)
            made = function([torch.nn.Parameter(torch.zeros(1, 1))], **told)
    except Exception:
        # A user's function may take other arguments; if not, its error is that of an optimizer.
        with suppress(TypeError, ValueError):  # Some callables do not say what they take.
            return next(iter(inspect.signature(function).parameters), None) in PARAMETERS
        return False
    return isinstance(made, torch.optim.Optimizer)


def kind_of(text: str) -> Kind:
    """Return whether a text names a problem or an optimizer; raise Usage if neither."""
    written = parse(text)
    name = written.name
    if len(written.names) > 1:
        return "optimizer"
    if name in problems.names():
        return "problem"
    if name in registry.names() or name.startswith(TORCH_PREFIX):
        return "optimizer"
    if plugins.is_plugin(name):
        loaded = plugins.load(name)
        is_method = callable(getattr(loaded, "step", None)) or _makes_an_optimizer(loaded)
        return "optimizer" if is_method else "problem"
    known = [*problems.names(), *registry.names()]
    raise Usage(
        f"{name}: there is no such problem or optimizer{nearest(name, known)} The names are: "
        f"{', '.join(known)}. You can also use torch.optim.NAME, and your own as "
        "package.module:Name or ./file.py:Name."
    )
