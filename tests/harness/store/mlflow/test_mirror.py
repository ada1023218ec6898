"""Whatever happens in between, MLflow has every run once and every point once."""

from __future__ import annotations

import base64
import json
import math
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.harness.cli.db import command
from bench.harness.core.defaults import tuned_values
from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import Certificate, Ledger, Measurement
from bench.harness.core.spec import Budget, MethodSpec, TrialSpec
from bench.harness.store.mlflow import colors, entries, mirror
from bench.harness.store.mlflow.live import start_mirror
from bench.harness.store.mlflow.mirror import (
    MlflowMissing,
    MlflowUnavailable,
    SyncResult,
    first_view,
    initialise,
    sync,
)
from bench.harness.store.results import Store
from tests.harness.store.mirrored import (
    CONTEXT,
    HF,
    NAG,
    PROTOCOL,
    begin,
    measured,
    train,
    wait_until,
)


@pytest.fixture
def store(recorded: Store) -> Store:
    return recorded


def rows(store: Store, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store.url.removeprefix("sqlite:///"))) as connection, connection:
        return connection.execute(query, values).fetchall()


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """What MLflow holds, in an order that does not depend on how it came there."""
    queries = {
        "runs": "SELECT run_uuid, name, status, start_time, end_time, lifecycle_stage FROM runs",
        "metrics": "SELECT run_uuid, key, step, value, timestamp FROM metrics",
        "latest": "SELECT run_uuid, key, step, value FROM latest_metrics",
        "params": "SELECT run_uuid, key, value FROM params",
        "tags": "SELECT run_uuid, key, value FROM tags WHERE key NOT LIKE 'mlflow.%'",
        "inputs": "SELECT source_id, destination_id FROM inputs",
    }
    return {name: sorted(rows(store, query)) for name, query in queries.items()}


def test_every_trial_and_comparison_is_a_run(store: Store) -> None:
    assert sync(store).runs == 5
    found = rows(store, "SELECT name, status FROM runs ORDER BY name")
    comparison = store.comparisons()[0]
    assert found == [
        (f"compare nag,hf {comparison.id}", "FINISHED"),
        ("hf s0", "FINISHED"),
        ("hf s1", "FINISHED"),
        ("nag lr=.01 s0, mu_max=.99", "FINISHED"),
        ("nag lr=.01 s1, mu_max=.99", "FINISHED"),
    ]
    assert rows(store, "SELECT name FROM experiments WHERE name != 'Default'") == [
        ("curves-quick",)
    ]
    trial = store.trials()[0]
    assert trial.mlflow_run_id and comparison.mlflow_run_id
    params = dict(
        rows(store, "SELECT key, value FROM params WHERE run_uuid = ?", trial.mlflow_run_id)
    )
    assert params["lr"] == "0.01" and params["protocol.budget"] == "1000 gradients"
    tags = dict(rows(store, "SELECT key, value FROM tags WHERE run_uuid = ?", trial.mlflow_run_id))
    assert tags["bench.trial"] == f"{trial.key}:1"
    assert tags["bench.comparison"] == comparison.id
    assert tags["bench.context.versions"] == '{"torch": "2.13.0"}'
    assert tags["mlflow.runColor"].startswith("#") and tags["mlflow.user"] == "somebody"
    assert rows(store, "SELECT name, digest FROM datasets") == [("curves (generated)", "d" * 36)]
    key = "SELECT value FROM tags WHERE run_uuid = ? AND key = 'bench.verdict'"
    assert rows(store, key, comparison.mlflow_run_id) == [("nag against hf: a better",)]
    figures = "SELECT key, value FROM metrics WHERE run_uuid = ? ORDER BY key"
    assert dict(rows(store, figures, comparison.mlflow_run_id)) == {
        "difference.nag.hf": -0.2,
        "final_low.nag": 0.2,
        "final_mean.nag": 0.25,
        "p.nag.hf": 0.03,
    }


def test_what_a_trial_was_made_from_is_in_its_tags(store: Store) -> None:
    made = Certificate("7" * 64, "8" * 64, "9" * 64, {"theta": 1}, "bench run --seed 7")
    run = store.new_comparison(PROTOCOL, "run", "bench run")
    train(store, begin(store, run, NAG, 7, certificate=made), 2)
    sync(store)
    found = {
        trial.seed: dict(
            rows(
                store,
                "SELECT key, value FROM tags WHERE run_uuid = ? AND key IN ('bench.theta', "
                "'bench.method_source', 'bench.problem_source', 'bench.command')",
                trial.mlflow_run_id,
            )
        )
        for trial in store.trials()
    }
    assert found[7] == {
        "bench.theta": "7" * 64,
        "bench.method_source": "8" * 64,
        "bench.problem_source": "9" * 64,
        "bench.command": "bench run --seed 7",
    }
    # An earlier version of bench recorded none.
    assert found[0] == {}


def test_a_group_of_runs_has_their_colour(store: Store) -> None:
    sync(store)
    query = "SELECT value FROM tags WHERE key = ?"
    # The names by which the page groups runs, and the colours that are on it.
    groups = {value.strip(): value for (value,) in rows(store, query, "bench.optimizer")}
    assert groups.keys() == {"nag", "hf"}
    shown = {colors.color(label) for label in groups}
    assert {value for (value,) in rows(store, query, "mlflow.runColor")} == shown
    assert {colors._of_group(f"tag.bench.optimizer.{name}") for name in groups.values()} == shown
    # As the page colours groups without blanks, which was seen there.
    seen = {"sgd": "#445461", "nag": "#04867d", "hf": "#115026"}
    for label, color in seen.items():
        assert colors._of_group(f"tag.bench.method.{label}") == color
    for label in ("nag[lr=0.01,mu_max=0.9]", "torch.optim.AdamW", "🚀" * 200):
        name = f"tag.bench.optimizer.{colors.group(label)}"
        assert colors._of_group(name) == colors.color(label)


def test_points_lie_at_updates_and_training_time(store: Store) -> None:
    sync(store)
    trial = store.trials()[0]
    assert trial.started
    start = entries.milliseconds(trial.started)
    query = "SELECT step, value, timestamp FROM metrics WHERE run_uuid = ? AND key = ?"
    assert sorted(rows(store, query, trial.mlflow_run_id, "train_squared_error")) == [
        (10 * i, 1 / (1 + i), start + 500 * i) for i in range(4)
    ]
    assert rows(store, "SELECT start_time FROM runs WHERE run_uuid = ?", trial.mlflow_run_id) == [
        (start,)
    ]


def test_a_second_pass_changes_nothing(store: Store) -> None:
    sync(store)
    before = everything(store)
    assert sync(store) == SyncResult(0, 0)
    assert everything(store) == before


def test_a_pass_that_was_cut_off_is_made_good_without_doubles(store: Store) -> None:
    sync(store)
    before = everything(store)
    with store._write() as connection:
        connection.exec_driver_sql(
            "UPDATE bench_trial SET mlflow_run_id = NULL, mlflow_synced = -1, mlflow_ended = 0"
        )
    assert sync(store).runs == 4
    assert everything(store) == before


def test_only_new_measurements_are_written_while_a_trial_runs(store: Store) -> None:
    sync(store)
    comparison = store.new_comparison(PROTOCOL, "run", "bench run")
    trial = begin(store, comparison, NAG, 7)
    train(store, trial, 2, end=False)
    per_measurement = len(entries.values(measured(0), "squared_error"))
    assert sync(store) == SyncResult(1, 2 * per_measurement)
    run = store.trial(trial).mlflow_run_id
    assert rows(store, "SELECT status FROM runs WHERE run_uuid = ?", run) == [("RUNNING",)]
    train(store, trial, 4, start=2)
    # The last one is written again at the end, which leaves the same point.
    assert sync(store) == SyncResult(1, 2 * per_measurement)
    assert store.trial(trial).mlflow_run_id == run
    assert rows(store, "SELECT status FROM runs WHERE run_uuid = ?", run) == [("FINISHED",)]
    count = "SELECT count(*) FROM metrics WHERE run_uuid = ? AND key = 'train_loss'"
    assert rows(store, count, run) == [(4,)]


def test_an_interrupted_trial_that_goes_on_is_the_same_run(store: Store) -> None:
    trial = begin(store, store.new_comparison(PROTOCOL, "run", "bench run"), NAG, 7)
    train(store, trial, 2, end=False)
    assert [dead.id for dead in store.end_dead(older_than_s=-1)] == [trial]
    sync(store)
    state = "SELECT name, status FROM runs WHERE name LIKE '% s7%'"
    assert rows(store, state) == [("nag lr=.01 s7, mu_max=.99", "KILLED")]
    train(store, trial, 4, start=2)
    sync(store)
    assert rows(store, state) == [("nag lr=.01 s7, mu_max=.99", "FINISHED")]


def test_a_value_that_is_not_finite_is_a_tag_and_no_point(store: Store) -> None:
    trial = begin(store, store.new_comparison(PROTOCOL, "run", "bench run"), NAG, 7)
    store.record([(trial, measured(0)), (trial, measured(1, math.nan))])
    store.end(
        trial, "diverged", "loss is nan at update 10", Ledger(updates=10), measured(1, math.nan)
    )
    sync(store)
    run = store.trial(trial).mlflow_run_id
    steps = "SELECT step, is_nan FROM metrics WHERE run_uuid = ? AND key = 'train_loss'"
    assert rows(store, steps, run) == [(0, 0)]
    tags = dict(rows(store, "SELECT key, value FROM tags WHERE run_uuid = ?", run))
    assert tags["bench.nonfinite.train_loss"] == "nan at update 10"
    assert (tags["bench.status"], tags["bench.reason"]) == (
        "diverged",
        "loss is nan at update 10",
    )
    assert rows(store, "SELECT status FROM runs WHERE run_uuid = ?", run) == [("FAILED",)]


def test_what_was_deleted_in_mlflow_comes_back(store: Store) -> None:
    sync(store)
    before = everything(store)
    with store._write() as connection:
        connection.exec_driver_sql("UPDATE runs SET lifecycle_stage = 'deleted'")
        connection.exec_driver_sql("UPDATE experiments SET lifecycle_stage = 'deleted'")
    assert sync(store) == SyncResult(0, 0)
    assert everything(store) == before


def test_a_run_that_is_gone_for_good_is_written_anew(store: Store) -> None:
    sync(store)
    lost = store.trials()[0].mlflow_run_id
    points = rows(store, "SELECT count(*) FROM metrics")
    with store._write() as connection:
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE run_uuid = '{lost}'")
    assert sync(store).runs == 1
    assert store.trials()[0].mlflow_run_id != lost
    assert rows(store, "SELECT count(*) FROM metrics") == points


def test_the_run_of_a_second_process_for_the_same_trial_is_deleted(store: Store) -> None:
    import mlflow

    sync(store)
    before = everything(store)
    trial = store.trials()[0]
    client = mlflow.MlflowClient(tracking_uri=store.url)
    experiment = client.get_experiment_by_name("curves-quick").experiment_id
    other = client.create_run(experiment, tags={"bench.trial": entries.identity(trial)})
    sync(store)
    stage = "SELECT lifecycle_stage FROM runs WHERE run_uuid = ?"
    assert rows(store, stage, other.info.run_id) == [("deleted",)]
    assert store.trials()[0].mlflow_run_id == trial.mlflow_run_id
    assert len(everything(store)["metrics"]) == len(before["metrics"])


def test_names_of_any_kind_and_any_length_are_written(store: Store) -> None:
    strange = '\'; DROP TABLE runs; --\n"ünïcödé" 🚀 \0'
    method = MethodSpec("./mine.py:Mine", "torch", {"lr": 0.1, "text": "x" * 9000, "naïve": 1})
    trial = begin(
        store,
        store.new_comparison(PROTOCOL, "run", "bench run"),
        method,
        7,
        label=f"Mine[text={'x' * 300}]",
        info={"note": strange, "long": "y" * 9000},
    )
    store.record([(trial, replace(measured(0), diagnostics={"ρ (%)": 1.0}))])
    store.end(trial, "failed", strange, Ledger(), None)
    sync(store)
    run = store.trial(trial).mlflow_run_id
    tags = dict(rows(store, "SELECT key, value FROM tags WHERE run_uuid = ?", run))
    assert tags["bench.reason"].startswith('\'; DROP TABLE runs; --\n"ünïcödé" 🚀 ')
    assert len(tags["bench.info.long"]) == entries.TAG_LENGTH
    assert tags["bench.info.long"].endswith("(cut: 9000 characters)")
    params = dict(rows(store, "SELECT key, value FROM params WHERE run_uuid = ?", run))
    assert len(params["text"]) == entries.PARAMETER_LENGTH
    assert params["text"].endswith("(cut: 9000 characters)")
    assert params["na_ve"] == "1"
    assert rows(store, "SELECT value FROM metrics WHERE run_uuid = ? AND key = '_ ___'", run)


def test_pictures_are_files_of_the_run_and_later_ones_follow(store: Store) -> None:
    comparison, trial = store.comparisons()[0], store.trials()[0]
    pictures = store.artifacts / "bench" / comparison.id
    (pictures / "curves").mkdir(parents=True)
    (pictures / "curves" / "updates.png").write_bytes(b"png")
    rows_ = store.files_of_trial(trial.id)
    rows_.mkdir()
    (rows_ / "reconstructions.png").write_bytes(b"png")
    sync(store)
    (pictures / "report.html").write_text("<html></html>")
    (pictures / "curves" / "updates.png").write_bytes(b"longer")
    sync(store)
    kept = store.artifacts / "mlflow" / str(store.comparisons()[0].mlflow_run_id) / "artifacts"
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()} == {
        "comparison.json",
        "curves/updates.png",
        "report.html",
    }
    assert (kept / "curves" / "updates.png").read_bytes() == b"longer"
    assert json.loads((kept / "comparison.json").read_text())["pairs"][0]["p"] == 0.03
    own = store.artifacts / "mlflow" / str(store.trials()[0].mlflow_run_id) / "artifacts"
    assert (own / "reconstructions.png").read_bytes() == b"png"


def test_a_reused_trial_names_both_comparisons(store: Store) -> None:
    sync(store)
    first, trial = store.comparisons()[0].id, store.trials()[0]
    second = store.new_comparison(PROTOCOL, "comparison", "bench compare")
    store.adopt(second, trial.id)
    store.finish_comparison(second, "done", None)
    sync(store)
    sync(store)
    query = "SELECT value FROM tags WHERE run_uuid = ? AND key = 'bench.comparison'"
    assert rows(store, query, trial.mlflow_run_id) == [(f"{first}, {second}",)]


def test_the_first_page_is_the_newest_comparisons_prepared_view(store: Store) -> None:
    sync(store)
    number = rows(store, "SELECT experiment_id FROM experiments WHERE name = 'curves-quick'")[0][0]
    assert first_view(store).startswith(f"/#/experiments/{number}/runs?viewStateShareKey=bench")


def test_a_server_that_is_away_is_a_sentence(store: Store) -> None:
    with pytest.raises(MlflowUnavailable, match="cannot be reached.*brings in the rest") as told:
        sync(store, tracking_uri="http://me:secret@127.0.0.1:9")
    assert "secret" not in str(told.value)
    assert sync(store).runs == 5


def test_without_mlflow_there_is_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MlflowMissing, match="pip install"):
        sync(store)


def test_the_process_beside_a_run_writes_everything_and_ends(store: Store) -> None:
    mirror = start_mirror(store.url)
    written = mirror.stop()
    assert isinstance(written, SyncResult)
    assert sync(store) == SyncResult(0, 0)
    assert len(rows(store, "SELECT run_uuid FROM runs")) == 5
    assert mirror._process.returncode == 0


@pytest.mark.slow
def test_a_process_that_was_killed_is_replaced_for_the_last_pass(store: Store) -> None:
    mirror = start_mirror(store.url)
    mirror._process.kill()
    assert mirror.stop() == SyncResult(5, written_points(store))


def written_points(store: Store) -> int:
    return 16 * len(entries.values(measured(0), "squared_error"))


@pytest.mark.slow
def test_the_process_ends_with_its_parent(store: Store) -> None:
    code = (
        "import os, sys; from bench.harness.store.mlflow.live import start_mirror;"
        f"print(start_mirror({store.url!r})._process.pid, flush=True); os._exit(0)"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    wait_until(lambda: not is_alive(int(done.stdout)))


@pytest.mark.slow
def test_the_process_says_why_it_could_not(store: Store) -> None:
    mirror = start_mirror(store.url, tracking_uri="http://127.0.0.1:9")
    answer = mirror.stop()
    assert isinstance(answer, str) and "bench db sync" in answer


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_mlflows_tables_may_come_first(tmp_path: Path, template: Path) -> None:
    file = tmp_path / "bench.db"
    with closing(sqlite3.connect(template)) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)
        ours = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'bench%'"
        for (name,) in target.execute(ours).fetchall():
            target.execute(f"DROP TABLE {name}")
        target.commit()
    with Store.open(f"sqlite:///{file}") as store:
        initialise(store.url)
        assert store.trials() == []
        assert sync(store) == SyncResult(0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("mlflow_first", [True, False])
def test_postgresql_takes_both_in_either_order(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_first: bool
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    if mlflow_first:
        initialise(postgres_url)
    with Store.open(postgres_url) as store:
        trial = begin(
            store,
            store.new_comparison(PROTOCOL, "run", "bench run"),
            MethodSpec("nag", "torch", {"lr": 0.01, "text": "🚀" * 9000}),
            7,
            label="🚀" * 500,
            info={"long": "🚀" * 9000},
        )
        train(store, trial, 4)
        assert sync(store).runs == 1
        assert sync(store) == SyncResult(0, 0)
        run = store.trial(trial).mlflow_run_id
        assert run
        history = mlflow.MlflowClient(store.url).get_metric_history(run, "train_loss")
        assert sorted(point.step for point in history) == [0, 10, 20, 30]
        client = mlflow.MlflowClient(store.url)
        client.delete_run(run)
        assert sync(store) == SyncResult(0, 0)
        assert client.get_run(run).info.lifecycle_stage == "active"


@pytest.mark.slow
def test_postgresql_keeps_as_few_points(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    with Store.open(postgres_url) as store:
        protocol = replace(PROTOCOL, evaluations=1000)
        spec = TrialSpec(protocol, NAG, 7)
        run = store.new_comparison(protocol, "run", "bench run")
        trial = store.begin(
            run,
            spec,
            label="nag",
            purpose="reported",
            source_digest="5" * 64,
            context=CONTEXT,
            info={},
            fleet_rows=1,
            seconds_are="alone",
            owner="test",
        )
        train(store, trial, 1001)
        sync(store)
        found = store.trial(trial).mlflow_run_id
        assert found
        history = mlflow.MlflowClient(store.url).get_metric_history(found, "train_loss")
        steps = sorted(point.step for point in history)
        assert 290 <= len(steps) == len(set(steps)) <= entries.POINTS
        assert (steps[0], steps[-1]) == (0, 10_000)


@pytest.mark.slow
def test_a_folder_too_long_for_mlflow_is_a_sentence(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PostgreSQL has no folder of its own: artifacts are below the working directory.
    deep = tmp_path / ("x" * 150)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with Store.open(postgres_url) as store:
        train(store, begin(store, store.new_comparison(PROTOCOL, "run", "x"), NAG, 7), 2)
        with pytest.raises(Infrastructure, match="longer than 157 characters"):
            sync(store)


def test_initialise_again_does_nothing(store: Store) -> None:
    before = rows(store, "SELECT sql FROM sqlite_master ORDER BY name")
    initialise(store.url)
    assert rows(store, "SELECT sql FROM sqlite_master ORDER BY name") == before


def test_the_command_says_what_it_wrote(store: Store) -> None:
    run = CliRunner().invoke
    told = run(command, ["sync", "--store", store.url]).output
    assert (
        told == f"MLflow is up to date: 5 runs and {written_points(store)} points were written.\n"
    )
    assert "0 runs and 0 points" in run(command, ["sync", "--store", store.url]).output
    assert "are up to date" in run(command, ["upgrade", "--store", store.url]).output


# Names and points


def test_text_is_what_every_database_takes_and_a_cut_is_owned_up_to() -> None:
    assert entries.text("a\0b\ud800", 10) == "a\ufffdb\ufffd"
    assert entries.text("x" * 50, 40) == "x" * 17 + " … (cut: 50 characters)"
    assert entries.text("x" * 40, 40) == "x" * 40


def record(store: Store, **changed: Any) -> Any:
    return replace(store.trials()[0], **changed)


def test_the_first_characters_of_a_name_tell_trials_apart(store: Store) -> None:
    labels = {
        "nag": {"lr": 0.01},
        "cm": {"lr": 0.001},
        "sgd@numba-cpu": {"lr": 0.05},
        "sgd@torch": {"lr": 0.05},
        "nag[lr=0.01,mu_max=0.99]": {"lr": 0.01, "mu_max": 0.99},
        "nag[lr=0.01,mu_max=0.995]": {"lr": 0.01, "mu_max": 0.995},
        "hf": {"batch": 1000},
        "torch.optim.AdamW[lr=0.001]": {"lr": 0.001},
        "torch.optim.AdamW[lr=0.0001]": {"lr": 0.0001},
        "torch.optim.Adam[betas=(0.9,0.95)]": {"lr": 0.1, "betas": (0.9, 0.95)},
        "torch.optim.Adam[betas=(0.9,0.99)]": {"lr": 0.1, "betas": (0.9, 0.99)},
        "./mine.py:MyVeryLongOptimizerName": {},
        "mypkg.opt:MyVeryLongOptimizerName": {"lr": 1e-5},
    }
    names = [
        entries.run_name(
            record(
                store,
                method=label,
                method_key=MethodSpec(label, "torch", hyperparameters).key,
                hyperparameters=hyperparameters,
                seed=seed,
                attempt=attempt,
            )
        )
        for label, hyperparameters in labels.items()
        for seed in (0, 1, 10, 123)
        for attempt in (1, 2)
    ]
    assert len({name[: entries.NAME_WIDTH] for name in names}) == len(names)
    assert names[0] == "nag lr=.01 s0"
    assert all(len(name) <= 250 for name in names)


def test_a_name_has_the_values_that_are_not_the_defaults(store: Store) -> None:
    usual = tuned_values("curves", "quick", "hf")
    for changed, name in (
        ({}, "hf s3"),
        ({"lam": 3.0}, "hf s3, lam=3"),
        ({"lam": 0.5, "chunks": 5}, "hf s3, lam=.5 chunks=5"),
    ):
        trial = record(
            store,
            method="hf",
            method_name="hf",
            seed=3,
            attempt=1,
            hyperparameters={**usual, **changed},
        )
        assert entries.run_name(trial, PROTOCOL) == name


def test_a_name_that_is_taken_has_what_differs(store: Store) -> None:
    sync(store)
    longer = replace(PROTOCOL, budget=Budget("gradients", 1234.0))
    comparison = store.new_comparison(longer, "comparison", "bench compare")
    train(store, begin(store, comparison, NAG, 0, protocol=longer), 2)
    # Of these values no list of defaults knows.
    for batch in (500, 250):
        method = replace(HF, hyperparameters={"batch": batch})
        train(store, begin(store, store.comparisons()[1].id, method, 0), 2)
    sync(store)
    names = {name for (name,) in rows(store, "SELECT name FROM runs")}
    for name in ("nag lr=.01 s0, mu_max=.99, budget=1234 gradients", "hf s0, batch=500"):
        assert name in names
    assert "hf s0, batch=250" in names and len(names) == 8


def test_a_name_that_nothing_tells_apart_has_digits_of_the_key() -> None:
    taken = {"hf s0": {"lam": "3"}, "hf s0, lam=4": {"lam": "4"}}
    for given in ("3", "4"):
        name = entries.distinct_name("hf s0", "c0ffee" * 9, {"lam": given}, taken)
        assert name not in taken and name.endswith(", c0ffeec0ffee")


@pytest.mark.parametrize(
    ("metric", "scale", "axis"),
    [
        ("train_squared_error", "log", "log"),
        ("train_squared_error", "plain", "linear"),
        ("train_zero_one_loss", "log", "linear"),
        ("train_squared_error", None, "log"),
        ("train_accuracy", None, "linear"),
    ],
)
def test_charts_have_titles_and_axes_that_fit_the_metric(
    store: Store, metric: str, scale: str | None, axis: str
) -> None:
    protocol = replace(PROTOCOL, metric=metric, preset="standard")
    comparison = store.new_comparison(protocol, "comparison", "bench compare")
    if scale is not None:
        store.finish_comparison(comparison, "done", {"methods": [], "scale": scale})
    (view,) = mirror._views(store.comparisons()[:1]).values()
    packed = json.loads(view)["state"].removeprefix("deflate;")
    charts = json.loads(zlib.decompress(base64.b64decode(packed)))["compareRunCharts"]
    assert {chart["scaleType"] for chart in charts} == {axis}
    words = metric.removeprefix("train_").replace("_", " ")
    assert [chart["displayName"] for chart in charts] == [
        f"{words} on training data, by updates",
        f"{words} on training data, by seconds",
        f"{words} on test data, by updates",
        f"{words} on training data, by gradient-equivalents",
    ]


@pytest.mark.parametrize("evaluations", [1, 60, 298, 299, 500, 5000])
def test_a_growing_trial_shows_at_most_300_points_and_always_the_same(evaluations: int) -> None:
    whole = [measured(index) for index in range(evaluations + 2)]
    at_once = entries.selected(whole, evaluations, after=-1, ended=True)
    grown: list[Measurement] = []
    for upto in range(0, len(whole), max(len(whole) // 7, 1)):
        after = whole[upto - 1].index if upto else -1
        step = whole[: upto + max(len(whole) // 7, 1)]
        grown += entries.selected(step, evaluations, after, ended=len(step) == len(whole))
    assert {m.index for m in grown} == {m.index for m in at_once}
    assert len(at_once) <= entries.POINTS
    assert (at_once[0], at_once[-1]) == (whole[0], whole[-1])
    if evaluations > entries.POINTS:
        gaps = [b.index - a.index for a, b in zip(at_once, at_once[1:-2], strict=False)]
        assert max(gaps) - min(gaps) <= 1


def test_experiments_have_no_slash_in_their_names() -> None:
    protocol = replace(PROTOCOL, problem="./here/mine.py:Mine", parameters={"T": 80, "a": "x/y"})
    assert entries.experiment_name(protocol) == "mine.py:Mine[T=80,a=x-y]-quick"
