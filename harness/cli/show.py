"""`bench show`: one recorded comparison, trial or decision, or two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench.harness.cli.options import allow_option, metric_option, store_option, store_url
from bench.harness.core.errors import Usage

if TYPE_CHECKING:
    from bench.harness.core.records import ClaimRecord, ComparisonRecord, TrialRecord
    from bench.harness.store.results import Store

    Found = ComparisonRecord | TrialRecord | ClaimRecord


@click.command("show", epilog="Example: bench show 3f9a   or, two trials: bench show 12 17")
@click.argument("id", required=False)
@click.argument("id2", required=False)
@allow_option
@metric_option
@store_option
def command(
    id: str | None, id2: str | None, allow: tuple[str, ...], metric: str | None, store: str | None
) -> None:
    """Show a recorded comparison, trial or decision on a claim.

    ID is the id of a comparison or its first characters, the number of a trial, or the id of a
    decision from `bench list claims`; by default the newest comparison. With ID2, two trials are
    shown side by side with their differences, and two comparisons are judged as one comparison.
    """
    from bench.harness.cli.record_lookup import newest
    from bench.harness.cli.show_trial import show_trial
    from bench.harness.comparison.judgement import judged_by
    from bench.harness.core.records import ClaimRecord, ComparisonRecord
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        # So that a comparison whose process was killed is not shown as running.
        opened.end_abandoned()
        found = _find(opened, id) if id is not None else newest(opened)
        if id2 is not None:
            _show_two(opened, found, _find(opened, id2), allow, metric)
        elif allow:
            raise Usage("--allow applies to two records only: give a second ID.")
        elif metric is not None and not isinstance(found, ComparisonRecord):
            raise Usage(f"--metric applies to comparisons, and {found.id} is none.")
        elif isinstance(found, ClaimRecord):
            _show_claim(found)
        elif isinstance(found, ComparisonRecord):
            show_comparison(opened, judged_by(opened, found, metric))
        else:
            show_trial(opened, found)


def _show_two(store: Store, a: Found, b: Found, allow: tuple[str, ...], metric: str | None) -> None:
    from bench.harness.cli.console import PAGE, console
    from bench.harness.cli.show_trial import show_two_trials
    from bench.harness.core.records import ComparisonRecord, TrialRecord
    from bench.harness.report.table import render

    if isinstance(a, TrialRecord) and isinstance(b, TrialRecord):
        if metric is not None:
            raise Usage("--metric applies to comparisons, and these are trials.")
        show_two_trials(store, a, b, allow)
    elif isinstance(a, ComparisonRecord) and isinstance(b, ComparisonRecord):
        # Here, because the import is slow.
        from bench.harness.comparison.combine import combine_records

        console(PAGE).print(render(combine_records(store, [a, b], allow, None, metric).summary))
    else:
        kinds = {TrialRecord: "a trial", ComparisonRecord: "a comparison"}
        which = " and ".join(
            f"{each.id} is {kinds.get(type(each), 'a decision on a claim')}" for each in (a, b)
        )
        raise Usage(
            f"{which}. Give two trials or two comparisons; `bench list trials` and `bench list "
            "comparisons` list them."
        )


def _find(store: Store, text: str) -> Found:
    """Return the comparison or trial, or else the decision, whose id begins with `text`."""
    from bench.harness.cli.record_lookup import find

    try:
        return find(store, text)
    except Usage:
        decisions = [each for each in store.claims() if text and each.id.startswith(text.lower())]
        if len(decisions) != 1:
            raise
        return decisions[0]


def _show_claim(record: ClaimRecord) -> None:
    from bench.harness.cli.console import PAGE, console
    from bench.harness.paper.claims_table import render_claims

    console(PAGE).print(render_claims([record.body]))


def show_comparison(store: Store, record: ComparisonRecord) -> None:
    """Print the result or the progress of a comparison, and the places of its files."""
    from bench.harness.cli.output import show_places, show_result
    from bench.harness.cli.show_progress import show_progress

    if record.summary is None:
        show_progress(store, record)
    else:
        show_result(record.summary, None)
    show_places(store, record)
