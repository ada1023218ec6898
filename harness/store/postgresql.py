"""Connections to PostgreSQL that notice a server which is gone, or holds them and stays silent."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event

from bench.harness.core.errors import Infrastructure
from bench.harness.core.store_url import redacted_url

CONNECT_SECONDS = 10
ANSWER_SECONDS = 15.0
"""How long a server may be silent while it owes an answer."""
RETRY_SECONDS = 3
"""How long instead, after it was silent and until it answers again."""
# Seconds, and milliseconds for the time that sent bytes may stay unconfirmed.
_KEPT_ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_T = TypeVar("_T")
_long: ContextVar[bool] = ContextVar("statements that may take long", default=False)


@contextmanager
def long_statements() -> Iterator[None]:
    """Let statements take as long as they need, while the server answers other connections."""
    before = _long.set(True)
    try:
        yield
    finally:
        _long.reset(before)


def postgresql_engine(url: URL) -> Engine:
    """Return an engine that gives up on a silent server; Infrastructure without psycopg."""
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise Infrastructure(
            f"The store {redacted_url(url)} needs psycopg, which is not installed: "
            "pip install 'bench-harness[postgres]'"
        ) from error
    _bound_answers(engine, url)
    return engine


@cache
def bound_answers_of(url: URL) -> None:
    """Make engines of other libraries on this database give up on a silent server, too."""
    _bound_answers(Engine, url)


def _bound_answers(target: Any, url: URL) -> None:
    silence = _Silence()

    @event.listens_for(target, "do_connect")
    def connect(dialect: Any, record: Any, words: Any, named: dict[str, Any]) -> Any:
        if dialect.name != "postgresql" or dialect.driver != "psycopg":
            return None
        if dialect.create_connect_args(url)[1] != named:
            return None
        return silence.connect({"connect_timeout": silence.seconds_to_connect, **named})


class _Silence:
    """What is known of one server's silence."""

    def __init__(self) -> None:
        self._is_silent = False

    @property
    def seconds_to_connect(self) -> int:
        return RETRY_SECONDS if self._is_silent else CONNECT_SECONDS

    @property
    def seconds_to_answer(self) -> float:
        return RETRY_SECONDS if self._is_silent else ANSWER_SECONDS

    def connect(self, named: Mapping[str, Any]) -> Any:
        import psycopg

        try:
            connection = _connection_class().connect(**{**_KEPT_ALIVE, **named})
        except psycopg.errors.ConnectionTimeout:
            self._is_silent = True
            raise
        connection.silence, connection.named = self, named
        return connection

    def bounded(self, connection: Any, steps: Generator[Any, Any, _T]) -> Generator[Any, Any, _T]:
        """Pass on the steps of a statement; OperationalError when the server owes them too long."""
        heard, ready = time.monotonic(), None
        while True:
            try:
                wanted = next(steps) if ready is None else steps.send(ready)
            except StopIteration as end:
                return end.value
            ready = yield wanted
            if ready:
                heard, self._is_silent = time.monotonic(), False
            elif (silent := time.monotonic() - heard) > self.seconds_to_answer:
                if not self.is_at_work(connection):
                    self._give_up(connection, silent)
                heard = time.monotonic()

    def is_at_work(self, connection: Any) -> bool:
        """Ask on another connection if the server waits for a lock, or works on a long answer."""
        import psycopg

        named = {**_KEPT_ALIVE, **connection.named, "connect_timeout": RETRY_SECONDS}
        query = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
        try:
            other = _connection_class().connect(**named, autocommit=True)
            other.silence = _Witness()
            try:
                found = other.execute(query, [connection.pgconn.backend_pid]).fetchone()
            finally:
                other.close()
        except psycopg.Error:
            return False
        return _long.get() or (found is not None and found[0] == "Lock")

    def _give_up(self, connection: Any, silent: float) -> None:
        import psycopg

        self._is_silent = True
        connection.pgconn.finish()
        raise psycopg.OperationalError(f"the server has not answered for {silent:.0f} seconds")


class _Witness(_Silence):
    """The silence of a connection that asks about another one, which gets no long time."""

    def __init__(self) -> None:
        self._is_silent = True

    def is_at_work(self, connection: Any) -> bool:
        return False


@cache
def _connection_class() -> Any:
    """Return psycopg's connection, with a bound on the server's silence."""
    import psycopg

    class BoundedConnection(psycopg.Connection[Any]):
        silence: _Silence | None = None
        named: Mapping[str, Any] = {}

        def wait(self, gen: Any, *settings: Any, **named: Any) -> Any:
            if self.silence is not None:
                gen = self.silence.bounded(self, gen)
            return super().wait(gen, *settings, **named)

    return BoundedConnection
