"""MLflow finds its files again after the folder was moved, and other addresses stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from bench.harness.core.errors import Usage
from bench.harness.core.records import Measurement
from bench.harness.store.results import Store
from bench.harness.store.transfer.relocate import RelocatedFolder, relocate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own.
]

ELSEWHERE = {
    "s3": "s3://bucket/artifacts/mlflow",
    "server": "mlflow-artifacts:/artifacts/mlflow",
    "own": "file:///data/artifacts/mlflow-of-mine",
}


def client(url: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=url, registry_uri=url)


def fill(store: Store, trial: int, last: Measurement) -> None:
    """End a trial that has a picture, and bring it into MLflow, among experiments of others."""
    from bench.harness.store.mlflow.mirror import sync

    folder = store.files_of_trial(trial)
    folder.mkdir(parents=True)
    (folder / "picture.png").write_bytes(b"a picture")
    store.record([(trial, last)])
    store.end(trial, "budget", None, last.ledger, last)
    sync(store)
    for name, location in ELSEWHERE.items():
        client(store.url).create_experiment(name, artifact_location=location)


def picture(url: str, to: Path) -> bytes:
    """Download what MLflow has as the picture of its only trial."""
    found = client(url)
    experiment = found.get_experiment_by_name("curves-quick").experiment_id
    (run,) = (r for r in found.search_runs([experiment]) if r.data.tags["bench.kind"] == "trial")
    to.mkdir()
    return Path(found.download_artifacts(run.info.run_id, "picture.png", str(to))).read_bytes()


def addresses(url: str) -> list[Any]:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = [
            connection.exec_driver_sql(statement).all()
            for statement in (
                "SELECT name, artifact_location FROM experiments ORDER BY 1",
                "SELECT run_uuid, artifact_uri FROM runs ORDER BY 1",
            )
        ]
    engine.dispose()
    return found


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_moved_folder(
    tmp_path: Path, store_url: str, begin: Callable[..., int], comparison: str, store: Store,
    measured: Callable[..., Measurement],
) -> None:  # fmt: skip
    fill(store, begin(comparison), measured(3))
    store.close()
    old, new = tmp_path / "mlruns", tmp_path / "moved here, ünd away" / "mlruns"
    new.parent.mkdir()
    old.rename(new)
    url = f"sqlite:///{new / 'bench.db'}"
    with pytest.raises(Exception, match="Failed to download artifacts"):
        picture(url, tmp_path / "before")
    with Store.open(url) as moved:
        (move,) = relocate(moved)
        assert move == RelocatedFolder(
            (old / "artifacts/mlflow").as_uri(),
            (new / "artifacts/mlflow").as_uri(),
            # The problem's, and MLflow's own, Default.
            {"experiments": 2, "runs": 1},
        )
        assert picture(url, tmp_path / "after") == b"a picture"
        after = addresses(url)
        assert dict(after[0]).items() >= ELSEWHERE.items()
        assert relocate(moved) == []
        assert addresses(url) == after


def test_from_one_place_to_another(
    tmp_path: Path, store: Store, begin: Callable[..., int], comparison: str,
    measured: Callable[..., Measurement], workdir: Path,
) -> None:  # fmt: skip
    fill(store, begin(comparison), measured(3))
    old, new = store.artifacts.parent, tmp_path / "new"
    before = addresses(store.url)
    with pytest.raises(Usage, match=f"There is no folder {new}, so nothing was changed"):
        relocate(store, str(old), str(new))
    with pytest.raises(Usage, match="MLflow keeps 256: choose a place with a shorter name"):
        long = tmp_path.joinpath(*["d" * 60] * 4)
        long.mkdir(parents=True)
        relocate(store, str(old), str(long))
    with pytest.raises(Usage, match="--from and --to belong together"):
        relocate(store, str(old))
    assert addresses(store.url) == before
    assert relocate(store, f"{old}x", str(tmp_path)) == []
    if store.url.startswith("postgresql"):
        with pytest.raises(Usage, match="does not say where its files are: name the old folder"):
            relocate(store)
    (old / "artifacts").rename(new)
    (move,) = relocate(store, f"{old}/artifacts/", str(new))
    # MLflow's own experiment, Default, may lie there too.
    there = [where for _, where in before[0] if where.startswith((old / "artifacts").as_uri())]
    assert move.counts == {"experiments": len(there), "runs": 1} and there
    assert picture(store.url, tmp_path / "after") == b"a picture"
    after = addresses(store.url)
    assert relocate(store, f"{old}/artifacts", str(new)) == []
    assert relocate(store, "s3://bucket", "s3://other")[0].counts == {"experiments": 1}
    assert dict(addresses(store.url)[0])["s3"] == "s3://other/artifacts/mlflow"
    assert addresses(store.url)[1] == after[1]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_models_move_along(store: Store, tmp_path: Path) -> None:
    from bench.harness.store.mlflow.mirror import initialise

    initialise(store.url)
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    engine = sqlalchemy.create_engine(store.url)
    with engine.begin() as connection:
        execute = connection.exec_driver_sql
        execute("INSERT INTO registered_models (name) VALUES ('m')")
        execute(
            "INSERT INTO model_versions (name, version, source, storage_location, workspace) "
            f"VALUES ('m', 1, '{old.as_uri()}/a', '{old}/b', 'default')"
        )
    (first, second) = sorted(relocate(store, str(old), str(new)), key=lambda move: move.old)
    assert [first.counts, second.counts] == [{"model_versions": 1}] * 2
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT source, storage_location FROM model_versions")
        assert found.all() == [(f"{new.as_uri()}/a", f"{new}/b")]
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_store_without_mlflow_has_nothing_to_move(store: Store) -> None:
    assert relocate(store) == []
