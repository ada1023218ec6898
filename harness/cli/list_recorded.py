"""`bench list` for recorded results: comparisons, trials, decisions on claims, baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from bench.harness.cli.options import store_option, store_url

if TYPE_CHECKING:
    from bench.harness.core.records import ComparisonRecord
    from bench.harness.store.results import Store

DEFAULT_LIMIT = 50
"""Rows that are shown without --limit."""


class _RowLimit(click.ParamType):
    """A number of rows; None for all of them."""

    name = "N|all"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        text = str(value).strip().lower()
        if text == "all" or (text.isdecimal() and int(text) == 0):
            return None
        if not text.isdecimal() or int(text) >= 2**31:
            self.fail(f"{value!r} is not a number of rows: give a whole number, or all.")
        return int(text)


limit_option: Callable[..., Any] = click.option(
    "--limit",
    type=_RowLimit(),
    default=str(DEFAULT_LIMIT),
    show_default=True,
    help="Show the newest N; 0 or all shows every one.",
)


@click.command("comparisons", epilog="Example: bench list comparisons --limit all | grep curves")
@limit_option
@store_option
def comparisons_(limit: int | None, store: str | None) -> None:
    """List comparisons, single runs and tuning, the newest first."""
    from bench.harness.cli.record_lookup import comparisons
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        found = comparisons(opened, limit)
        unreported = [record.id for record in found if record.summary is None]
        begun = opened.methods_and_seeds(unreported)
        rows = [
            (
                record.id,
                f"{record.created:%Y-%m-%d %H:%M}",
                f"{_problem_of(record)}, {record.protocol.budget.text}",
                *_planned(record, begun.get(record.id, ())),
                record.status,
                _verdicts(record),
            )
            for record in found
        ]
        _print(
            *(opened, "comparison", opened.count("comparisons")),
            ("id", "begun (UTC)", "problem", "methods", "seeds", "status", "verdicts"),
            rows,
            whole=("id", "status"),
            right=("seeds",),
        )


@click.command("trials", epilog="Example: bench list trials --limit all | grep diverged")
@limit_option
@store_option
def trials(limit: int | None, store: str | None) -> None:
    """List trials in the order in which they began."""
    from bench.harness.report.table import number
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        opened.end_abandoned()
        found = opened.trials(limit=limit)
        parts = opened.comparisons_of([trial.id for trial in found])
        rows = [
            (
                trial.id,
                " ".join(parts[trial.id]),
                trial.method,
                trial.seed,
                trial.status,
                number(trial.train_metric),
                number(trial.test_metric),
                number(trial.ledger.gradients),
                number(trial.ledger.seconds),
            )
            for trial in found
        ]
        figures = ("training", "test", "gradients", "seconds")
        _print(
            *(opened, "trial", opened.count("trials")),
            ("id", "comparison", "method", "seed", "status", *figures),
            rows,
            whole=("id", "seed", "status", *figures),
            right=("id", "seed", *figures),
        )


@click.command("claims", epilog="Example: bench list claims --store sqlite:///b.db")
@limit_option
@store_option
def claims(limit: int | None, store: str | None) -> None:
    """List decisions on the paper's claims, the newest first."""
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        rows = [
            (
                record.id,
                f"{record.created:%Y-%m-%d %H:%M}",
                record.claim,
                f"version {record.version}, SHA-256 {record.rule_digest[:12]}…",
                record.preset,
                record.decision,
                " ".join(each["comparison"] for each in record.body["comparisons"].values()),
            )
            for record in opened.claims(limit)
        ]
        _print(
            *(opened, "decision on a claim", opened.count("claims")),
            ("id", "decided (UTC)", "claim", "rule", "preset", "decision", "comparisons"),
            rows,
            whole=("id", "decision"),
            right=("claim",),
        )


@click.command("baselines", epilog="Example: bench list baselines")
@limit_option
@store_option
def baselines(limit: int | None, store: str | None) -> None:
    """List the comparisons that were accepted as baselines, the newest first."""
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        every = opened.baselines()
        found = every[:limit]
        of = {each.id: each for each in opened.comparisons(ids={r.comparison_id for r in found})}
        rows = [
            (
                record.name,
                f"{record.accepted:%Y-%m-%d %H:%M}",
                record.comparison_id,
                _problem_of(of[record.comparison_id]),
                record.note or "",
            )
            for record in found
        ]
        _print(
            *(opened, "baseline", len(every)),
            ("name", "accepted (UTC)", "comparison", "problem", "note"),
            rows,
            whole=("name", "comparison"),
            right=(),
        )


def _print(
    store: Store,
    one: str,
    count: int,
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    whole: tuple[str, ...],
    right: tuple[str, ...],
) -> None:
    """Print rows on stdout; report on stderr if there are none, or if there are more."""
    from bench.harness.cli.console import UNFOLDED, console
    from bench.harness.cli.rows import render_rows

    if not rows:
        click.echo(f"There is no {one} in {store.redacted_url} yet.", err=True)
        return
    out = console(UNFOLDED)
    for part in render_rows(heads, rows, out.width, whole=whole, right=right):
        out.print(part)
    if count > len(rows):
        click.echo(
            f"These are the newest {len(rows):,} of {count:,}; --limit all shows every one.",
            err=True,
        )


def _problem_of(record: ComparisonRecord) -> str:
    from bench.harness.core.spec import problem_text

    protocol = record.protocol
    name = f"{problem_text(protocol.problem, protocol.parameters)}-{protocol.preset}"
    return name if record.kind == "comparison" else f"{name} ({record.kind})"


def _planned(record: ComparisonRecord, begun: Iterable[tuple[str, int]]) -> tuple[str, int]:
    """Return the methods of a comparison and the number of its seeds.

    For a comparison without a result, count the trials that have begun.
    """
    if record.summary is not None:
        rows = record.summary["methods"]
        begun = [(row["method"], trial["seed"]) for row in rows for trial in row["trials"]]
        methods = [row["method"] for row in rows]
    else:
        begun = list(begun)
        methods = list(dict.fromkeys(method for method, _ in begun))
    return ", ".join(methods), len({seed for _, seed in begun})


def _verdicts(record: ComparisonRecord) -> str:
    words = {
        "a better": "{a} better than {b}",
        "b better": "{b} better than {a}",
        "equivalent": "{a} and {b} equivalent",
        "cannot tell": "{a}, {b}: cannot tell",
        "too few seeds": "{a}, {b}: too few seeds",
    }
    return "; ".join(words[p["verdict"]].format(a=p["a"], b=p["b"]) for p in record.pairs)
