"""What is exported and imported is the same again, in whatever store; and what both have is joined.

A store is compared with another by its export, which has all of it but local numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from bench.harness.core.errors import BenchError, Infrastructure, Usage
from bench.harness.core.records import Ledger
from bench.harness.core.spec import Protocol
from bench.harness.store import tables as t
from bench.harness.store.results import Store
from bench.harness.store.transfer.columns import JSON_COLUMNS, LOCAL_COLUMNS, TRANSFER_TABLES, Field
from bench.harness.store.transfer.export import INTERRUPTED, export
from bench.harness.store.transfer.importer import ImportResult, import_folder
from bench.harness.store.transfer.tables import Format, read_rows, table_file
from tests.harness.store.transfer.stores import (
    STRANGE,
    USUAL,
    fill,
    measurement,
    spec_of,
    summary_of,
    tables_of,
    verdict,
)

FORMATS: tuple[Format, ...] = ("jsonl", "parquet")


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    """Opens a SQLite store by name."""
    stores: list[Store] = []

    def open_store(name: str) -> Store:
        stores.append(Store.open(f"sqlite:///{tmp_path / name / 'bench.db'}"))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def moved(tmp_path: Path) -> Callable[..., ImportResult]:
    """Exports one store, or some comparisons of it, and imports that into another."""
    count = 0

    def move(source: Store, target: Store, *ids: str) -> ImportResult:
        nonlocal count
        count += 1
        export(source, tmp_path / f"move-{count}", ids, "jsonl")
        return import_folder(tmp_path / f"move-{count}", lambda: Store.open(target.url))

    return move


def content(store: Store, folder: Path) -> dict[str, Any]:
    """Return all rows of a store."""
    export(store, folder, (), "jsonl")
    return tables_of(folder, "jsonl")


@pytest.mark.parametrize("format", FORMATS)
def test_export_and_import_are_inverse(
    workdir: Path, store: Store, opened: Callable[[str], Store], protocol: Protocol, format: Format
) -> None:
    first, third = opened("first"), opened("third")
    fill(first, protocol)
    for number, (source, target) in enumerate(((first, store), (store, third))):
        done = export(source, workdir / f"{number}", (), format)
        assert all(done.rows.values()) and done.files == 2 and done.running == 0
        made = import_folder(workdir / f"{number}", lambda url=target.url: Store.open(url))
        assert made.added == done.rows and made.files == 2
        again = import_folder(workdir / f"{number}", lambda url=target.url: Store.open(url))
        assert again.is_empty and again.renumbered == again.running == 0
    export(third, workdir / "2", (), format)
    before, one, two = (tables_of(workdir / str(n), format) for n in range(3))
    # That work is open to any worker is the one thing that does not travel.
    assert {n for n in TRANSFER_TABLES if before[n] != one[n]} == {"plan"}
    assert one == two
    picture = third.files_of_trial(1) / "deep" / "picture 😀.png"
    assert picture.read_bytes() == bytes(range(256))
    record = third.comparisons()
    assert [repr(c) for c in record] == [repr(c) for c in first.comparisons()]
    ids = [trial.id for trial in first.trials()]
    assert repr(third.measurements(ids)) == repr(first.measurements(ids))
    planned = third.plan(record[0].id)
    assert planned is not None and not planned.shared


def _values(field: Field) -> st.SearchStrategy[Any]:
    limit = 2 ** (field.bits - 1)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "text": st.text(),
        "integer": st.integers(-limit, limit - 1),
        "float": st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.booleans(),
        "time": st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC)),
    }
    values = kinds[field.kind]
    return st.none() | values if field.column.nullable else values


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_file_keeps_every_value(
    tmp_path_factory: pytest.TempPathFactory, format: Format, data: st.DataObject
) -> None:
    part = TRANSFER_TABLES[data.draw(st.sampled_from(["comparison", "measurement"]))]
    row = st.fixed_dictionaries({field.name: _values(field) for field in part.fields})
    rows = data.draw(st.lists(row, max_size=4))
    path = tmp_path_factory.mktemp("file") / "table"
    with table_file(path, part, format) as file:
        file.write(rows[:2])
        file.write(rows[2:])
    found = [each for some in read_rows(path, part, format, older=False) for each in some]
    assert found == rows


def test_every_column_is_moved_or_known_to_be_local() -> None:
    for name, part in TRANSFER_TABLES.items():
        assert set(LOCAL_COLUMNS.get(name, ())) <= set(part.table.c.keys())
        held = {c.name for c in part.table.c if (c.comment or "").startswith("JSON_COLUMNS")}
        assert held <= set(JSON_COLUMNS)
    assert {f"bench_{name}" for name in TRANSFER_TABLES} == set(t.metadata.tables) - {"bench_store"}


def test_a_comparison_takes_along_what_it_refers_to_and_no_more(
    opened: Callable[[str], Store], protocol: Protocol, moved: Callable[..., ImportResult]
) -> None:
    source, target = opened("a"), opened("b")
    done, tuned = fill(source, protocol)
    added = moved(source, target, tuned[:6]).added
    assert [c.id for c in target.comparisons()] == [tuned]
    assert {trial.uuid for trial in target.trials()} == {t.uuid for t in source.trials(tuned)}
    assert added["trial"] == 3 and added["protocol"] == added["context"] == 2
    assert added["measurement"] == 1 and added["claim"] == added["baseline"] == 0
    # The other one finds its trial here.
    assert moved(source, target, done).added["trial"] == 3
    assert moved(source, target, done, tuned).is_empty
    assert len(target.trials(done)) == 4 and target.comparison(done).reused == frozenset()
    with pytest.raises(Usage, match="no comparison 'zz'"):
        moved(source, target, "zz")


def test_what_runs_is_interrupted_where_it_is_imported_and_left_alone_where_it_runs(
    opened: Callable[[str], Store],
    protocol: Protocol,
    moved: Callable[..., ImportResult],
    tmp_path: Path,
) -> None:
    source, target = opened("a"), opened("b")
    plan = {"methods": [0]}
    id = source.new_comparison(
        protocol, "comparison", "bench", plan=plan, shared=True, owner=USUAL["owner"]
    )
    fleet = source.add_fleets(id, [(1.0, {"trials": []})])[0]
    source.lease(USUAL["owner"], id)
    trial = source.begin(id, spec_of(protocol), **USUAL, fleet=(fleet.id, 0))
    source.record([(trial, measurement(0))])
    export(source, tmp_path / "old", (), "jsonl")
    here = moved(source, source)
    assert here.is_empty and here.running == 2
    assert source.trial(trial).status == source.comparison(id).status == "running"
    moved(source, target)
    found = target.trials()[0]
    assert (found.status, found.reason) == ("interrupted", INTERRUPTED) and found.ended
    assert target.comparison(id).status == "interrupted"
    assert [(f.status, f.owner) for f in target.fleets(id)] == [("planned", None)]
    # No worker takes it up unasked, but whoever names it may.
    assert target.lease("me:1") is None
    leased = target.lease("me:1", id)
    assert leased is not None and leased.trials == (found.id,)
    assert target.reopen(found.id, "me:1", {})

    # It is gone on with there, and comes back.
    target.record([(found.id, measurement(1)), (found.id, measurement(2, math.nan))])
    target.end(found.id, "budget", None, Ledger(updates=20), measurement(2, math.nan))
    target.end_fleet(target.fleets(id)[0].id, "me:1", "ended")
    target.finish_comparison(id, "done", summary_of(target, id))
    target.save_verdicts(id, [verdict("a", "b", 0.5)])
    assert moved(target, source).is_empty
    with source._write() as connection:
        for table in (t.trial, t.comparison, t.fleet):
            connection.execute(update(table).values(heartbeat=datetime(2020, 1, 1, tzinfo=UTC)))
    source.mark_synced(trial, "run", 9, True)
    came = moved(target, source)
    assert came.updated == {"comparison": 1, "trial": 1, "fleet": 1}
    assert (came.added["measurement"], came.added["verdict"]) == (2, 1)
    assert content(source, tmp_path / "x")["trial"] == content(target, tmp_path / "y")["trial"]
    assert [u.synced for u in source.unsynced()] == [-1]
    # What is older changes nothing any more.
    assert import_folder(tmp_path / "old", lambda: Store.open(source.url)).is_empty


def test_a_trial_that_was_trained_anew_elsewhere_keeps_nothing_of_the_run_before(
    opened: Callable[[str], Store], protocol: Protocol, moved: Callable[..., ImportResult]
) -> None:
    source, target = opened("a"), opened("b")
    id = source.new_comparison(protocol, "comparison", "bench", owner=USUAL["owner"])
    trial = source.begin(id, spec_of(protocol), **USUAL)
    source.record([(trial, measurement(i, 9.0)) for i in range(6)])
    source.end(trial, "interrupted", None, Ledger(updates=50), measurement(5, 9.0))
    source.finish_comparison(id, "interrupted", None)
    moved(source, target)
    here = target.trials()[0].id
    assert target.reopen(here, "me:1", {})
    target.delete_measurements(here, 0)
    anew = [measurement(i, math.nan if i == 3 else 1.0) for i in range(4)]
    target.record([(here, each) for each in anew])
    target.end(here, "diverged", None, Ledger(updates=30), anew[-1])
    old = source.measurements([trial])[trial]
    # What is behind brings nothing, what is further replaces all.
    assert moved(source, target).is_empty
    assert [m.index for m in target.measurements([here])[here]] == [0, 1, 2, 3]
    moved(target, source)
    assert repr(source.measurements([trial])[trial]) == repr(target.measurements([here])[here])
    assert len(old) == 6


def test_an_attempt_that_is_taken_gets_the_next_number_also_in_the_report(
    opened: Callable[[str], Store], protocol: Protocol, moved: Callable[..., ImportResult]
) -> None:
    source, target = opened("a"), opened("b")
    done, _ = fill(source, protocol)
    fill(target, protocol)
    came = moved(source, target)
    assert came.renumbered == came.added["trial"] == 6
    assert moved(source, target).is_empty
    trials = {trial.uuid: trial for trial in target.trials()}
    assert len({(trial.key, trial.attempt) for trial in trials.values()}) == 12
    first = trials[source.trials(done)[0].uuid]
    summary = target.comparison(done).summary
    assert summary is not None and summary["trials"] == [{"key": first.key, "attempt": 3}]
    assert first.attempt == 3


def test_another_comparison_with_the_same_id_gets_another(
    opened: Callable[[str], Store],
    protocol: Protocol,
    moved: Callable[..., ImportResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids: list[str] = []
    hexes = secrets.token_hex

    def token(size: int) -> str:
        if size != 4:
            return str(hexes(size))
        ids.append(f"{len(ids) % 4 + 1:08x}")
        return ids[-1]

    monkeypatch.setattr("bench.harness.store.changes.secrets.token_hex", token)
    source, target = opened("a"), opened("b")
    fill(source, protocol)
    fill(target, protocol)
    monkeypatch.undo()
    assert [c.id for c in source.comparisons()] == [c.id for c in target.comparisons()]
    came = moved(source, target)
    new = came.renamed["00000001"]
    assert len(came.renamed) == 3 and came.added["comparison"] == 3 and came.added["claim"] == 1
    summary = target.comparison(new).summary
    assert summary is not None and summary["comparison"] == new
    assert {c.body["comparisons"]["run"]["comparison"] for c in target.claims()} == {
        "00000001",
        new,
    }
    assert (target.files_of_comparison(new) / "deep").is_dir()
    assert moved(source, target).is_empty
    # They are known where they come from, too.
    back = moved(target, source)
    assert back.added["comparison"] == 3 and len(source.comparisons()) == 6
    assert moved(target, source).is_empty and moved(source, target).is_empty


def _manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _rewrite(
    folder: Path, name: str, change: Callable[[dict[str, Any]], Any], has: str | None = None
) -> None:
    """Change the first row of a table, or the first that has a column; sign the folder anew."""
    path = folder / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(next(row for row in rows if has is None or row[has] is not None))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    tables[name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    _manifest(folder, tables=tables)


def _rewrite_body(
    folder: Path, name: str, column: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    """Change what a row holds as JSON."""

    def changed(row: dict[str, Any]) -> None:
        body = json.loads(row[column])
        change(body)
        row[column] = json.dumps(body)

    _rewrite(folder, name, changed, has=column)


def _link(folder: Path) -> None:
    (folder / "trial.jsonl").rename(folder / "real")
    (folder / "trial.jsonl").symlink_to("real")


def _lead_out(folder: Path) -> None:
    (folder / "files" / "x").mkdir()
    (folder / "files" / "x" / "y").write_bytes(b"")
    _manifest(folder, files={"files/x/../../y": "0" * 64})


def _truncate(folder: Path) -> None:
    path = folder / "measurement.jsonl"
    path.write_bytes(path.read_bytes()[:-3])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "has no manifest.json of bench's"),
    "no JSON": (lambda f: (f / "manifest.json").write_text("{"), "is no JSON"),
    "emptied": (lambda f: _manifest(f, tables={}), "does not name the tables of an export"),
    "of another kind": (
        lambda f: _manifest(f, format="pickle"),
        "format = .pickle.: 'parquet' or 'jsonl'",
    ),
    "newer layout": (lambda f: _manifest(f, bench_export=2, needs="9.1"), "bench 9.1 or later"),
    "newer tables": (lambda f: _manifest(f, revision="0999", needs="9.1"), "bench 9.1 or later"),
    "a table less": (lambda f: (f / "fleet.jsonl").unlink(), "'fleet.jsonl' cannot be read"),
    "cut off": (_truncate, "'measurement.jsonl' is not the file that was exported"),
    "a link": (_link, "is or goes through a link"),
    "leads out": (_lead_out, "lead out of it"),
    "absolute": (lambda f: _manifest(f, files={"/etc/x/y": "0" * 64}), "lead out of it"),
    "of nobody": (
        lambda f: (f / "files").rename(f / "elsewhere"),
        "picture",
    ),
    "a column less": (lambda f: _rewrite(f, "trial", lambda r: r.pop("seed")), "other columns"),
    "a column more": (lambda f: _rewrite(f, "trial", lambda r: r.update(id=1)), "other columns"),
    "a name": (
        lambda f: _rewrite(f, "trial", lambda r: r.update(uuid="../" * 10 + "xx")),
        "row 1 of trial: uuid is not of the form",
    ),
    "a running trial": (
        lambda f: _rewrite(f, "trial", lambda r: r.update(status="running")),
        "status is none of planned, budget",
    ),
    "infinite": (
        lambda f: _rewrite(f, "measurement", lambda r: r.update(seconds=math.inf)),
        "seconds is no float",
    ),
    "large": (lambda f: _rewrite(f, "trial", lambda r: r.update(attempt=2**31)), "32 bits"),
    "rows as text": (
        lambda f: _manifest(f, tables={"trial": {"file": "a", "rows": "3", "sha256": "b"}}),
        r"tables.trial.rows = .3.: a whole number is allowed",
    ),
    "files as a list": (lambda f: _manifest(f, files=[]), r"files = \[\]: a table is allowed"),
    "a report without methods": (
        lambda f: _rewrite_body(f, "comparison", "summary", lambda b: b.pop("methods")),
        "summary is not as bench writes it: methods is missing",
    ),
    "a report with other figures": (
        lambda f: _rewrite_body(
            f, "comparison", "summary", lambda b: b["methods"][0]["final"].update(mean="0.5")
        ),
        r"methods\[1\].final.mean = .0.5.: a number is allowed",
    ),
    "a verdict that is none": (
        lambda f: _rewrite_body(f, "verdict", "body", lambda b: b.update(verdict="best")),
        "verdict = .best.",
    ),
    "a claim without runs": (
        lambda f: _rewrite_body(f, "claim", "body", lambda b: b.pop("comparisons")),
        "body is not as bench writes it: comparisons is missing",
    ),
    "noise that is none": (
        lambda f: _rewrite_body(f, "noise", "body", lambda b: b.update(metrics=[{"sd": 1}])),
        r"metrics\[1\]",
    ),
    "no JSON inside": (
        lambda f: _rewrite(f, "trial", lambda r: r.update(info="[")),
        "info is no JSON",
    ),
    "another protocol": (
        lambda f: _rewrite(
            f, "protocol", lambda r: r.update(body=r["body"].replace("fp32", "fp64"))
        ),
        "row 1 of protocol: key is not its SHA-256",
    ),
    "no trial": (
        lambda f: _rewrite(f, "measurement", lambda r: r.update(trial="0" * 32)),
        "trial names a trial that is not in the export",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_folder_that_is_not_as_it_was_is_refused_before_anything_is_written(
    tmp_path: Path, exported: Path, kind: str
) -> None:
    damage, told = DAMAGE[kind]
    damage(exported)
    with pytest.raises(BenchError, match=told):
        import_folder(exported, lambda: Store.open(f"sqlite:///{tmp_path / 'new' / 'bench.db'}"))
    assert not (tmp_path / "new").exists() and not (tmp_path / "y").exists()


@pytest.fixture
def exported(tmp_path: Path, opened: Callable[[str], Store], protocol: Protocol) -> Path:
    source = opened("source")
    fill(source, protocol)
    export(source, tmp_path / "folder", (), "jsonl")
    return tmp_path / "folder"


def test_an_export_of_earlier_tables_lacks_columns(tmp_path: Path, exported: Path) -> None:
    path = exported / "trial.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[1:]:
        del row["command"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _rewrite(exported, "trial", lambda row: row.pop("command"))
    _manifest(exported, revision="0003")
    with Store.open(f"sqlite:///{tmp_path / 'new' / 'bench.db'}") as target:
        assert import_folder(exported, lambda: Store.open(target.url)).added["trial"] == 6
        # Named in the certificate of five.
        assert all(c.certificate.command is None for c in target.trials() if c.certificate)


def test_a_file_here_that_differs_is_replaced_unless_its_comparison_is_further(
    tmp_path: Path, exported: Path, opened: Callable[[str], Store]
) -> None:
    target = opened("target")
    import_folder(exported, lambda: Store.open(target.url))
    done = target.comparisons()[-1].id
    picture = target.files_of_comparison(done) / "deep" / "picture 😀.png"
    picture.write_bytes(b"changed")
    assert import_folder(exported, lambda: Store.open(target.url)).files == 1
    assert len(picture.read_bytes()) == 256
    picture.unlink()
    assert import_folder(exported, lambda: Store.open(target.url)).files == 1
    assert sorted(p.name for p in picture.parent.iterdir()) == [picture.name]


def test_an_export_leaves_nothing_where_it_fails(
    tmp_path: Path, opened: Callable[[str], Store], protocol: Protocol
) -> None:
    source = opened("source")
    fill(source, protocol)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "source"):
        with pytest.raises(Usage, match="exists already"):
            export(source, place, ())
    with pytest.raises(Infrastructure, match="cannot be written"):
        export(source, tmp_path / "file" / "folder", ())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "source"]


def test_without_pyarrow(
    tmp_path: Path, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Infrastructure, match="--format jsonl"):
        export(opened("a"), tmp_path / "folder", (), "parquet")
    assert not list(tmp_path.glob("*folder*"))
    export(opened("a"), tmp_path / "folder", (), "jsonl")


def test_a_text_that_not_every_database_keeps(
    opened: Callable[[str], Store], protocol: Protocol, moved: Callable[..., ImportResult]
) -> None:
    source, target = opened("a"), opened("b")
    fill(source, protocol)
    with source._write() as connection:
        connection.execute(update(t.trial).values(reason="a\0b" + STRANGE))
    moved(source, target)
    assert {trial.reason for trial in target.trials()} == {"a\ufffdb" + STRANGE}


def test_what_a_killed_export_left_is_removed(store: Store, tmp_path: Path) -> None:
    left = tmp_path / ".0123456789abcdef.bench-export"
    left.mkdir()
    (left / "trial.jsonl").touch()
    (others := tmp_path / ".hidden").mkdir()
    export(store, tmp_path / "made", (), "jsonl")
    assert not left.exists() and others.exists() and (tmp_path / "made").is_dir()


def test_a_pipe_as_a_manifest_and_a_name_that_is_too_long(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(Infrastructure, match="its manifest.json is no file"):
        import_folder(tmp_path, lambda: store)
    with pytest.raises(Infrastructure, match="cannot be written: File name too long"):
        export(store, tmp_path / ("x" * 300), (), "jsonl")
    os.mkfifo(tmp_path / "pipe.db")
    with pytest.raises(Infrastructure, match="pipe.db is not a file"):
        Store.open(f"sqlite:///{tmp_path}/pipe.db")
