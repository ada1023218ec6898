"""What is to be checked: a problem or an optimizer, told apart by its name or by what it has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from bench.harness.check.laws import Finding, examine, one_thread
from bench.harness.check.method_laws import MethodLaws
from bench.harness.check.problem_laws import ProblemLaws
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.paths import data_source
from bench.harness.planning import problems
from bench.models.problem import DataError
from bench.optim import plugins, registry
from bench.optim.hyperparameters import nearest
from bench.optim.objective import Method
from bench.optim.text import Written, parse
from bench.optim.torch.adapter import TORCH_PREFIX

Kind = Literal["problem", "optimizer"]


@dataclass(frozen=True)
class Checked:
    """What was checked, and what came of every law."""

    name: str
    kind: Kind
    preset: str | None
    findings: list[Finding]

    @property
    def broken(self) -> int:
        """How many laws do not hold."""
        return sum(finding.state == "fails" for finding in self.findings)


def check(text: str, preset: str, data_dir: str | None) -> Checked:
    """Try every law on the problem or optimizer that `text` means.

    Raises Usage where there is none, Infrastructure where data is missing.
    """
    if kind_of(text) == "optimizer":
        registry.resolve(text)
        laws = MethodLaws(partial(_made, parse(text))).laws()
        with one_thread():
            return Checked(text, "optimizer", None, examine(laws))
    source = data_source(data_dir)
    problems.resolve(text, preset)
    try:
        laws = ProblemLaws(lambda at: problems.resolve(text, at), preset, source).laws()
        return Checked(text, "problem", preset, examine(laws))
    except DataError as error:
        raise Infrastructure(str(error)) from error
    except ValueError as error:  # A network that its data do not fit.
        raise Usage(f"{text}: {str(error).rstrip('.')}.") from error


def _made(written: Written, **given: object) -> Method:
    """Return the method that was written, with some values in place of what is written."""
    values = {**written.values, **{name: (str(value),) for name, value in given.items()}}
    (method,) = registry.make(replace(written, values=values))
    return method


def kind_of(text: str) -> Kind:
    """Say which of the two a text means; Usage where it is neither."""
    name = parse(text).name
    if name in problems.names():
        return "problem"
    if name in registry.names() or name.startswith(TORCH_PREFIX):
        return "optimizer"
    if plugins.is_plugin(name):
        loaded = plugins.load(name)
        return "optimizer" if callable(getattr(loaded, "step", None)) else "problem"
    known = [*problems.names(), *registry.names()]
    raise Usage(
        f"{name}: there is no such problem or optimizer{nearest(name, known)} There are: "
        f"{', '.join(known)}; torch.optim.NAME; and package.module:Name or ./file.py:Name for "
        "your own."
    )
