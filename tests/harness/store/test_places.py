"""A store is where its path says, whatever characters the names of folders have."""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.harness.cli.db import command as db
from bench.harness.cli.list import command as listed
from bench.harness.cli.options import store_url
from bench.harness.core.errors import Usage
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Protocol
from bench.harness.core.store_url import parse_store_url, sqlite_url
from bench.harness.store.mlflow.mirror import sync
from bench.harness.store.results import Store

PRINTABLE = [c for c in string.printable if c not in "/" and c.isprintable()] + [
    "é",
    "漢",
    "\u200b",
]


@pytest.mark.parametrize("character", PRINTABLE)
def test_a_url_names_the_path_it_was_made_from(tmp_path: Path, character: str) -> None:
    for name in (character, f"a{character}41b", f"{character}{character}", f"a {character} b"):
        path = tmp_path / f"x{name}" / "bench.db"
        assert parse_store_url(sqlite_url(path)).database == str(path)


@pytest.mark.parametrize("character", [*" %?#&+;@:'\"\\[]~$=,!*(){}|^`<>", "é", "漢"])
def test_a_store_beside_whose_name_looks_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: Protocol, character: str
) -> None:
    names = [f"run{character}41", f"run%{ord(character):02X}41", "run41", "run"]
    ids = {}
    for name in names:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with Store.open(store_url(None)) as store:
            ids[name] = store.new_comparison(protocol, "run", "bench run")
            assert store.count("comparisons") == 1
            assert Store.open(store.url).id == Store.open(store.redacted_url).id == store.id
    for name in names:
        monkeypatch.chdir(tmp_path / name)
        told = CliRunner().invoke(listed, ["comparisons"]).output
        assert ids[name] in told
        told = CliRunner().invoke(db, ["sql", "select id from bench_comparison"]).output
        assert ids[name] in told
    assert sorted(os.listdir(tmp_path)) == sorted(names)


@pytest.mark.parametrize("name", ["run%201", "a?b #&+;@:'\"=1", "100% é漢[x]"])
def test_mlflow_uses_the_same_folders(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: Protocol,
    measured: Callable[..., Measurement],
    name: str,
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with Store.open(store_url(None)) as store:
        comparison = store.new_comparison(protocol, "run", "bench run")
        folder = store.files_of_comparison(comparison)
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("report")
        store.finish_comparison(comparison, "done", {"methods": []})
        assert sync(store).runs == 1
        run = store.comparison(comparison).mlflow_run_id
        there = tmp_path / name / "mlruns" / "artifacts" / "mlflow" / str(run) / "artifacts"
        assert (there / "report.html").read_text() == "report"
        # Found again: nothing is copied a second time.
        assert sync(store).runs == 0
    assert CliRunner().invoke(db, ["relocate"]).output.startswith("Nothing to change")
    assert os.listdir(tmp_path) == [name]
    assert os.listdir(tmp_path / name) == ["mlruns"]
    beside = {"bench.db", "bench.db-wal", "bench.db-shm", "artifacts"}
    assert set(os.listdir(tmp_path / name / "mlruns")) <= beside


def test_a_url_that_means_another_folder_than_it_seems_to(workdir: Path) -> None:
    (workdir / "run%201").mkdir()
    with pytest.raises(Usage, match="this is the file .*/run 1/bench.db. .* write sqlite:.*%25201"):
        store_url("sqlite:///run%201/bench.db")
    assert store_url("sqlite:///run%25201/bench.db")
    # Both folders are there: the URL says which.
    (workdir / "run 1").mkdir()
    assert store_url("sqlite:///run%201/bench.db")
    with pytest.raises(Usage, match="Write %3F for a ?"):
        store_url("sqlite:///which?/bench.db")


def test_a_path_that_no_text_can_name(workdir: Path) -> None:
    with pytest.raises(Usage, match="is not UTF-8"):
        sqlite_url(workdir / os.fsdecode(b"\xff") / "bench.db")
