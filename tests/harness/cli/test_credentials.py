"""A password in a URL is nowhere but where the person wrote it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, inspect, make_url

from bench.harness.core.secrets import redacted, redacted_urls, redacted_words, secrets_in
from bench.harness.core.store_url import malformed_url
from tests.harness.cli.conftest import Said

Bench = Callable[..., Said]
ROOT = Path(__file__).parents[3]

WORDS = [
    "postgresql://me:gehe1m@h/db",
    "postgresql://me:gehe1m%2Fx%40@h/db",
    "postgresql://me:ge:he1m@gehe1m@h/db",
    "postgresql://me@corp:gehe1m@h/db",
    "postgresql://me:gehe1m 'and\" more@h/db",
    "--store=postgresql://me:gehe1m/x@h/db",
    "postgresql://h/db?user=me&password=gehe1m",
    "postgresql://h/db?user=me&p%61ssword=gehe1m&sslmode=require",
    "postgresql://h/db?sslpassword=gehe1m+x y&password=gehe1m",
    "http://me:gehe1m@host:5000",
    "https://gehe1m@host/",
    "https://host/?access_token=gehe1m",
    "https://host/?a=1;access_token=gehe1m",
    "postgresql://h/db?user=me&password=x;gehe1m#gehe1m",
]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_a_command_line(word: str) -> None:
    (shown,) = redacted_words([word])
    assert "gehe1m" not in shown and "***" in shown
    # What is no secret stays.
    assert shown.partition("://")[0] == word.partition("://")[0]
    assert word.rpartition("/")[0].rpartition("@")[2] in shown
    assert redacted_words([shown]) == [shown]
    assert "gehe1m" not in str(malformed_url(word))
    assert any("gehe1m" in secret for secret in secrets_in(word))


@pytest.mark.parametrize(
    "word",
    ["postgresql:/me:gehe1m@h", "postgres//me:gehe1m@h", "postgresql://me:gehe1m", "a:gehe1m@"],
)
def test_what_is_no_url_is_not_repeated(word: str) -> None:
    assert "gehe1m" not in str(malformed_url(word))


@pytest.mark.parametrize(
    "text",
    [
        "bench compare --optimizers nag@torch,./a.py:B[lr=0.1] --problem add[T=30]",
        "http://127.0.0.1:5000/#/experiments/1 nag@torch",
        "postgresql://me@host:5432/db --optimizers nag@torch",
        "sqlite:////folder/bench.db",
        "bench run --optimizer my.py:Opt[n_token=512,secret=2,lr=0.1] --seed 0",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert redacted_urls(text) == text
    assert redacted_words(text.split()) == text.split()


def test_every_form_of_a_secret_is_found() -> None:
    secrets = secrets_in("postgresql://me:gehe1m%2Fx%40@h/db")
    for form in ("gehe1m%2Fx%40", "gehe1m/x@"):
        assert redacted(f"connecting with {form} failed", secrets) == "connecting with *** failed"


ASKED = [
    ("show", "1"), ("list", "trials"), ("doctor",), ("db", "upgrade"), ("db", "sync"), ("ui",),
    ("worker", "--exit-when-empty"), ("resume",), ("show", "1", "gehe1m", "--debug"),
    ("compare", "--optimizers", "nag", "--budget", "gradients=3000", "--no-mlflow"),
]  # fmt: skip
AWAY = "postgresql://me:gehe1m%2Fx%40@127.0.0.1:1/db?sslpassword=gehe1m"


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize("asked", ASKED)
def test_a_server_that_is_away(
    bench: Bench,
    asked: tuple[str, ...],
    debug: tuple[str, ...],
) -> None:
    said = bench(*asked, *debug, "--store", AWAY)
    assert said.code != 0
    if "gehe1m" not in asked:
        silent(said)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:/me:gehe1m@127.0.0.1:1/db",
        "postgresql://me:gehe1m@h:port/db",
        "postgresql:///me:gehe1m@127.0.0.1/db",
        "postgresql://me:ge@127.0.0.1:1/gehe1m@h/db",
        "oracle://me:gehe1m@h/db",
        "postgresql://h/db?password=gehe1m&sslmode=gehe1m",
    ],
)
@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_a_url_that_cannot_be_used(bench: Bench, url: str, debug: tuple[str, ...]) -> None:
    said = bench("list", "trials", *debug, "--store", url)
    assert said.code in (2, 4)
    silent(said)


def test_other_words_on_the_command_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    said = bench("list", "trials", "postgresql://me:gehe1m@h/db")
    assert said.code == 2 and "unexpected extra argument" in said.err
    silent(said)

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt(text)

    monkeypatch.setattr("bench.harness.store.results.parse_store_url", interrupt)
    monkeypatch.setenv("BENCH_STORE", "postgresql://me:gehe1m x@h/db")
    said = bench("list", "trials", "--debug")
    assert said.code == 130 and "KeyboardInterrupt" in said.err
    silent(said)


def silent(said: Said) -> None:
    assert "gehe1m" not in said.out + said.err


# A whole comparison on a server

SECRET = "gehe1m%2Fx@"
FORMS = ("gehe1m", quote(SECRET, safe=""))


def descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from descendants(child)


def watched(command: list[str], folder: Path, **environment: str) -> tuple[int, str, set[str]]:
    """Run a command; return exit code, what it said, and the command lines of its children."""
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdout=said, stderr=said, env=os.environ | environment
        )
        lines: set[str] = set()
        asked = False
        mine = "".join(f"{word}\0" for word in command).encode()
        while process.poll() is None:
            for pid in list(descendants(process.pid)):
                try:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                # Between fork and exec a child is its parent.
                if line != mine:
                    lines.add(line.replace(b"\0", b" ").decode())
            if not asked and "Press Ctrl-C to stop" in (folder / "said").read_text():
                asked = True
                process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        said.seek(0)
        return process.returncode, said.read(), lines


def dumped(url: str) -> dict[str, str]:
    """Return all of a database's tables as text."""
    engine = create_engine(url)
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        # Tuples: what is printed of a row of SQLAlchemy's is cut.
        rows = {
            name: str([*map(tuple, connection.exec_driver_sql(f'SELECT * FROM "{name}"'))])
            for name in names
        }
    engine.dispose()
    return rows


@pytest.mark.slow
def test_a_comparison_leaves_no_password_anywhere(postgres_url: str, tmp_path: Path) -> None:
    """Fleets in processes of their own, ranks, a tuning, MLflow, its pages: none of it tells."""
    url = make_url(postgres_url).set(username="postgres", password=SECRET)
    given = url.render_as_string(hide_password=False)
    assert FORMS[1] in given
    script = tmp_path / "bench"
    script.write_text(
        "import bench.harness.execution.pool\n"
        "from bench.harness.cli.main import main\n"
        "bench.harness.execution.pool.process_count = lambda seconds, threads: 2\n"
        "main()\n"
    )
    begin = [sys.executable, str(script)]
    usual = ["--problem", "tests.harness.small:make", "--budget", "gradients=3000", "--debug"]
    usual += ["--store", given]
    grids = "nag[batch=20,lr=0.01|0.02],cm[batch=20,lr=0.01|0.02]"
    tune = ["compare", "--tune", "grid", "--seeds", "2", "--threads", "2", *usual]
    ranks = ["run", "--optimizer", "sgd[batch=20]", "--nproc-per-node", "1", *usual]
    plan = ["run", "--optimizer", "cm[batch=20]", "--plan", "plan.json", "--no-mlflow", *usual]
    worker = ["worker", "--exit-when-empty", "--plugin", "tests.harness.small:make"]
    seen, told = set(), []
    for words in (
        [*tune, "--optimizers", grids], [*ranks, "--no-mlflow"], plan, [*worker, *usual[-3:]],
        ["show", "1", *usual[-3:]], ["ui", *usual[-3:]],
    ):  # fmt: skip
        ended, said, lines = watched([*begin, *words], tmp_path, PYTHONPATH=str(ROOT))
        assert ended == 0, said
        seen |= lines
        told.append(said)
    for module in (
        "bench.harness.execution.pool_process",
        "bench.harness.store.mlflow.live",
        "bench.harness.execution.elastic",
        "bench.harness.store.mlflow.server",
    ):
        assert any(module in line for line in seen), (module, seen)
    tables = dumped(postgres_url)
    assert len(tables["bench_trial"]) > 1000 and len(tables["runs"]) > 1000
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"plan.json", "comparison.json"} <= {path.name for path in files}
    for form in FORMS:
        assert not [line for line in seen if form in line]
        assert not [said for said in told if form in said]
        assert not [name for name, rows in tables.items() if form in rows]
        assert not [path for path in files if form.encode() in path.read_bytes()]
    assert "postgres:***@127.0.0.1" in tables["bench_trial"]
