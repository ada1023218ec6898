"""A comparison at several budgets, each run to its own end, and the curves over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.harness.analysis.budget_curve import budget_curve
from bench.harness.analysis.statistics import seeds_needed
from bench.harness.analysis.summary import ALPHA
from bench.harness.comparison.combine import own_sources, reported_trials
from bench.harness.comparison.comparability import differing_fields
from bench.harness.comparison.compare import checked, compare
from bench.harness.comparison.session import Interruption
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.invocation import is_program
from bench.harness.core.notices import say
from bench.harness.core.spec import Budget
from bench.harness.planning.announcement import announce
from bench.harness.planning.budgets import budgets_text, read_budgets
from bench.harness.planning.commands import written_over_budgets
from bench.harness.planning.request import Request
from bench.harness.report.budget_plot import budget_plot
from bench.harness.report.budget_table import to_text, with_sentences
from bench.harness.report.files import BUDGETS, to_json
from bench.harness.report.page.budget_page import budget_page
from bench.harness.store.results import Store
from bench.optim.text import split


@dataclass(frozen=True)
class BudgetCurve:
    """The curves over budgets, and where their files are."""

    summary: Mapping[str, Any]
    folder: Path

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / f"{BUDGETS}.html"


def compare_budgets(request: Request, text: str) -> BudgetCurve | None:
    """Run a comparison at each of several budgets to its own end, and return the curves.

    Each is recorded as a comparison of its own. The files of the curves are in the folder of the
    last. None after a dry run. Raises Usage for budgets that are none, before anything is run.
    """
    budgets = read_budgets(text)
    if request.budget is not None:
        raise Usage(
            f"--budget {request.budget} and --budgets {text} exclude each other. Write all budgets "
            "in --budgets."
        )
    if request.plan is not None:
        raise Usage(
            f"--plan {request.plan} and --budgets {text}: a plan is of one comparison, and each "
            "budget is one. Plan each with --budget, and give each plan a file of its own."
        )
    methods = split(request.optimizers)
    if request.seeds is None:
        # Holm's correction is for all pairs of all budgets.
        pairs = len(budgets) * len(methods) * (len(methods) - 1) // 2
        request = replace(request, seeds=seeds_needed(max(1, pairs), ALPHA))
    requests = [replace(request, budget=budget.text) for budget in budgets]
    # All of them first: the last budget must not be refused after hours.
    prepared = [checked(each) for each in requests]
    command = written_over_budgets(request, prepared[0], budgets_text(budgets))
    if request.dry_run:
        for each in prepared:
            announce(each)
        return None
    summaries = [_one(requests, number, budgets) for number in range(len(budgets))]
    return _finish(request, summaries, methods, command)


def _one(requests: Sequence[Request], number: int, budgets: Sequence[Budget]) -> Mapping[str, Any]:
    """Run the comparison at one of the budgets; say of an interrupt what the curves still lack."""
    say(f"Budget {number + 1} of {len(budgets)}: {budgets[number].text}.")
    try:
        found = compare(requests[number])
    except Interruption as end:
        same = "call" if is_program() else "command"
        rest = f"Only the same {same} makes the curves over all budgets."
        if left := [budget.text for budget in budgets[number + 1 :]]:
            rest = f"{' and '.join(left)} {'has' if len(left) == 1 else 'have'} not begun. {rest}"
        say(f"bench: {rest}")
        raise Interruption(f"{end.message} {rest}", end.signal) from None
    assert found is not None
    return found


def _finish(
    request: Request,
    summaries: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    command: str,
) -> BudgetCurve:
    """Judge all budgets together, and write the files of the curves."""
    with Store.open(request.store, create=False) as store:
        records = [store.comparison(each["comparison"]) for each in summaries]
        folder = store.files_of_comparison(records[-1].id)
        # The source of a problem may have changed from one budget to the next.
        reported = {record.id: reported_trials(store, record) for record in records}
        differing_fields(records, ["budget"], own_sources(records, reported))
    summary = with_sentences(budget_curve(summaries, methods, command))
    try:
        write_budget_files(folder, summary)
    except OSError as error:
        raise Infrastructure(
            f"{folder} cannot be written: {error.strerror or error}. The comparisons are recorded: "
            + ", ".join(f"bench show {record.id}" for record in records)
            + "."
        ) from error
    return BudgetCurve(summary, folder)


def write_budget_files(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write budgets.json, budgets.txt, the picture as PNG and SVG, and the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{BUDGETS}.json").write_text(to_json(summary), "utf-8")
    (folder / f"{BUDGETS}.txt").write_text(to_text(summary), "utf-8")
    for ending in (".png", ".svg"):
        budget_plot(summary, folder / f"{BUDGETS}{ending}")
    picture = (folder / f"{BUDGETS}.png").read_bytes()
    (folder / f"{BUDGETS}.html").write_text(budget_page(summary, picture), "utf-8")
