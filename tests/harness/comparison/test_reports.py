"""Reports are made from the store and the folder of a comparison's files, whatever is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bench.harness.analysis.summary import summarize
from bench.harness.comparison.combine import compare_recorded
from bench.harness.comparison.reports import read, write_pictures, write_report
from bench.harness.core.errors import Infrastructure
from bench.harness.store.results import Store
from tests.harness.cli.conftest import Filled


@pytest.fixture
def filled(store_url: str) -> Iterator[Filled]:
    with Store.open(store_url) as store:
        yield Filled(store)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are tried elsewhere; to draw them takes a second each."""

    def stand_in(*given: object) -> None:
        path = given[-1]
        assert isinstance(path, Path)
        Image.new("RGB", (3, 2)).save(path, format="PNG")

    for name in ("learning_curves", "profiles"):
        monkeypatch.setattr(f"bench.harness.comparison.files.{name}", stand_in)


def done(filled: Filled, *methods: str, seeds: int = 2, diverged: bool = False) -> str:
    """A comparison with a result."""
    comparison = filled.comparison(command=f"bench compare --optimizers {','.join(methods)}")
    trials = [filled.trial(comparison, m, seed) for m in methods for seed in range(seeds)]
    for trial in trials:
        filled.end(trial, diverged=diverged and trial == trials[0])
    summary = summarize(
        comparison_id=comparison, protocol=filled.protocol,
        trials=filled.store.trials(comparison), measurements=filled.store.measurements(trials),
        targets=(3.0, 1.0), margin=0.05, log_scale=True, published=lambda *_: None,
        reproduce="bench compare --optimizers nag,hf",
    )  # fmt: skip
    filled.store.save_verdicts(comparison, summary["pairs"])
    filled.store.finish_comparison(comparison, "done", summary)
    return comparison


def written(store: Store, comparison: str, tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    write_report(store, store.comparison(comparison), path, "--html")
    return path.read_text("utf-8")


def test_a_comparison_that_is_done(filled: Filled, tmp_path: Path) -> None:
    comparison = done(filled, "nag", "hf", diverged=True)
    text = written(filled.store, comparison, tmp_path)
    for words in (
        "nag and hf: too few seeds for a verdict",
        "the loss was not finite at update 9",
        "2.13.0",
        filled.store.trials(comparison)[0].key,
        'src="data:image/png;base64,',
    ):
        assert words in text
    assert "Reconstructions" not in text


def test_the_kept_picture_of_reconstructions_is_part_of_it(filled: Filled, tmp_path: Path) -> None:
    comparison = done(filled, "nag", seeds=1)
    folder = filled.store.files_of_comparison(comparison)
    folder.mkdir(parents=True)
    for ending in (".png", ".svg"):
        (folder / f"reconstructions{ending}").touch()
    assert '<h2 id="reconstructions">' in written(filled.store, comparison, tmp_path)
    files = write_pictures(filled.store, filled.store.comparison(comparison), tmp_path / "p", "-")
    assert {"reconstructions.png", "reconstructions.svg"} <= {file.name for file in files}
    assert all(file.is_file() for file in files)


def test_without_a_result_it_is_said_how_it_stands(filled: Filled, tmp_path: Path) -> None:
    comparison = filled.comparison(command="bench compare")
    filled.end(filled.trial(comparison))
    filled.measure(filled.trial(comparison, "hf", 1), 5)
    text = written(filled.store, comparison, tmp_path)
    assert "No verdict yet." in text
    assert "The comparison is running; 1 of the 2 trials begun have ended." in text
    assert "is better than" not in text and "too few seeds" not in text


@pytest.mark.parametrize(
    ("metric", "scale"), [("train_error_rate", "plain"), ("train_squared_error", "log")]
)
def test_a_share_is_on_a_linear_axis_before_the_result_too(
    filled: Filled, metric: str, scale: str
) -> None:
    protocol = replace(filled.protocol, metric=metric)
    comparison = filled.store.new_comparison(protocol, "comparison", "bench compare")
    assert read(filled.store, filled.store.comparison(comparison)).summary["scale"] == scale


def test_how_to_go_on_is_said_where_there_is_a_plan(filled: Filled, tmp_path: Path) -> None:
    for plan in (None, {"kind": "comparison"}):
        comparison = filled.store.new_comparison(filled.protocol, "comparison", "bench", plan=plan)
        filled.store.finish_comparison(comparison, "interrupted", None)
        text = written(filled.store, comparison, tmp_path)
        assert (f"`bench resume {comparison}` continues it." in text) == (plan is not None)


def test_nothing_begun_and_a_tuning(filled: Filled, tmp_path: Path) -> None:
    assert "0 of the 0 trials begun" in written(filled.store, filled.comparison(), tmp_path)
    tuning = filled.comparison(kind="tuning")
    filled.end(filled.trial(tuning, seed=1_000_000_000))
    filled.store.finish_comparison(tuning, "done", None)
    text = written(filled.store, tuning, tmp_path)
    assert "This is a tuning: its trials choose hyperparameters and are not reported." in text


def test_joined_comparisons_have_the_labels_of_their_summary(
    filled: Filled, tmp_path: Path
) -> None:
    # Two comparisons with a method of the same label and other values.
    first = done(filled, "nag", seeds=1)
    second = filled.comparison()
    other = filled.trial(second, "nag", 0, hyperparameters={"lr": 0.5})
    filled.end(other)
    summary = json.loads(json.dumps(filled.store.comparison(first).summary))
    told = filled.store.trial(other)
    summary["methods"][0]["hyperparameters"] = {"lr": 0.5}
    summary["methods"][0]["trials"] = [
        summary["methods"][0]["trials"][0] | {"key": told.key, "attempt": told.attempt}
    ]
    filled.store.finish_comparison(second, "done", summary)
    joined = compare_recorded(filled.store, [first, second], ())["comparison"]
    recorded = read(filled.store, filled.store.comparison(joined))
    labels = {f"nag ({first})", f"nag ({second})"}
    assert {trial.method for trial in recorded.trials} == labels
    text = written(filled.store, joined, tmp_path)
    assert all(label in text for label in labels)
    assert f"Repeat {first}:" in text
    # The same page is among its files.
    assert (
        f"Repeat {first}:" in (filled.store.files_of_comparison(joined) / "report.html").read_text()
    )


def test_where_it_cannot_be_written_the_option_is_named(filled: Filled, tmp_path: Path) -> None:
    comparison = filled.store.comparison(done(filled, "nag", seeds=1))
    path = tmp_path / "absent" / "report.html"
    with pytest.raises(Infrastructure, match="--html .*absent.* cannot be written: No such file"):
        write_report(filled.store, comparison, path, "--html")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Infrastructure, match="--pictures .*file cannot be written: .*exists"):
        write_pictures(filled.store, comparison, file, "--pictures")


def test_pictures_are_those_that_there_is_something_for(filled: Filled, tmp_path: Path) -> None:
    comparison = filled.store.comparison(done(filled, "nag", seeds=1))
    files = write_pictures(filled.store, comparison, tmp_path, "--pictures")
    assert sorted(file.name for file in files) == [
        *("learning_curves.png", "learning_curves.svg", "profiles.png", "profiles.svg"),
    ]
    assert all(file.is_file() for file in files)


def test_trials_of_the_summary_alone_are_shown(filled: Filled) -> None:
    comparison = done(filled, "nag", seeds=2)
    record = filled.store.comparison(comparison)
    summary = json.loads(json.dumps(record.summary))
    del summary["methods"][0]["trials"][0]
    recorded = read(filled.store, replace(record, summary=summary))
    assert [trial.seed for trial in recorded.trials] == [1]
