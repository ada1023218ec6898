"""A person opens `bench ui` and sees the runs, their values and their curves."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from PIL import Image

from bench.harness.cli.ui import command
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.records import Ledger, Measurement, TrialRecord
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.mlflow.colors import color
from bench.harness.store.mlflow.entries import run_name
from bench.harness.store.results import Store
from tests.harness.browser import Pages, browser, served

METHODS = {"sgd": 0.4, "nag": 0.7, "hf": 0.55}
WIDE = 321
REPORT = "sgd and nag: nag better"
PROTOCOL = Protocol(
    problem="curves",
    parameters={},
    preset="quick",
    data="curves (generated)",
    data_digest="d" * 64,
    initialization="sparse",
    objective="cross-entropy",
    metric="train_squared_error",
    direction="lower",
    budget=Budget("gradients", 1e6),
    precision="fp32",
    evaluations=20,
)


@pytest.fixture
def recorded(store_url: str) -> str:
    """A store with three methods × five seeds and a tuning trial; MLflow does not know of it."""
    with Store.open(store_url) as store:
        comparison = store.new_comparison(PROTOCOL, "comparison", "bench compare")
        reported = [
            _trial(store, comparison, method, seed, "reported")
            for method in METHODS
            for seed in range(5)
        ]
        _trial(store, comparison, "nag", 1_000_007, "tuning")
        store.finish_comparison(comparison, "done", {"methods": []})
        for folder in (
            store.files_of_trial(reported[0]),
            store.files_of_comparison(comparison),
        ):
            folder.mkdir(parents=True)
            Image.new("RGB", (WIDE, 200), "white").save(folder / "curves.png")
            (folder / "report.txt").write_text(REPORT)
    return store_url


def _trial(store: Store, comparison: str, method: str, seed: int, purpose: Any) -> int:
    spec = TrialSpec(PROTOCOL, MethodSpec(method, "torch", {"lr": 0.01}), seed)
    trial = store.begin(
        comparison,
        spec,
        label=method,
        purpose=purpose,
        source_digest="5" * 64,
        context={"device": "cpu"},
        info={},
        fleet_rows=1,
        seconds_are="alone",
        owner="test",
    )
    rows = [_measurement(i, METHODS[method], seed % 10) for i in range(21)]
    store.record([(trial, row) for row in rows])
    store.end(trial, "budget", None, rows[-1].ledger, rows[-1])
    return trial


def _measurement(index: int, rate: float, seed: int) -> Measurement:
    updates = round(10 ** (index / 5)) if index else 0
    value = (20 + seed) / (1 + updates) ** rate
    ledger = Ledger(updates=updates, gradients=200.0 * updates, seconds=0.01 * updates)
    return Measurement(index, ledger, value, 1.1 * value, value, value)


@pytest.fixture
def seen(recorded: str, chromium: str) -> Iterator[tuple[Store, Pages]]:
    """The store, and a browser on the address that `bench ui` prints."""
    pytest.importorskip("playwright.sync_api")
    with (
        served(recorded) as (address, _),
        Store.open(recorded) as store,
        browser(address, chromium) as pages,
    ):
        yield store, pages
        assert pages.failures == []


@pytest.mark.slow
def test_what_is_recorded_is_on_the_pages(seen: tuple[Store, Pages]) -> None:
    store, pages = seen
    reported = [trial for trial in store.trials() if trial.purpose == "reported"]
    assert len(reported) == 15
    measured = store.measurements([trial.id for trial in reported])

    charts = pages.curves(4)
    body = pages.page.inner_text("body")
    # Training mode, every run by its name, and neither the comparison's run nor the tuning's.
    assert "Model registry" in body and "15 matching runs" in body and "Evaluations" not in body
    assert "squared error on training data, by updates" in body
    for trial in reported:
        assert run_name(trial, PROTOCOL)[:17] in body
    for words in ("compare ", "s1000007"):
        assert words not in body
    _check_charts(charts, reported, measured)

    single = pages.ungrouped(15)[0]
    for method in METHODS:
        lines = [each for each in single["traces"] if each["color"].lower() == color(method)]
        ends = {measured[trial.id][-1].train_metric for trial in reported if trial.method == method}
        assert {each["y"][-1] for each in lines} == ends

    table = pages.table()
    for words in ("bench.method", "bench.seed", "train_squared_error", "test_squared_error"):
        assert words in table
    for trial in reported:
        last = measured[trial.id][-1]
        assert repr(last.train_metric) in table
        assert repr(last.test_metric) in table

    for run in (reported[0].mlflow_run_id, store.comparisons()[0].mlflow_run_id):
        assert pages.picture(str(run), "curves.png") == WIDE
    pages.text(str(store.comparisons()[0].mlflow_run_id), "report.txt", REPORT)


def _check_charts(
    charts: list[dict[str, Any]],
    reported: list[TrialRecord],
    measured: Mapping[int, list[Measurement]],
) -> None:
    """See the mean over seeds in every chart, by the store's own values, in the runs' colour."""
    kinds = [(chart["title"], chart["x"], chart["y"]) for chart in charts]
    assert kinds == [
        ("Step", "log", "log"),
        ("seconds", "linear", "log"),
        ("Step", "log", "log"),
        ("gradients", "linear", "log"),
    ]
    for chart in charts:
        assert chart["yticks"] > 1
    for method in METHODS:
        rows = [measured[trial.id] for trial in reported if trial.method == method]
        of_train = [[m.train_metric for m in at] for at in zip(*rows, strict=True)]
        of_test = [[m.test_metric for m in at] for at in zip(*rows, strict=True)]
        updates = [m.ledger.updates for m in rows[0]]
        seconds = [m.ledger.seconds for m in rows[0]]
        # A logarithmic axis has no place for update 0.
        _check_curve(charts[0], color(method), updates[1:], of_train[1:])
        _check_curve(charts[1], color(method), seconds, of_train)
        _check_curve(charts[2], color(method), updates[1:], of_test[1:])


def _check_curve(
    chart: dict[str, Any], shade: str, x: Sequence[float], y: Sequence[list[float]]
) -> None:
    """See the mean over seeds as a line, and from the least to the most as a band behind it."""
    of = {trace["color"].lower(): trace for trace in chart["traces"]}
    line, band = of[shade], of[f"{shade}33"]
    assert line["x"] == pytest.approx(x)
    assert line["y"] == pytest.approx([fmean(values) for values in y])
    for at, values in zip(x, y, strict=True):
        edges = [v for u, v in zip(band["x"], band["y"], strict=True) if u == pytest.approx(at)]
        assert [min(edges), max(edges)] == pytest.approx([min(values), max(values)])
    rgb = f"rgb({', '.join(str(int(shade[i : i + 2], 16)) for i in (1, 3, 5))})"
    # The band, and the line.
    assert chart["drawn"].count(rgb) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_ends_the_server(store_url: str, how: signal.Signals) -> None:
    Store.open(store_url).close()
    with served(store_url) as (address, process):
        assert address.startswith("http://127.0.0.1:")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (group,) = map(int, children)
        process.send_signal(how)
        assert process.wait(timeout=60) == (-9 if how == signal.SIGKILL else 0)
        for _ in range(300):
            if not _running(group):
                break
            time.sleep(0.1)
        assert _running(group) == []


def _running(group: int) -> list[str]:
    """The processes of a group; one that has ended and waits for its parent is none."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(stat.parent.name)
    return found


def test_a_port_that_is_taken_is_named(recorded: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with pytest.raises(Usage, match=f"--port {port}: this port is in use"):
            command.main(["--store", recorded, "--port", port], standalone_mode=False)


def test_a_store_that_is_not_there_is_named_and_not_made(store_url: str) -> None:
    with pytest.raises(Infrastructure, match="There is no store"):
        command.main(["--store", store_url], standalone_mode=False)
    assert not Path(store_url.removeprefix("sqlite:///")).exists()
