"""`bench list`: what can be compared, and what is recorded."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from bench.harness.cli import list_recorded
from bench.optim.values import kind_text, takes_words, value_text, without_none

if TYPE_CHECKING:
    from rich.table import Table

    from bench.optim.hyperparameters import Hyperparameter


@click.group("list", epilog="Example: bench list problems")
def command() -> None:
    """List problems, optimizers, comparisons, trials, claims or baselines."""


for recorded in (
    list_recorded.comparisons_,
    list_recorded.trials,
    list_recorded.claims,
    list_recorded.baselines,
):
    command.add_command(recorded)


@command.command(epilog="Example: bench list problems | grep quick")
def problems() -> None:
    """List problems, one line per preset: network, data, budget, metric and targets."""
    from bench.harness.cli.console import UNFOLDED, add_row, console, table
    from bench.harness.planning.problems import installed
    from bench.models.built_in import PROBLEMS
    from bench.models.problem import PRESETS

    shown = table(
        *("problem", "preset", "network and data", "parameters"),
        *("budget", "metric", "targets"),
        whole=("problem", "preset", "parameters", "budget"),
        right=("parameters", "budget"),
    )
    for name in PROBLEMS:
        for preset in PRESETS:
            _problem(shown, name, preset)
    for name, package in installed().items():
        add_row(shown, name, "", _not_loaded(package))
    out = console(UNFOLDED)
    out.print(shown)
    out.print(
        "\nThe budget of a trial is in gradient-equivalents. Targets are values of the metric on "
        "the training data.\n`bench data list` shows which data this machine has.\n"
        "Write your own problem as package.module:Problem or ./file.py:Problem.",
        style="dim",
    )


@command.command(
    epilog="Example: bench list optimizers   or   bench list optimizers torch.optim.AdamW"
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
def optimizers(names: tuple[str, ...]) -> None:
    """List optimizers with their backends, reference and hyperparameters: all, or those named."""
    from rich.text import Text

    from bench.harness.cli.console import UNFOLDED, add_row, console, table
    from bench.optim.recipe.hyperparameters import FAMILIES
    from bench.optim.registry import BUILT_IN, installed

    out = console(UNFOLDED)
    for name in names or BUILT_IN:
        for part in _optimizer(name):
            out.print(part)
        out.print()
    if names:
        listed = ", ".join(h.name for family in FAMILIES for h in family)
        out.print(f"Every optimizer may have a recipe: {listed}.", style="dim")
        return
    title = Text("recipe", style="bold")
    title.append(
        "  every optimizer may have one; nothing of it acts that is not written", "not bold"
    )
    out.print(title)
    # What stands alone in its family is there only with a value.
    alone = {h.name for family in FAMILIES for h in family if len(family) == 1}
    out.print(_hyperparameters((h for family in FAMILIES for h in family), alone))
    out.print()
    if others := installed():
        shown = table("optimizer", "", whole=("optimizer",))
        shown.show_header = False
        for name, package in others.items():
            add_row(shown, name, _not_loaded(package))
        out.print(shown)
        out.print()
    out.print(
        "You can also use torch.optim.NAME, such as 'torch.optim.AdamW[lr=1e-3]', and your own "
        "class: package.module:Class or ./file.py:Class. `bench list optimizers NAME` shows it.\n"
        "Write 'nag[lr=0.05]' to set a hyperparameter and 'nag@torch' to choose a backend.",
        style="dim",
    )


def _not_loaded(package: str) -> str:
    return f"from the package {package}; loaded when you use it"


def _problem(shown: Table, name: str, preset: str) -> None:
    from bench.harness.cli.console import add_row
    from bench.harness.planning.problems import resolve
    from bench.harness.report.table import number

    problem = resolve(name, preset)
    sign = "≤" if problem.metric.direction == "lower" else "≥"
    add_row(
        shown,
        name,
        preset,
        problem.notes,
        number(problem.layout.count),
        number(problem.budget),
        problem.metric.name.replace("_", " "),
        f"{sign} {', '.join(f'{target:g}' for target in problem.targets)}",
    )


def _optimizer(name: str) -> Sequence[object]:
    from rich.text import Text

    from bench.optim.registry import class_of
    from bench.optim.text import parse

    cls = class_of(parse(name))
    title = Text(name, style="bold")
    title.append(f"  backends: {', '.join(cls.backends)}; {cls.reference}", style="not bold")
    return [title, _hyperparameters(cls.space)]


def _hyperparameters(
    space: Iterable[Hyperparameter], without_default: Container[str] = ()
) -> Table:
    from bench.harness.cli.console import add_row, table

    shown = table("  hyperparameter", "type", "default", "allowed", "meaning", whole=("default",))
    for h in space:
        default = "–" if h.name in without_default else value_text(h.default)
        row = (kind_text(h.kind), default, _allowed(h), h.meaning)
        add_row(shown, f"  {h.name}", *row)
    return shown


def _allowed(h: Hyperparameter) -> str:
    if h.choices:
        return ", ".join(map(value_text, h.choices))
    if without_none(h.kind) is bool:
        return "true, false"
    return "any" if takes_words(h.kind) else h.bounds()
