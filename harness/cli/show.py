"""`bench show`: a comparison, trial or decision that is recorded, or two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench.harness.cli.options import allow_option, store_option, store_url
from bench.harness.core.errors import Usage

if TYPE_CHECKING:
    from bench.harness.core.records import ClaimRecord, ComparisonRecord, TrialRecord
    from bench.harness.store.results import Store

    Found = ComparisonRecord | TrialRecord | ClaimRecord


@click.command("show", epilog="Example: bench show 3f9a   or, two trials: bench show 12 17")
@click.argument("id")
@click.argument("id2", required=False)
@allow_option
@store_option
def command(id: str, id2: str | None, allow: tuple[str, ...], store: str | None) -> None:
    """Show a comparison (ID or its beginning) or a trial (its number) that is recorded.

    A decision on a claim is shown by its ID in `bench list claims`. With ID2, two trials are shown
    side by side with what tells them apart, and two comparisons judged as one.
    """
    from bench.harness.cli.record_lookup import end_dead
    from bench.harness.cli.show_trial import show_trial
    from bench.harness.core.records import ClaimRecord, ComparisonRecord
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        # Those whose process died are ended by this, so that nothing dead is shown as running.
        end_dead(opened)
        found = _find(opened, id)
        if id2 is not None:
            _show_two(opened, found, _find(opened, id2), allow)
        elif allow:
            raise Usage("--allow is for two: give the ID that it is to be compared with.")
        elif isinstance(found, ClaimRecord):
            _show_claim(found)
        elif isinstance(found, ComparisonRecord):
            show_comparison(opened, found)
        else:
            show_trial(opened, found)


def _show_two(store: Store, a: Found, b: Found, allow: tuple[str, ...]) -> None:
    from bench.harness.cli.console import PAGE, console
    from bench.harness.cli.show_trial import show_two_trials
    from bench.harness.core.records import ComparisonRecord, TrialRecord
    from bench.harness.report.table import render

    if isinstance(a, TrialRecord) and isinstance(b, TrialRecord):
        show_two_trials(store, a, b, allow)
    elif isinstance(a, ComparisonRecord) and isinstance(b, ComparisonRecord):
        # It takes a while to import.
        from bench.harness.comparison.combine import join

        console(PAGE).print(render(join(store, [a, b], allow).summary))
    else:
        kinds = {TrialRecord: "a trial", ComparisonRecord: "a comparison"}
        which = " and ".join(
            f"{each.id} is {kinds.get(type(each), 'a decision on a claim')}" for each in (a, b)
        )
        raise Usage(
            f"{which}: two trials are shown side by side, or two comparisons. `bench list trials` "
            "and `bench list comparisons` have them."
        )


def _find(store: Store, text: str) -> Found:
    """Return the comparison or trial, or else the decision, whose id begins so."""
    from bench.harness.cli.record_lookup import find

    try:
        return find(store, text)
    except Usage:
        decided = [each for each in store.claims() if text and each.id.startswith(text.lower())]
        if len(decided) != 1:
            raise
        return decided[0]


def _show_claim(record: ClaimRecord) -> None:
    from bench.harness.cli.console import PAGE, console
    from bench.harness.paper.claims_table import render_claims

    console(PAGE).print(render_claims([record.body]))


def show_comparison(store: Store, record: ComparisonRecord) -> None:
    """Print the result of a comparison, or how it stands, and where its files are."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.cli.output import show_result
    from bench.harness.cli.show_progress import show_progress
    from bench.harness.report.files import REPORT

    if record.summary is None:
        show_progress(store, record)
    else:
        show_result(record.summary, None)
    folder = store.files_of_comparison(record.id)
    files = sorted(folder.glob("*.png")) if folder.is_dir() else []
    lines = [f"picture: {file}" for file in files]
    if (folder / REPORT).is_file():
        lines.append(f"report: {folder / REPORT}")
    if record.mlflow_run_id is not None:
        lines.append(f"MLflow run: {record.mlflow_run_id}")
    out = console(PAGE)
    if lines:
        out.print()
    for line in lines:
        # Whole, so that it can be copied.
        out.print(line, soft_wrap=True)
