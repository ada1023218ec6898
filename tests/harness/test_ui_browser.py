"""A person opens `bench ui` and sees the runs, their values and their curves."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.cli.ui import command
from harness.errors import Infrastructure, Usage
from harness.records import Ledger, Measurement
from harness.spec import Budget, MethodSpec, Protocol, TrialSpec
from harness.store.results import Store

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
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
    evaluations=40,
)


@pytest.fixture
def recorded(store_url: str) -> str:
    """A store with two methods × two seeds, of which MLflow does not know yet."""
    with Store.open(store_url) as store:
        comparison = store.new_comparison(PROTOCOL, "comparison", "bench compare")
        for method, rate in (("nag", 0.7), ("sgd", 0.4)):
            for seed in (0, 1):
                spec = TrialSpec(PROTOCOL, MethodSpec(method, "torch", {"lr": 0.01}), seed)
                trial = store.begin(
                    comparison,
                    spec,
                    label=method,
                    purpose="reported",
                    source_digest="5" * 64,
                    context={"device": "cpu"},
                    info={},
                    fleet_rows=1,
                    seconds_are="alone",
                    owner="test",
                )
                rows = [_measurement(i, rate, seed) for i in range(41)]
                store.record([(trial, row) for row in rows])
                store.end(trial, "budget", None, rows[-1].ledger, rows[-1])
        store.finish_comparison(comparison, "done", {"methods": []})
    return store_url


def _measurement(index: int, rate: float, seed: int) -> Measurement:
    updates = round(10 ** (index / 10)) if index else 0
    value = (20 + seed) / (1 + updates) ** rate
    ledger = Ledger(updates=updates, gradients=200.0 * updates, seconds=0.01 * updates)
    return Measurement(index, ledger, value, 1.1 * value, value, value)


@contextmanager
def served(url: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `bench ui` prints, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from harness.cli.ui import command; command()"],
        cwd=ROOT,
        env={**os.environ, "BENCH_STORE": url},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


@pytest.mark.slow
def test_runs_and_curves_are_on_the_page(recorded: str, chromium: str, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    with served(recorded) as (address, _), api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            failures: list[str] = []
            page.on("pageerror", lambda error: failures.append(str(error)))
            page.goto(address)
            # Three charts, against updates, gradients and seconds: their legends, then their axes.
            page.wait_for_function(
                "document.body.innerText.split('nag (train_squared_error)').length > 3 && "
                "['Step', 'gradients', 'seconds', 'Group: sgd']"
                ".every(words => document.body.innerText.includes(words))",
                timeout=90_000,
            )
            page.screenshot(path=tmp_path / "curves.png")
            charts = page.inner_text("body")
            table = address.replace("compareRunsMode=CHART", "compareRunsMode=TABLE")
            page.goto("about:blank")
            page.goto(table)
            page.wait_for_function(
                "document.querySelectorAll('.ag-header-cell').length > 5", timeout=90_000
            )
            page.get_by_text("Group: sgd").first.wait_for(timeout=90_000)
            page.screenshot(path=tmp_path / "table.png")
            body = page.inner_text("body")
        finally:
            browser.close()
    assert failures == []
    for words in ("Step", "gradients", "seconds", "nag (train_squared_error)", "Group: sgd"):
        assert words in charts
    assert {"nag", "sgd"} <= set(re.findall(r"\w+", body))
    # The last values of sgd, by the formula above: a mean over its two seeds.
    assert f"{20.5 / 10001**0.4:.2f}" in body
    assert "compare nag" not in body


@pytest.mark.slow
def test_ctrl_c_ends_the_server_and_everything_it_started(recorded: str) -> None:
    with served(recorded) as (address, process):
        assert address.startswith("http://127.0.0.1:")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        group = int(children[0])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


def test_a_port_that_is_taken_is_named(recorded: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with pytest.raises(Usage, match=f"--port {port}: it is taken"):
            command.main(["--store", recorded, "--port", port], standalone_mode=False)


def test_a_store_that_is_not_there_is_named_and_not_made(store_url: str) -> None:
    with pytest.raises(Infrastructure, match="There is no store"):
        command.main(["--store", store_url], standalone_mode=False)
    assert not Path(store_url.removeprefix("sqlite:///")).exists()
