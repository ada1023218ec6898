"""Kill comparisons at random moments, continue them, and look for anything lost or doubled.

    python benchmarks/store/kills.py --kills 60 --first 20 [--postgres URL of an existing database]

Each round starts `bench compare` with MLflow in a folder of its own, and kills all its processes
once or several times: during the very first run, or while `bench resume` continues it. Then it is
run to its end, and every trial, measurement and run in MLflow must be there once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

METHODS, SEEDS = ("nag", "sgd"), 2
UPDATES = 300


def bench(*words: str, store: str, folder: Path) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words, "--store", store],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path.cwd()))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command with all processes below it, also those in groups of their own."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    doomed = {process.pid}
    while more := {pid for pid, parent in pairs if parent in doomed} - doomed:
        doomed |= more
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def answer(store: str, folder: Path, query: str) -> list[dict[str, object]]:
    """Ask the store in SQL."""
    process = bench("db", "sql", query, "--json", "-", store=store, folder=folder)
    told, _ = process.communicate()
    return json.loads(told) if process.returncode == 0 else []


def finish(store: str, folder: Path) -> str:
    """Continue what was killed, or start anew; return what it printed."""
    left = answer(store, folder, "select id from bench_comparison where status <> 'done'")
    words = ["resume", str(left[-1]["id"])] if left else compare_words()
    process = bench(*words, store=store, folder=folder)
    told, _ = process.communicate(timeout=600)
    return "" if process.returncode in (0, 3) else f"exit {process.returncode}: {told}"


def compare_words() -> list[str]:
    """Return the command that is killed."""
    return [
        *("compare", "--optimizers", ",".join(METHODS), "--problem", "curves"),
        *("--budget", f"updates={UPDATES}", "--seeds", str(SEEDS)),
    ]


def problems(store: str, folder: Path) -> list[str]:
    """Return everything that is wrong with a store in which a comparison has ended.

    A command that is killed after its end is started again, and its comparison reuses the trials.
    """
    found = []
    ended = answer(
        store,
        folder,
        "select distinct t.label, t.seed, t.id, (select count(*) from bench_measurement m where "
        "m.trial_id = t.id) as n, (select max(idx) from bench_measurement m where "
        "m.trial_id = t.id) as last from bench_trial t join bench_comparison_trial c on "
        "c.trial_id = t.id join bench_comparison k on k.id = c.comparison_id "
        "where t.status = 'budget' and k.status = 'done'",
    )
    if len(ended) != len({(row["label"], row["seed"]) for row in ended}):
        found.append(f"a trial is there twice: {ended}")
    if len(ended) != len(METHODS) * SEEDS:
        found.append(f"{len(ended)} trials ended")
    found += [f"lost measurements: {row}" for row in ended if row["n"] != int(str(row["last"])) + 1]
    for words in (["list", "comparisons"], ["list", "trials"], ["show", str(ended[0]["id"])]):
        process = bench(*words, store=store, folder=folder)
        told, _ = process.communicate()
        if process.returncode:
            found.append(f"{words}: {told}")
    process = bench("db", "sync", store=store, folder=folder)
    told, _ = process.communicate()
    if process.returncode:
        found.append(f"db sync: {told}")
    runs = answer(
        store,
        folder,
        "select t.value, count(*) as n from tags t join runs r on r.run_uuid = t.run_uuid "
        "where t.key = 'bench.trial' and r.lifecycle_stage = 'active' group by t.value",
    )
    if any(row["n"] != 1 for row in runs) or len(runs) < len(ended):
        found.append(f"runs in MLflow: {runs}")
    if store.startswith("sqlite"):
        with closing(sqlite3.connect(folder / "mlruns" / "bench.db")) as connection:
            if (told := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                found.append(told)
            half = (
                "select name from sqlite_master where name like '\\_alembic\\_tmp\\_%' escape '\\'"
            )
            found += [name for (name,) in connection.execute(half)]
    return found


def a_round(store: str, folder: Path, kills: int, longest: float, dice: random.Random) -> list[str]:
    """Kill a comparison several times, end it, and return what is wrong."""
    process = bench(*compare_words(), store=store, folder=folder)
    for number in range(kills):
        time.sleep(dice.uniform(0.5, longest))
        kill(process)
        if number + 1 < kills:
            left = answer(store, folder, "select id from bench_comparison where status <> 'done'")
            words = ["resume", str(left[-1]["id"])] if left else compare_words()
            process = bench(*words, store=store, folder=folder)
    # A comparison of a killed process that has sent no word for long is taken over at once.
    return [failed] if (failed := finish(store, folder)) else problems(store, folder)


def main() -> None:
    """Run the campaign and print one line for each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--first", type=int, default=20, help="kills of the very first run")
    parser.add_argument("--postgres", help="an empty database for one round of five kills")
    parser.add_argument("--longest", type=float, default=14, help="seconds until a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice, wrong, done = random.Random(options.seed), 0, 0
    rounds = [("sqlite", 1)] * min(options.first, options.kills)
    if options.postgres:
        rounds.append(("postgresql", 5))
    while (left := options.kills - sum(kills for _, kills in rounds)) > 0:
        rounds.append(("sqlite", min(8, left)))
    for kind, kills in rounds:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            store = f"sqlite:///{folder}/mlruns/bench.db" if kind == "sqlite" else options.postgres
            found = a_round(store, folder, kills, options.longest, dice)
        done, wrong = done + kills, wrong + bool(found)
        print(
            f"{done:3} kills, {kind}: {'; '.join(found) or 'nothing lost, nothing doubled'}",
            flush=True,
        )
    print(f"{done} kills in {len(rounds)} stores; {wrong} stores have lost or doubled something.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
