import importlib.metadata
import re
import shutil
import sqlite3
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.harness.store.results import Store
from bench.models.data.faces import faces
from bench.models.problem import DataSource


def states(said):
    """What is said of each thing: name → (state, detail)."""
    found, name = {}, None
    for line in said.out.splitlines():
        if match := re.match(r"(ok|missing|problem) +(data: \w+|numba cache|\S+) +(.*)", line):
            state, name, detail = match.groups()
            found[name] = (state, detail.strip())
        else:
            found[name] = (found[name][0], f"{found[name][1]} {line.strip()}")
    return found


def test_a_healthy_machine(bench, workdir, monkeypatch):
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("BENCH_CACHE_DIR", str(workdir / "cache"))
    said = bench("doctor")
    assert said.code == 0, said.err
    found = states(said)
    assert list(found) == [
        *("python", "torch", "numba", "sqlalchemy", "mlflow", "processor", "memory", "GPU"),
        *("numba-cuda", "numba cache", "store", "disk", "data: curves", "data: mnist"),
        *("data: faces", "torch.distributed"),
    ]
    assert found["torch"][1].startswith(torch.__version__)
    for package in ("numba", "sqlalchemy", "mlflow"):
        assert found[package] == ("ok", importlib.metadata.version(package))
    assert f"{torch.get_num_threads()} threads" in found["processor"][1]
    assert "none yet" in found["store"][1]
    assert "mnist" in found["data: mnist"][1]
    assert found["data: faces"][1].startswith("1 of 1 file absent: run `bench data fetch faces`")
    assert list(workdir.iterdir()) == []
    assert len(said.out.splitlines()) <= 24
    assert max(map(len, said.out.splitlines())) <= 100


def test_a_store_that_is_there(bench, filled):
    said = bench("doctor")
    assert said.code == 0, said.err
    state, detail = states(said)["store"]
    assert state == "ok"
    assert detail.endswith("revision 0007, writable")


@pytest.mark.postgres
def test_a_store_on_a_server(bench, postgres_url):
    state, detail = states(bench("doctor", "--store", postgres_url))["store"]
    assert state == "ok"
    assert "none yet" in detail
    Store.open(postgres_url).close()
    state, detail = states(bench("doctor", "--store", postgres_url))["store"]
    assert state == "ok"
    assert detail.endswith("revision 0007, writable")


def make_tables(file, *names):
    connection = sqlite3.connect(file)
    for name in names:
        connection.execute(f"CREATE TABLE {name} (id INTEGER)")
    connection.close()


def test_a_store_that_is_not_ours(bench, workdir):
    make_tables(workdir / "other.db", "customers")
    said = bench("doctor", "--store", "sqlite:///other.db")
    assert said.code == 4
    assert states(said)["store"][0] == "problem"
    assert said.err.endswith("Fix this first: store.\n")


def test_a_database_with_room_for_a_store(bench, workdir):
    make_tables(workdir / "mlflow.db", "experiments", "runs")
    (workdir / "empty.db").touch()
    for name in ("mlflow.db", "empty.db"):
        said = bench("doctor", "--store", f"sqlite:///{name}")
        assert said.code == 0, said.err
        assert "none yet" in states(said)["store"][1]


def test_a_store_that_cannot_be_written_to(bench, filled, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    said = bench("doctor", "--store", "sqlite:///none.db")
    assert said.code == 4
    assert states(said)["store"][0] == "problem"
    assert "read-only" in states(said)["store"][1]


def test_a_server_that_does_not_answer(bench):
    said = bench("doctor", "--store", "postgresql://me:secret@127.0.0.1:1/db")
    assert said.code == 4
    assert states(said)["store"][0] == "problem"
    assert "secret" not in said.out + said.err


def test_a_store_that_is_written_wrongly(bench):
    said = bench("doctor", "--store", "mysql://h/db")
    assert said.code == 2
    assert "--store mysql://h/db" in said.err


def test_a_disk_that_is_full(bench, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**30, 2**30, 2**20))
    said = bench("doctor")
    assert said.code == 4
    assert states(said)["disk"][0] == "problem"
    assert "1 MiB free" in states(said)["disk"][1]


def test_libraries_that_are_missing(bench, monkeypatch):
    def version(package, real=importlib.metadata.version):
        if package in ("mlflow", "sqlalchemy"):
            raise importlib.metadata.PackageNotFoundError
        return real(package)

    monkeypatch.setattr("bench.harness.cli.doctor_checks.version", version)
    said = bench("doctor")
    assert said.code == 4
    found = states(said)
    assert found["mlflow"][0] == found["sqlalchemy"][0] == "missing"
    assert "bench db sync" in found["mlflow"][1]
    assert said.err.endswith("Fix this first: sqlalchemy.\n")


def test_torch_that_cannot_be_imported(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    said = bench("doctor")
    assert said.code == 4
    assert states(said)["torch"][0] == "problem"
    assert states(said)["mlflow"][0] == "ok"


def test_numba_without_a_folder(bench, monkeypatch):
    def refuse(**options):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.njit", refuse)
    said = bench("doctor")
    assert said.code == 4
    state, detail = states(said)["numba cache"]
    assert state == "problem"
    assert "NUMBA_CACHE_DIR" in detail


def test_why_there_is_no_gpu(bench, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    state, detail = states(bench("doctor"))["GPU"]
    assert state == "missing"
    assert "CPU build" in detail
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(Path, "exists", lambda path: "nvidia" not in str(path))
    assert "no NVIDIA driver is loaded" in states(bench("doctor"))["GPU"][1]


def test_a_gpu(bench, monkeypatch):
    properties = namedtuple("properties", "name total_memory major minor")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda i: properties("H", 80 * 2**30, 9, 0)
    )
    assert states(bench("doctor"))["GPU"] == ("ok", "H, 80 GiB, compute capability 9.0")


def test_data_that_is_damaged(bench, workdir):
    (workdir / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1")
    said = bench("doctor", "--data-dir", ".")
    assert said.code == 0
    state, detail = states(said)["data: mnist"]
    assert state == "problem"
    assert "truncated" in detail


def test_data_that_is_there(bench, data_dir, workdir, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", str(workdir / "cache"))
    found = states(bench("doctor", "--data-dir", data_dir))
    for name, files in (("mnist", "4 files"), ("faces", "1 file")):
        state, detail = found[f"data: {name}"]
        assert state == "ok"
        assert detail.startswith(f"{files} verified in")


def test_pictures_and_what_is_made_of_them(bench, workdir, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", str(workdir / "cache"))
    pictures = np.arange(400 * 64 * 64, dtype=np.uint8).reshape(400, 64, 64)
    np.savez("olivettifaces.npz", faces=pictures)
    state, detail = states(bench("doctor", "--data-dir", "."))["data: faces"]
    # A line may be cut at any place of a long path.
    assert state == "ok"
    assert detail.replace(" ", "") == f"1fileverifiedin{workdir}"
    monkeypatch.setattr("bench.models.data.faces.PATCHES", 1)
    faces(2, 2, DataSource((workdir,), workdir / "cache"))
    state, detail = states(bench("doctor", "--data-dir", "."))["data: faces"]
    assert state == "ok"
    assert detail.replace(" ", "").endswith(f"2filesverifiedin{workdir}and{workdir}/cache/faces")


def test_a_folder_that_does_not_exist(bench):
    said = bench("doctor", "--data-dir", "nowhere")
    assert said.code == 2
    assert "nowhere" in said.err
