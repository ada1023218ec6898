"""A tracking server that is away, hangs, fails or dies costs seconds and a sentence, and no run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.harness.core.errors import Usage
from bench.harness.store.mlflow.live import AnswerClock, start_mirror
from bench.harness.store.mlflow.mirror import MlflowUnavailable, SyncResult, sync
from bench.harness.store.results import Store
from tests.harness.planning.test_plan import STORE, plan
from tests.harness.small import request
from tests.harness.store.mirrored import NAG, PROTOCOL, begin, train, wait_until

ROOT = Path(__file__).parents[4]
SECRET = "s3cr3tword"


class Failing(BaseHTTPRequestHandler):
    """Answers every question with an error."""

    status, body = 500, b"out of order"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Be quiet."""


class Other(Failing):
    """Is a server, but of something else."""

    status, body = 200, b"<html>hello</html>"


@contextmanager
def faulty(kind: str) -> Iterator[str]:
    """The address, with a password, of a server that does not do what it should."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if kind == "hangs":
            yield f"http://me:{SECRET}@127.0.0.1:{port}"
            return
    if kind == "is away":
        yield f"http://me:{SECRET}@127.0.0.1:{port}"
        return
    handler = Failing if kind == "fails" else Other
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:{SECRET}@127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("is away", "it cannot be reached"),
        ("fails", "it answers with errors"),
        ("is something else", "not in a valid JSON format"),
    ],
)
def test_a_server_that_does_not_work_is_a_sentence(
    recorded: Store,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    told: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with faulty(kind) as uri, pytest.raises(MlflowUnavailable, match=told) as raised:
        sync(recorded, tracking_uri=uri)
    shown = uri.replace(SECRET, "***")
    assert f"`bench db sync --tracking-uri {shown}` brings in the rest" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["is away", "hangs", "fails"])
def test_a_run_ends_well_and_soon_and_is_brought_in_later(
    recorded: Store,
    kind: str,
) -> None:
    with faulty(kind) as uri:
        mirror = start_mirror(recorded.url, tracking_uri=uri)
        told = mirror.stop()
    assert isinstance(told, str) and "bench db sync --tracking-uri" in told
    assert SECRET not in told
    assert mirror._process.returncode == 0
    assert sync(recorded).runs == 5


def test_the_silence_of_a_server_counts_from_its_last_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    heard = AnswerClock()
    answers = [4.0, 9.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if answers and clock[0] >= answers[0]:
            clock[0] = answers.pop(0)
            heard.now()

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    heard.wait_for_silence(5.0)
    assert clock[0] == 14.0


def test_a_plan_says_nothing_of_the_server() -> None:
    asked = request(STORE, tracking_uri=f"http://me:{SECRET}@host")
    made = plan(request=asked).as_dict()
    assert "tracking_uri" not in made["request"] and SECRET not in json.dumps(made)


def test_a_word_that_is_no_address_is_refused() -> None:
    from bench.harness.cli.run import command

    with pytest.raises(Usage, match="--tracking-uri example: give the address"):
        command.main(["--optimizer", "nag", "--tracking-uri", "example"], standalone_mode=False)


@contextmanager
def tracking_server(folder: Path, port: int) -> Iterator[str]:
    """The address of an MLflow server with a database and files of its own."""
    uri = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.harness.store.mlflow.server"]
        + ["--port", str(port), "--workers", "1"]
        + ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
        + ["--artifacts-destination", str(folder / "files")],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def is_up() -> bool:
        try:
            return bool(urllib.request.urlopen(f"{uri}/health", timeout=5).read())
        except OSError:
            return False

    try:
        wait_until(is_up)
        yield uri
    finally:
        # It ends with whoever holds its standard input.
        process.communicate(timeout=20)


@pytest.mark.slow
def test_a_server_that_comes_back_gets_everything_once(
    recorded: Store,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    pictures = recorded.artifacts / "bench" / recorded.comparisons()[0].id
    pictures.mkdir(parents=True)
    (pictures / "report.txt").write_text("words")
    with tracking_server(tmp_path, port) as uri:
        mirror = start_mirror(recorded.url, tracking_uri=uri)
        process = mirror._process
        assert isinstance(mirror.stop(), SyncResult)
        # It has answered by itself, and none had to be started in its place.
        assert mirror._process is process
        mirror = start_mirror(recorded.url, tracking_uri=uri)
    # The server has died, and a trial is recorded in the meantime.
    comparison = recorded.new_comparison(PROTOCOL, "run", "bench run")
    train(recorded, begin(recorded, comparison, NAG, 7), 4)
    assert "cannot be reached" in str(mirror.stop())
    with tracking_server(tmp_path, port) as uri:
        done = sync(recorded, tracking_uri=uri)
        # A comparison is copied once it has ended.
        assert done.runs == 1
        assert capfd.readouterr().out == ""
        assert sync(recorded, tracking_uri=uri) == SyncResult(0, 0)
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("curves-quick")
        runs = client.search_runs([experiment.experiment_id])
        assert len({run.info.run_name for run in runs}) == len(runs) == 6
        ids = {run.info.run_name: run.info.run_id for run in runs}
        history = client.get_metric_history(ids["nag lr=.01 s7, mu_max=.99"], "train_loss")
        assert sorted(point.step for point in history) == [0, 10, 20, 30]
        whole = next(id for name, id in ids.items() if name.startswith("compare"))
        assert {file.path for file in client.list_artifacts(whole)} >= {"report.txt"}
    # Another MLflow than last time: everything is written there, and once.
    assert sync(recorded).runs == 6
    assert sync(recorded) == SyncResult(0, 0)
