"""A PostgreSQL server that holds its connections and stays silent, and one that is only slow."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url, text

from bench.harness.core.errors import Infrastructure
from bench.harness.core.spec import Protocol
from bench.harness.store import postgresql
from bench.harness.store.postgresql import long_statements
from bench.harness.store.results import Store

psycopg = pytest.importorskip("psycopg")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(postgresql, "RETRY_SECONDS", 2)


class Forwarder:
    """Forwards connections to a server; once it is `silent`, it keeps them and forwards nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self.silent = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._held):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._held += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                if not self.silent.is_set():
                    target.sendall(content)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@contextmanager
def forwarded(url: str) -> Iterator[tuple[Forwarder, str]]:
    made = make_url(url)
    forwarder = Forwarder(made.host or "127.0.0.1", made.port or 5432)
    try:
        changed = made.set(host="127.0.0.1", port=forwarder.port)
        yield forwarder, changed.render_as_string(hide_password=False)
    finally:
        forwarder.close()


def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://me:secret@127.0.0.1:{server.getsockname()[1]}/db"
        with pytest.raises(Infrastructure, match="the server does not answer. Check it") as said:
            Store.open(url)
    assert "secret" not in str(said.value)


def test_a_server_that_falls_silent(postgres_url: str, protocol: Protocol) -> None:
    with forwarded(postgres_url) as (forwarder, url), Store.open(url) as store:
        store.new_comparison(protocol, "run", "bench run")
        forwarder.silent.set()
        with pytest.raises(Infrastructure, match="not answer"):
            store.new_comparison(protocol, "run", "bench run")
        forwarder.silent.clear()
        store.new_comparison(protocol, "run", "bench run")
        assert store.count("comparisons") == 2


def test_a_process_of_the_server_that_is_silent(postgres_url: str) -> None:
    # The server answers others, so only the one statement is given up.
    with Store.open(postgres_url) as store:
        with pytest.raises(Infrastructure, match="has not answered for"), store._read() as silent:
            silent.execute(text("SELECT pg_sleep(60)"))
        assert store.count("trials") == 0


def test_a_statement_that_may_take_long(postgres_url: str) -> None:
    with Store.open(postgres_url) as store, long_statements(), store._read() as connection:
        assert connection.scalar(text("SELECT 7 FROM pg_sleep(2)")) == 7


def test_a_statement_that_waits_for_a_lock(postgres_url: str) -> None:
    with Store.open(postgres_url) as store, store._write() as holder:
        holder.execute(text("SELECT pg_advisory_xact_lock(1)"))
        end = threading.Timer(2, holder.rollback)
        end.start()
        with store._write() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(1)"))
        # The server has let go of the lock; the other thread may still be in rollback().
        end.join()


def test_a_signal_is_heard_meanwhile(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import _thread

    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 30.0)
    with forwarded(postgres_url) as (forwarder, url), Store.open(url) as store:
        store.count("trials")
        forwarder.silent.set()
        threading.Timer(0.5, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            store.count("trials")
