"""Names and reasons of anybody's are texts: stored and shown as they are, and never acted on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.harness.core.errors import Usage
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import canonical_json, key_of
from bench.harness.core.text import storable, visible
from bench.harness.planning.fleets import MAX_LABEL_LENGTH
from bench.harness.store.mlflow import entries
from bench.harness.store.results import Store
from tests.harness.cli.conftest import Filled, Said
from tests.harness.small import BUDGET

Bench = Callable[..., Said]

NASTY = {
    "quotes": 'it\'s "so" `here`',
    "newlines": "a\nb\r\nc\td",
    "emoji": "👩‍💻 nag 🏳️‍🌈",
    "right to left": "\u202egnp.exe\u202c \u2067x\u2069",
    "escapes": "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J\b\x7f",
    "long": "name " * 2000,
    "long and unlike": "".join(key_of(i) for i in range(160)),
    "SQL": "'); DROP TABLE bench_trial;--",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "markup": "[red]x[/] [/] [link=file:///etc]",
    "formats": "{0} %s %(a)s {a.__class__} $HOME",
    "Markdown": "# [x](javascript:alert(1)) **b** `c` | --- |",
    "path": "../../x",
    "absolute path": "/etc/passwd",
    "formula": "$\\frac{1}{$ a_b^c \\",
    "hidden": "_hidden",
    "emoji code": ":smile: :warning:",
    "like": "%_\\",
}
UNSTORABLE = {"NUL": "a\0b", "half a pair": "a\ud800b"}
TEXTS = st.text(st.characters(), max_size=40)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def filled(request: pytest.FixtureRequest) -> Filled:
    name = "store_url" if request.param == "sqlite" else "postgres_url"
    store = Store.open(request.getfixturevalue(name))
    request.addfinalizer(store.close)
    return Filled(store)


def put(filled: Filled, given: str) -> None:
    """Enter a text wherever one may come from outside, and see that it comes back."""
    store, expected = filled.store, storable(given)
    comparison = filled.comparison(command=given)
    context = {"threads": 1, "versions": {"torch": "2.13.0"}}
    trial = filled.trial(comparison, given, context=context)
    measured = Measurement(0, Ledger(), 1.0, 2.0, 3.0, 4.0, {given: 1.5})
    store.record([(trial, measured)])
    store.end(trial, "failed", given, Ledger(), measured)
    pairs = [{"a": "nag", "b": given, "verdict": "cannot tell", "reason": given}]
    store.save_verdicts(comparison, pairs)
    store.finish_comparison(comparison, "failed", {"notes": [given], given: given})
    found, record = store.trial(trial), store.comparison(comparison)
    assert (found.method, found.reason) == (expected, expected)
    assert record.command == expected
    assert dict(store.measurements([trial])[trial][0].diagnostics) == {expected: 1.5}
    assert record.summary == {"notes": [expected], expected: expected}
    assert record.pairs[0]["b"] == record.pairs[0]["reason"] == expected


@pytest.mark.parametrize("name", [name for name in NASTY if name != "long and unlike"])
def test_texts_come_back_from_the_store(filled: Filled, name: str) -> None:
    put(filled, NASTY[name])
    assert storable(NASTY[name]) == NASTY[name]


def test_what_not_every_database_can_store_is_replaced_in_all(filled: Filled) -> None:
    store = filled.store
    comparison = filled.comparison(command="a\0b\udfffc")
    assert store.comparison(comparison).command == "a\ufffdb\ufffdc"
    store.finish_comparison(comparison, "failed", {"note": "a\0b", "\ud800": 1})
    assert store.comparison(comparison).summary == {"note": "a\ufffdb", "\ufffd": 1}
    # Half a pair and NUL tell no trials apart: what these are recorded under has neither.
    for each in UNSTORABLE.values():
        for plain in ({"name": each}, [each], {each: 1}):
            with pytest.raises(Usage, match="databases cannot store"):
                canonical_json(plain)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given=TEXTS)
def test_any_text_comes_back(filled: Filled, given: str) -> None:
    if storable(given) == given and "://" not in given and "=" not in given:
        put(filled, given)
    else:
        comparison = filled.comparison()
        filled.store.finish_comparison(comparison, "failed", {"note": given})
        assert filled.store.comparison(comparison).summary == {"note": storable(given)}


@given(TEXTS)
def test_what_is_shown_moves_no_cursor(given: str) -> None:
    shown = visible(given)
    assert not re.search("[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert visible(shown) == shown
    shown.encode()


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=20))
def test_names_are_taken_by_mlflow(given: str, other: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_tag_name

    for key in (entries.name(given), entries.name(f"final_mean.{given}/{other}")):
        _validate_metric_name(key)
        _validate_tag_name(key)
        assert len(key) <= entries.KEY_LENGTH


OWN = """
from tests.harness.plugins import Watcher
{}
"""
CLASS = """
class Mine{}(Watcher):
    name = {!r}

    def step(self, theta, objective, state):
        return super().step(theta, objective, state) | {{{!r}: 1.0}}
"""


def write_own(names: list[str]) -> str:
    """Write a file with a method a name; return what --optimizers takes for all."""
    classes = (CLASS.format(i, name, name) for i, name in enumerate(names))
    Path("mine.py").write_text(OWN.format("".join(classes)), "utf-8")
    return ",".join(f"./mine.py:Mine{i}" for i in range(len(names)))


def see_plain(told: str) -> None:
    """No control character but the ends of lines, nor a mark of direction."""
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", told)


def outside(folder: Path, inside: set[str]) -> list[Path]:
    return [
        path
        for path in folder.parent.rglob("*")
        if not any(folder / name in (path, *path.parents) for name in inside) and path != folder
    ]


@pytest.mark.slow
def test_methods_may_be_called_anything(bench: Bench, workdir: Path) -> None:
    optimizers = write_own(list(NASTY.values()))
    said = bench(
        *("compare", "--optimizers", optimizers, "--problem", "tests.harness.small:make"),
        *("--budget", BUDGET, "--seeds", "1", "--threads", "1", "--no-mlflow"),
    )
    assert said.code == 0, said.err
    see_plain(said.out + said.err)
    assert outside(workdir, {"mine.py", "mlruns", "__pycache__"}) == []
    with Store.open("sqlite:///mlruns/bench.db") as store:
        (record,) = store.comparisons()
        trials = store.trials()
        assert [trial.method_name for trial in trials] == list(NASTY.values())
        assert all(len(trial.method) <= MAX_LABEL_LENGTH for trial in trials)
        short = {trial.method for trial in trials if len(trial.method_name) <= MAX_LABEL_LENGTH}
        assert short == {name for name in NASTY.values() if len(name) <= MAX_LABEL_LENGTH}
        folder = store.files_of_comparison(record.id)
        for trial in trials:
            name = trial.method_name
            assert store.measurements([trial.id])[trial.id][-1].diagnostics[name] == 1.0
        assert record.summary is not None
        assert [row["method"] for row in record.summary["methods"]] == [t.method for t in trials]
    assert json.loads((folder / "comparison.json").read_text("utf-8")) == record.summary
    see_plain((folder / "report.txt").read_text("utf-8"))
    assert (folder / "learning_curves.png").stat().st_size > 10_000
    for words in (("show", record.id), ("show", "5"), ("show", "4", "5"), ("list", "comparisons"),
                  ("list", "trials")):  # fmt: skip
        said = bench(*words)
        assert said.code == 0, said.err
        see_plain(said.out + said.err)
    lines = bench("list", "trials").out.splitlines()
    assert len(lines) == 1 + len(NASTY)
    assert r"\x1b[31mred\x1b[0m" in lines[5]
    assert "[red]x[/] [/] [link=file:///etc]" in "".join(lines)
    assert ":smile: :warning:" in "".join(lines)


@pytest.mark.parametrize("name", UNSTORABLE)
def test_a_name_that_no_database_can_store_is_refused(bench: Bench, name: str) -> None:
    Path("mine.py").write_text(OWN.format(CLASS.format(0, UNSTORABLE[name], "x")))
    said = bench("compare", "--optimizers", "./mine.py:Mine0,nag", "--budget", BUDGET)
    assert said.code == 2 and len(said.err.splitlines()) == 1
    assert "because databases cannot store them. Choose another name or value." in said.err
    assert not Path("mlruns").exists()


def test_a_plan_may_have_an_id_that_is_a_path(bench: Bench, filled: Filled) -> None:
    with pytest.raises(Exception, match="is not a name from bench"):
        filled.store.files_of_comparison("../../x")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_mlflow_has_them_as_texts(
    bench: Bench,
    workdir: Path,
    kind: str,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue("store_url" if kind == "sqlite" else "postgres_url")
    said = bench(
        *("compare", "--optimizers", write_own(list(NASTY.values())), "--store", url),
        *("--problem", "tests.harness.small:make", "--budget", BUDGET, "--seeds", "1"),
        *("--threads", "1"),
    )
    assert said.code == 0 and "MLflow" not in said.err, said.err
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=url)
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    runs = client.search_runs([experiment.experiment_id])
    of_method = {
        run.data.tags["bench.method"]: run for run in runs if "bench.seed" in run.data.tags
    }
    with Store.open(url) as store:
        trials = store.trials()
    assert of_method.keys() == {trial.method for trial in trials}
    for trial in trials:
        run = of_method[trial.method]
        whole = run.data.params["method"]
        assert whole == trial.method_name or "… (cut: " in whole
        assert run.info.status == "FINISHED"
    (comparison,) = (run for run in runs if run.data.tags["bench.kind"] == "comparison")
    note = comparison.data.tags["mlflow.note.content"]
    assert "<script" not in note and "](javascript" not in note
