"""`bench ui`: show this store in MLflow's web pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import click

from bench.harness.cli.options import store_option, store_url
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.paths import python_path

if TYPE_CHECKING:
    from bench.harness.store.results import Store

_PORT = 5000
_START_SECONDS = 120


@click.command("ui", epilog="Example: bench ui --port 5001")
@store_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    envvar="BENCH_HOST",
    help="Address on which the server listens.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    envvar="BENCH_PORT",
    help=f"Port of the server; default: {_PORT}, or a free port if {_PORT} is in use.",
)
def command(store: str | None, host: str, port: int | None) -> None:
    """Show the store in MLflow's web pages until you press Ctrl-C."""
    from bench.harness.store.mlflow.mirror import first_view, sync
    from bench.harness.store.results import Store

    chosen = _port(host, port)
    with Store.open(store_url(store), create=False) as opened:
        click.echo("Copying new results to MLflow …", err=True)
        sync(opened)
        path = first_view(opened)
        with _interrupts(), _server(opened, host, chosen) as server:
            _wait(server, host, chosen)
            click.echo(f"http://{_address(host)}:{chosen}{path}")
            click.echo("Press Ctrl-C to stop the server.", err=True)
            server.wait()
    raise Infrastructure(
        f"MLflow's server stopped unexpectedly with exit code {server.returncode}."
    )


def _port(host: str, wanted: int | None) -> int:
    """Return the requested port, else the default port, else any free port."""
    if wanted is not None:
        if not _is_free(host, wanted):
            raise Usage(
                f"--port {wanted}: this port is in use on {host}. Choose another, or leave out "
                "--port."
            )
        return wanted
    if _is_free(host, _PORT):
        return _PORT
    with _bound(host, 0) as listener:
        return int(listener.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    try:
        _bound(host, port).close()
    except OSError:
        return False
    return True


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As servers do: a port is free even if connections of an earlier server still close.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def _server(store: Store, host: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run MLflow's server with one worker process; stop all its processes afterwards."""
    from bench.harness.store.mlflow.mirror import ENVIRONMENT
    from bench.harness.store.mlflow.uris import mlflow_uri

    settings = {
        # In the environment: the URL may hold a password, and all users can read command lines.
        "MLFLOW_BACKEND_STORE_URI": mlflow_uri(store.url),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": (store.artifacts / "mlflow").as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.harness.store.mlflow.server"]
        + ["--host", host, "--port", str(port), "--workers", "1"],
        env={**ENVIRONMENT, **os.environ, **settings, "PYTHONPATH": python_path()},
        # The server stops when this pipe closes, even if this process is killed.
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the server's whole process group: first SIGTERM, then SIGKILL."""
    for how, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                os.killpg(process.pid, how)
            except ProcessLookupError:
                process.wait()
                return
            process.poll()
            time.sleep(0.1)


@contextmanager
def _interrupts() -> Iterator[None]:
    """End with exit code 0 on Ctrl-C and SIGTERM: they are the normal way to stop the server."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a process that a script starts in the background ignores it by default.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(server: subprocess.Popen[bytes], host: str, port: int) -> None:
    """Return when the server answers."""
    # Without proxies: a proxy cannot reach a page on this machine.
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with opener.open(f"http://{_address(host)}:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise Infrastructure(
        f"MLflow's server did not start on {host}:{port}. Run `mlflow server --backend-store-uri "
        "…` to see its messages."
    )


def _address(host: str) -> str:
    """Return the host for a URL; an address for all interfaces becomes 127.0.0.1."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
