"""The progress of a comparison without a result: its trials, and their curves so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from bench.harness.cli.console import PAGE, add_row, any_number, console, table
from bench.harness.cli.sparkline import Axes
from bench.harness.core.records import ComparisonRecord, FleetRecord, Measurement, TrialRecord
from bench.harness.core.spec import Budget, problem_text
from bench.harness.report.table import number
from bench.harness.store.results import Store


def show_progress(store: Store, record: ComparisonRecord) -> None:
    """Print the current state of a comparison's trials in the store."""
    trials = store.trials(record.id)
    curves = store.measurements([trial.id for trial in trials])
    protocol, out = record.protocol, console(PAGE)
    out.print(_header(record, len(trials)))
    # On one line, so that it can be copied.
    out.print(record.command, style="dim", soft_wrap=True)
    if fleets := _fleets(store.fleets(record.id)):
        out.print(fleets)
    resumable = record.status in ("planned", "interrupted", "failed")
    if resumable and store.plan(record.id) is not None:
        out.print(f"To continue it: bench resume {record.id}")
    out.print()
    if not trials:
        return
    out.print(_state(trials, curves, protocol.budget))
    out.print()
    for trial in trials:
        if trial.reason:
            out.print(f"Trial {trial.id} ({trial.method} s{trial.seed}): {trial.reason}.")
    axes = Axes.around(curves.values(), protocol.budget)
    out.print(axes.legend(protocol.metric.replace("_", " ")), style="dim")
    drawn = table("trial", "method", "seed", "curve so far", right=("trial", "seed"))
    for trial in trials:
        add_row(drawn, trial.id, trial.method, trial.seed, axes.line(curves[trial.id]))
    out.print(drawn)


def _header(record: ComparisonRecord, trials: int) -> Text:
    protocol = record.protocol
    problem = problem_text(protocol.problem, protocol.parameters)
    ended = f", ended {record.ended:%H:%M}" if record.ended else ""
    return Text.assemble(
        (f"{record.kind} {record.id}: {record.status}", "bold"),
        f"  begun {record.created:%Y-%m-%d %H:%M}{ended} UTC\n"
        f"{problem} / {protocol.preset} on {protocol.data}: "
        f"{number(protocol.budget.amount)} {protocol.budget.currency} per trial; "
        f"trials begun: {trials}",
    )


def _fleets(fleets: Sequence[FleetRecord]) -> str:
    """Write the number of fleets by status, and the owners of those in training."""
    counted = Counter(fleet.status for fleet in fleets)
    owners = sorted({str(fleet.owner) for fleet in fleets if fleet.status == "running"})
    by = f" (by {', '.join(owners)})" if owners else ""
    words = {"planned": "waiting", "running": f"in training{by}", "ended": "ended"}
    parts = [
        f"{counted[status]} {words.get(status, status)}"
        for status in ("planned", "running", "ended", "failed")
        if counted[status]
    ]
    return f"Fleets: {', '.join(parts)}." if parts else ""


def _state(
    trials: Sequence[TrialRecord], curves: Mapping[int, Sequence[Measurement]], budget: Budget
) -> Table:
    figures = ("spent", "training", "test", "updates", "gradients", "seconds")
    shown = table(
        *("trial", "method", "seed", "status", *figures),
        whole=("trial", "seed", "status", *figures),
        right=("trial", "seed", *figures),
    )
    for trial in trials:
        ledger, taken = trial.ledger, curves[trial.id]
        add_row(
            shown,
            trial.id,
            trial.method,
            trial.seed,
            trial.status,
            f"{getattr(ledger, budget.currency) / budget.amount:.0%}",
            any_number(taken[-1].train_metric if taken else None),
            any_number(taken[-1].test_metric if taken else None),
            number(ledger.updates),
            number(ledger.gradients),
            number(ledger.seconds),
        )
    return shown
