"""`bench show`: a comparison, trial or decision that is recorded; two trials side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli.options import store_option, store_url
from harness.errors import Usage

if TYPE_CHECKING:
    from harness.records import ClaimRecord, ComparisonRecord, TrialRecord
    from harness.store.results import Store


@click.command("show", epilog="Example: bench show 3f9a   or, two trials: bench show 12 17")
@click.argument("id")
@click.argument("id2", required=False)
@store_option
def command(id: str, id2: str | None, store: str | None) -> None:
    """Show a comparison (ID or its beginning) or a trial (its number) that is recorded.

    A decision on a claim is shown by its ID in `bench list claims`. With ID2, show two trials
    side by side, and what tells them apart.
    """
    from harness.cli.recorded import comparisons
    from harness.cli.show_trial import show_trial, show_two_trials
    from harness.records import ClaimRecord, ComparisonRecord
    from harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        # Those whose process died are ended by this, so that nothing dead is shown as running.
        known = comparisons(opened)
        found = _find(opened, id)
        second = None if id2 is None else _find(opened, id2)
        if isinstance(found, ClaimRecord):
            if second is not None:
                raise _two_needed(id, "a decision on a claim")
            _show_claim(found)
        elif isinstance(found, ComparisonRecord):
            if second is not None:
                raise _two_needed(id)
            _show_comparison(opened, found)
        elif second is None:
            show_trial(opened, found, known)
        elif isinstance(second, ComparisonRecord):
            raise _two_needed(str(id2))
        elif isinstance(second, ClaimRecord):
            raise _two_needed(str(id2), "a decision on a claim")
        else:
            show_two_trials(opened, found, second, known)


def _find(store: Store, text: str) -> ComparisonRecord | TrialRecord | ClaimRecord:
    """Return the comparison or trial, or else the decision, whose id begins so."""
    from harness.cli.recorded import find

    try:
        return find(store, text)
    except Usage:
        decided = [each for each in store.claims() if text and each.id.startswith(text.lower())]
        if len(decided) != 1:
            raise
        return decided[0]


def _show_claim(record: ClaimRecord) -> None:
    from harness.cli.console import PAGE, console
    from harness.report.claims import render_claims

    console(PAGE).print(render_claims([record.body]))


def _two_needed(given: str, what: str = "a comparison") -> Usage:
    return Usage(
        f"{given} is {what}: two ids are shown side by side where both are trials. "
        "`bench list trials` has their numbers."
    )


def _show_comparison(store: Store, record: ComparisonRecord) -> None:
    from harness.cli.console import PAGE, console
    from harness.cli.output import show_result
    from harness.cli.show_progress import show_progress

    if record.summary is None:
        show_progress(store, record)
    else:
        show_result(record.summary, None)
    folder = store.files_of_comparison(record.id)
    files = sorted(folder.glob("*.png")) if folder.is_dir() else []
    lines = [f"picture: {file}" for file in files]
    if record.mlflow_run_id is not None:
        lines.append(f"MLflow run: {record.mlflow_run_id}")
    out = console(PAGE)
    if lines:
        out.print()
    for line in lines:
        # Whole, so that it can be copied.
        out.print(line, soft_wrap=True)
