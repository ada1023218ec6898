"""docs/schema.md says what the tables are, and its queries give what Python makes of the same rows.

`python -m tests.harness.store.test_schema_page` writes the page's list of tables anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, String, Table, update

from bench.harness.core import context
from bench.harness.core.records import Certificate, Ledger, Measurement, TrialRecord
from bench.harness.core.seeds import seed_plan
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.planning.plan import FleetPlan, Plan
from bench.harness.store import tables
from bench.harness.store.results import Store
from bench.harness.store.sql import ask

PAGE = Path(__file__).parents[3] / "docs" / "schema.md"
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"
UNITS = {
    "updates": "updates",
    "anytime_updates": "updates",
    "examples": "cases",
    "gradients": "gradient-equivalents",
    "products": "products",
    "cg_steps": "steps",
    "seconds": "s",
    "fleet_seconds": "s",
    "peak_memory": "bytes",
    "cost": "s",
    "fleet_rows": "trials",
}
"""Of columns with this name, in whatever table."""


def kind_of(column: Column[Any]) -> str:
    of = column.type
    if isinstance(of, tables.Utc):
        return "time, UTC"
    if isinstance(of, tables.Text):
        return "text"
    if isinstance(of, String):
        return f"text({of.length})"
    names = {Boolean: "boolean", BigInteger: "64-bit integer", Integer: "integer", Float: "double"}
    return next(name for known, name in names.items() if isinstance(of, known))


def described(table: Table) -> str:
    lines = [
        f"### {table.name}",
        "",
        f"{table.comment}.",
        "",
        "| column | type | unit | may be NULL | meaning |",
        "|---|---|---|---|---|",
    ]
    for column in table.columns:
        kind = kind_of(column) + (", key" if column.primary_key else "")
        meaning = str(column.comment).replace("|", r"\|")
        for target in sorted(key.target_fullname for key in column.foreign_keys):
            meaning += f" (`{target}`)"
        cells = (f"`{column.name}`", kind, UNITS.get(column.name, ""))
        lines.append(f"| {' | '.join(cells)} | {'yes' if column.nullable else ''} | {meaning} |")
    return "\n".join(lines) + "\n"


def all_described() -> str:
    return "\n" + "\n".join(described(each) for each in tables.metadata.tables.values()) + "\n"


def test_the_page_has_every_column_as_it_is() -> None:
    page = PAGE.read_text()
    found = page[page.index(BEGIN) + len(BEGIN) : page.index(END)]
    assert found == all_described(), f"docs/schema.md is not true any more. {__doc__}"


def test_the_page_names_what_the_json_holds(protocol: Protocol) -> None:
    page = PAGE.read_text()
    bodies = {
        "protocol.body": protocol.as_dict(),
        "context.body": context.context(torch.device("cpu"), 1, "fp32", 1, 1, 0),
        "trial.info": context.info(),
        "trial.seed_plan": seed_plan(0),
        "plan.body": [field.name for field in fields(Plan)],
        "fleet.task": [field.name for field in fields(FleetPlan)],
    }
    for name, body in bodies.items():
        (said,) = re.findall(rf"^\| `{re.escape(name)}` \| (.*) \|$", page, re.MULTILINE)
        assert set(re.findall(r"`([\w.]+)`", said)) >= set(body), name
    assert len(queries()) == 6


def queries() -> dict[str, str]:
    """Return the page's queries by their headings."""
    found = re.findall(
        r"^### ([^\n]+)\n(?:(?!^###).)*?^```sql\n(.*?)^```$", PAGE.read_text(), re.M | re.S
    )
    return dict(found)


class Rows:
    """Runs a query of the page on a store."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, heading: str, **named: str) -> list[dict[str, Any]]:
        statement = queries()[heading]
        for name, value in named.items():
            assert f"'{name}'" in statement
            statement = statement.replace(f"'{name}'", f"'{value}'")
        with ask(self._url, statement) as answer:
            return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


@pytest.fixture
def filled(
    store: Store, protocol: Protocol, begin: Callable[..., int]
) -> tuple[Store, str, list[TrialRecord]]:
    """A comparison of two methods under three seeds, and tunings of four points."""

    def enter(
        comparison: str, protocol: Protocol, lr: float, seed: int, value: float, **given: Any
    ) -> int:
        name = given.pop("name", "nag")
        spec = TrialSpec(protocol, MethodSpec(name, "torch", {"lr": lr}), seed)
        # Starts differ by seed alone.
        certificate = Certificate(f"{seed:064d}", "m" * 64, "p" * 64, {}, "bench run")
        id = begin(comparison, spec, label=name, certificate=certificate, **given)
        for index in range(3):
            ledger = Ledger(10 * index, 100 * index, 150.0 * index, index, 2, seed + lr + index, 9)
            last = Measurement(index, ledger, value * (3 - index), value, 1.0, 2.0)
            store.record([(id, last)])
        bad = value != value
        why = "the loss was not finite at update 17" if bad else None
        store.end(id, "diverged" if bad else "budget", why, last.ledger, last)
        return id

    shown = store.new_comparison(protocol, "comparison", "bench compare")
    nan = float("nan")
    for seed in range(3):
        for name, lr in (("nag", 0.1), ("sgd", 0.2)):
            value = nan if (name, seed) == ("sgd", 2) else lr + seed
            enter(shown, protocol, lr, seed, value, name=name, fleet_rows=2, owner="gpu12:345")
    # A second attempt in place of the first.
    enter(shown, protocol, 0.1, 0, 7.0, fleet_rows=1, owner="vm:9")
    others = (protocol, replace(protocol, problem="faces"))
    for of in others:
        for budget in (1e5, 2e5):
            each = replace(of, budget=Budget("gradients", budget))
            tuning = store.new_comparison(each, "tuning", "bench compare --tune")
            for lr, values in {0.1: (3.0, 4.0), 0.2: (1.0, 9.0), 0.3: (2.0, nan)}.items():
                for seed, value in enumerate(values, 1_000_000):
                    enter(tuning, each, lr, seed, value, purpose="tuning", owner="vm:9")
    return store, shown, store.trials()


def test_final_errors(filled: tuple[Store, str, list[TrialRecord]]) -> None:
    store, shown, _ = filled
    found = Rows(store.url)("Final errors and cost by method and seed", ID=shown)
    latest = {(t.method, t.seed): t for t in store.trials(shown)}
    expected = [
        {
            "method": t.method, "seed": t.seed, "status": t.status,
            "train_metric": t.train_metric, "test_metric": t.test_metric,
            "updates": t.ledger.updates, "gradients": t.ledger.gradients,
            "seconds": t.ledger.seconds, "seconds_are": t.seconds_are,
        }
        for _, t in sorted(latest.items())
    ]  # fmt: skip
    assert found == expected
    assert len(found) == 6 and found[0]["train_metric"] == 7.0
    assert found[-1]["train_metric"] is None


def test_learning_curves(filled: tuple[Store, str, list[TrialRecord]]) -> None:
    store, shown, _ = filled
    found = Rows(store.url)("Learning curves with the ledger", ID=shown)
    trials = sorted(store.trials(shown), key=lambda t: (t.method, t.seed, t.attempt))
    measured = store.measurements([t.id for t in trials])
    assert found == [
        {
            "method": t.method, "seed": t.seed, "attempt": t.attempt, "idx": m.index,
            **{name: getattr(m.ledger, name) for name in (
                "updates", "examples", "gradients", "products", "cg_steps", "seconds")},
            **{name: None if (v := getattr(m, name)) != v else v for name in (
                "train_metric", "test_metric")},
        }
        for t in trials for m in measured[t.id]
    ]  # fmt: skip


def test_best_hyperparameters(filled: tuple[Store, str, list[TrialRecord]]) -> None:
    store, _, trials = filled
    found = Rows(store.url)("Best hyperparameters over all tunings of a problem")
    protocols = {c.protocol.key: c.protocol for c in store.comparisons()}
    tried: dict[Any, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for t in trials:
        p = protocols[t.protocol_key]
        if t.purpose == "tuning" and (p.problem, p.preset) == ("curves", "quick"):
            reached = float("inf") if t.train_metric is None else t.train_metric
            tried[t.protocol_key, t.method_name][str(t.hyperparameters["lr"])].append(reached)
    assert len(found) == len(tried) == 2
    for row in found:
        points = tried[row["protocol_key"], row["method"]]
        best = min(points, key=lambda lr: max(points[lr]))
        assert row["hyperparameters"] == f'{{"lr":{best}}}' == '{"lr":0.1}'
        assert (row["worst"], row["seeds"]) == (max(points[best]), 2)


def test_what_diverged(filled: tuple[Store, str, list[TrialRecord]]) -> None:
    store, _, trials = filled
    found = Rows(store.url)("Which trials diverged, and when")
    assert [row["trial"] for row in found] == [t.id for t in trials if t.status == "diverged"]
    assert {row["reason"] for row in found} == {"the loss was not finite at update 17"}
    assert [row["ended"] for row in found] == [t.ended.replace(tzinfo=row["ended"].tzinfo)
        for t, row in zip((t for t in trials if t.status == "diverged"), found, strict=True)
        if t.ended]  # fmt: skip


def test_equal_starts(filled: tuple[Store, str, list[TrialRecord]]) -> None:
    store, shown, trials = filled
    ask_page = Rows(store.url)
    heading = "Do all methods start at the same parameters under one seed"
    found = ask_page(heading)
    counts = {(row["comparison_id"], row["seed"]): (row["starts"], row["unknown"]) for row in found}
    assert set(counts.values()) == {(1, 0)}
    assert len(counts) == 3 + 4 * 2
    first, second, *_ = (t for t in trials if t.seed == 1)
    with store._write() as connection:
        for id, digest in ((first.id, "f" * 64), (second.id, None)):
            connection.execute(
                update(tables.trial).where(tables.trial.c.id == id).values(theta_digest=digest)
            )
    (row,) = (r for r in ask_page(heading) if (r["comparison_id"], r["seed"]) == (shown, 1))
    assert (row["starts"], row["trials"], row["unknown"]) == (1, 2, 1)


def test_machine_time(filled: tuple[Store, str, list[TrialRecord]]) -> None:
    store, _, trials = filled
    found = Rows(store.url)("Machine time by host and month")
    hosts = {"gpu12": 0.0, "vm": 0.0}
    for t in trials:
        # The rows of a fleet share its seconds.
        host = "gpu12" if t.fleet_rows == 2 else "vm"
        hosts[host] += t.ledger.seconds / 3600
    assert [row["host"] for row in found] == ["gpu12", "vm"]
    assert {row["month"] for row in found} == {f"{trials[0].started:%Y-%m}"}
    assert {row["host"]: row["hours"] for row in found} == pytest.approx(hosts, rel=1e-12)
    assert [row["trials"] for row in found] == [6, len(trials) - 6]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + all_described() + END + rest.partition(END)[2])
