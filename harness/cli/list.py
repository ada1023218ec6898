"""`bench list`: what can be compared, and what has been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from harness.cli.options import store_option, store_url

if TYPE_CHECKING:
    from rich.table import Table

    from harness.records import ComparisonRecord
    from harness.store.results import Store
    from optim.hyperparameters import Hyperparameter


@click.group("list", epilog="Example: bench list problems")
def command() -> None:
    """List problems, optimizers, comparisons, trials or decisions on claims."""


@command.command(epilog="Example: bench list problems | grep quick")
def problems() -> None:
    """List problems, a line a preset: network, data, budget, metric and targets."""
    from harness.cli.console import UNFOLDED, console, table
    from harness.problems import names
    from models.problem import PRESETS

    shown = table(
        *("problem", "preset", "network and data", "parameters"),
        *("budget", "metric", "targets"),
        whole=("problem", "preset", "parameters", "budget"),
        right=("parameters", "budget"),
    )
    for name in names():
        for preset in PRESETS:
            _problem(shown, name, preset)
    out = console(UNFOLDED)
    out.print(shown)
    out.print(
        "\nThe budget of a trial is in gradient-equivalents; targets are of the metric on training "
        "data.\n`bench data list` shows which data is here.\n"
        "Your own problem: package.module:Problem or ./file.py:Problem.",
        style="dim",
    )


@command.command(epilog="Example: bench list optimizers")
def optimizers() -> None:
    """List optimizers with backends, reference and every hyperparameter."""
    from harness.cli.console import UNFOLDED, console
    from optim.registry import names

    out = console(UNFOLDED)
    for name in names():
        for part in _optimizer(name):
            out.print(part)
        out.print()
    out.print(
        "Also torch.optim.NAME, such as 'torch.optim.AdamW[lr=1e-3]', and your own: "
        "package.module:Class or ./file.py:Class.\n"
        "Write 'nag[lr=0.05]' to set a hyperparameter and 'nag@torch' to choose a backend.",
        style="dim",
    )


@command.command("comparisons", epilog="Example: bench list comparisons --store sqlite:///b.db")
@store_option
def comparisons_(store: str | None) -> None:
    """List what was compared, run or tuned, the newest first."""
    from harness.cli.console import add, table
    from harness.cli.recorded import comparisons
    from harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        shown = table(
            *("id", "begun (UTC)", "problem", "methods", "seeds", "status", "verdicts"),
            whole=("id", "status"),
            right=("seeds",),
        )
        found = comparisons(opened)
        for record in found:
            methods, seeds = _planned(opened, record)
            add(
                shown,
                record.id,
                f"{record.created:%Y-%m-%d %H:%M}",
                _problem_of(record),
                ", ".join(methods),
                len(seeds),
                record.status,
                _verdicts(record),
            )
        _print(shown, opened, "comparison", len(found))


@command.command(epilog="Example: bench list trials | grep diverged")
@store_option
def trials(store: str | None) -> None:
    """List all trials in the order in which they were begun."""
    from harness.cli.console import add, table
    from harness.cli.recorded import comparisons, memberships
    from harness.report.table import number
    from harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        shown = table(
            *("id", "comparison", "method", "seed", "status"),
            *("training", "test", "gradients", "seconds"),
            whole=("id", "seed", "status", "training", "test", "gradients", "seconds"),
            right=("id", "seed", "training", "test", "gradients", "seconds"),
        )
        parts = memberships(opened, comparisons(opened))
        found = opened.trials()
        for trial in found:
            add(
                shown,
                trial.id,
                " ".join(record.id for record in parts.get(trial.id, [])),
                trial.method,
                trial.seed,
                trial.status,
                number(trial.train_metric),
                number(trial.test_metric),
                number(trial.ledger.gradients),
                number(trial.ledger.seconds),
            )
        _print(shown, opened, "trial", len(found))


@command.command(epilog="Example: bench list claims --store sqlite:///b.db")
@store_option
def claims(store: str | None) -> None:
    """List what was decided of the paper's claims, the newest first."""
    from harness.cli.console import add, table
    from harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        shown = table(
            *("id", "decided (UTC)", "claim", "rule", "preset", "decision", "comparisons"),
            whole=("id", "decision"),
            right=("claim",),
        )
        found = opened.claims()
        for record in found:
            add(
                shown,
                record.id,
                f"{record.created:%Y-%m-%d %H:%M}",
                record.claim,
                f"version {record.version}, SHA-256 {record.rule_digest[:12]}…",
                record.preset,
                record.decision,
                " ".join(each["comparison"] for each in record.body["comparisons"].values()),
            )
        _print(shown, opened, "decision on a claim", len(found))


def _print(shown: Table, store: Store, what: str, count: int) -> None:
    from harness.cli.console import UNFOLDED, console

    if count:
        console(UNFOLDED).print(shown)
    else:
        click.echo(f"There is no {what} in {store.shown_url} yet.", err=True)


def _problem(shown: Table, name: str, preset: str) -> None:
    from harness.cli.console import add
    from harness.problems import resolve
    from harness.report.table import number

    try:
        problem = resolve(name, preset)
    except Exception as error:  # Somebody's own code: the others are listed all the same.
        add(shown, name, preset, f"cannot be used: {error}")
        return
    sign = "≤" if problem.metric.direction == "lower" else "≥"
    add(
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

    from harness.cli.console import add, table
    from optim.hyperparameters import UsageError
    from optim.registry import find

    title = Text(name, style="bold")
    try:
        cls = find(name)
        backends, reference, space = cls.backends, cls.reference, cls.space
    except UsageError as error:  # Somebody's own: the others are listed all the same.
        return [title.append(f"  cannot be used: {error}", style="not bold")]
    title.append(f"  backends: {', '.join(backends)}; {reference}", style="not bold")
    shown = table("  hyperparameter", "type", "default", "allowed", "meaning", whole=("default",))
    for h in space:
        add(shown, f"  {h.name}", h.kind.__name__, _plain(h.default), _allowed(h), h.meaning)
    return [title, shown]


def _allowed(h: Hyperparameter) -> str:
    if h.kind is bool:
        return "true, false"
    return ", ".join(h.choices) or ("any" if h.kind is str else h.bounds())


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _problem_of(record: ComparisonRecord) -> str:
    from harness.spec import with_parameters

    protocol = record.protocol
    name = f"{with_parameters(protocol.problem, protocol.parameters)}-{protocol.preset}"
    return name if record.kind == "comparison" else f"{name} ({record.kind})"


def _planned(store: Store, record: ComparisonRecord) -> tuple[list[str], set[int]]:
    """Return the methods and seeds of a comparison, those that have begun where it has no end."""
    if record.summary is not None:
        rows = record.summary["methods"]
        return [row["method"] for row in rows], {t["seed"] for r in rows for t in r["trials"]}
    trials = store.trials(record.id)
    return list(dict.fromkeys(t.method for t in trials)), {t.seed for t in trials}


def _verdicts(record: ComparisonRecord) -> str:
    words = {
        "a better": "{a} better than {b}",
        "b better": "{b} better than {a}",
        "equivalent": "{a} and {b} equivalent",
        "cannot tell": "{a}, {b}: cannot tell",
        "too few seeds": "{a}, {b}: too few seeds",
    }
    return "; ".join(words[p["verdict"]].format(a=p["a"], b=p["b"]) for p in record.pairs)
