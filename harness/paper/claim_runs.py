"""Run the experiments of the paper's claims, decide the claims, and record the decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.harness.analysis.contrast import (
    Decision,
    StatementResult,
    Values,
    combined_decision,
    decide,
)
from bench.harness.comparison.compare import compare
from bench.harness.comparison.session import mirrored
from bench.harness.core.notices import say
from bench.harness.paper.claims import ArmedRun, MeasuredStatement, Rule
from bench.harness.planning.preparation import prepare
from bench.harness.planning.request import Request
from bench.harness.store.results import Store
from bench.optim.text import parse


@dataclass(frozen=True)
class ClaimResult:
    """The result of a claim's rule: a decision for each statement and for the claim."""

    rule: Rule
    id: str
    """The id of the result in the store."""
    decision: Decision
    statements: Sequence[tuple[MeasuredStatement, StatementResult]]
    summaries: Mapping[str, Mapping[str, Any]]
    """Run → the summary of its comparison."""

    @property
    def at_the_edge(self) -> list[str]:
        """The arms whose chosen value is at the edge of their grid, with that value."""
        return [
            f"{run.name}.{arm} {name}={row['hyperparameters'][name]:g}"
            for run in self.rule.runs
            for arm, row in zip(run.arms, self.summaries[run.name]["methods"], strict=True)
            for name, tried in _grids(run.arms[arm])
            if row["hyperparameters"][name] in (min(tried), max(tried))
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and for the store."""
        rule = self.rule
        return {
            "claim": rule.claim,
            "version": rule.version,
            "rule_digest": rule.digest,
            "preset": rule.preset,
            "title": rule.title,
            "decision": self.decision,
            "statements": [
                {
                    **asdict(measured.statement),
                    "value": measured.value,
                    "published": measured.published,
                    **asdict(decided),
                }
                for measured, decided in self.statements
            ],
            "at_the_edge": self.at_the_edge,
            "comparisons": {
                name: {
                    "comparison": summary["comparison"],
                    "data": summary["protocol"]["data"],
                    "reproduce": summary["reproduce"],
                    "arms": {
                        arm: {
                            "hyperparameters": row["hyperparameters"],
                            "status": row["status"],
                            "train": row["final"]["values"],
                            "test": row["final"]["test"]["values"],
                        }
                        for arm, row in zip(self._run(name).arms, summary["methods"], strict=True)
                    },
                }
                for name, summary in self.summaries.items()
            },
        }

    def _run(self, name: str) -> ArmedRun:
        return next(run for run in self.rule.runs if run.name == name)


def decide_claims(rules: Sequence[Rule], request: Request) -> list[ClaimResult]:
    """Run every experiment that is not recorded, decide each claim and record the decision.

    `request` has the settings that all runs share: store, device, threads, precision and so on. If
    any run cannot start, for example because of missing data, nothing is run.
    """
    wanted = {
        (rule.claim, run.name): _request(rule, run, request) for rule in rules for run in rule.runs
    }
    for each in wanted.values():
        prepare(each)
    tested = []
    with mirrored(request):
        for rule in rules:
            summaries: dict[str, Mapping[str, Any]] = {}
            for run in rule.runs:
                say(f"Claim {rule.claim}, {run.name}:")
                summary = compare(wanted[rule.claim, run.name])
                assert summary is not None
                summaries[run.name] = summary
            tested.append(_decided(rule, summaries, request.store))
    return tested


def _request(rule: Rule, run: ArmedRun, shared: Request) -> Request:
    return replace(
        shared,
        optimizers=",".join(run.arms.values()),
        problem=run.problem,
        preset=rule.preset,
        seeds=run.seeds,
        tune="none",
        tune_seeds=run.tune_seeds,
        budget=run.budget,
        # One process copies the results of all runs to MLflow.
        no_mlflow=True,
        claim={"claim": rule.claim, "version": rule.version, "rule_digest": rule.digest},
    )


def _decided(rule: Rule, summaries: Mapping[str, Mapping[str, Any]], store_url: str) -> ClaimResult:
    statements = [
        (measured, decide(measured.statement, _values(rule, measured.value, summaries)))
        for measured in rule.statements
    ]
    decision = combined_decision([decided.decision for _, decided in statements])
    tested = ClaimResult(rule, "", decision, statements, summaries)
    with Store.open(store_url) as store:
        id = store.save_claim(
            claim=rule.claim,
            version=rule.version,
            preset=rule.preset,
            rule_digest=rule.digest,
            decision=decision,
            body=tested.as_dict(),
        )
    return replace(tested, id=id)


def _values(rule: Rule, value: str, summaries: Mapping[str, Mapping[str, Any]]) -> Values:
    """Return `run.arm` → seed → final value of the trial; None if the trial diverged."""
    keys = {"train_metric": "train", "test_metric": "test"}
    return {
        f"{run.name}.{arm}": {
            trial["seed"]: None
            if trial["status"] == "diverged"
            else trial[keys[value]]
            if value in keys
            else trial["diagnostics"].get(value)
            for trial in row["trials"]
            if trial["status"] in ("budget", "diverged")
        }
        for run in rule.runs
        for arm, row in zip(run.arms, summaries[run.name]["methods"], strict=True)
    }


def _grids(text: str) -> list[tuple[str, list[float]]]:
    """Return each hyperparameter with more than two values, and the values."""
    written = parse(text).values
    return [(k, [float(v) for v in values]) for k, values in written.items() if len(values) > 2]
