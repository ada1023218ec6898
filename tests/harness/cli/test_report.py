from pathlib import Path

from tests.harness.comparison.test_reports import done, undrawn

__all__ = ["undrawn"]


def test_page_and_pictures(bench, filled, tmp_path):
    comparison = done(filled, "nag", seeds=1)
    said = bench("report", comparison[:6], "--html", "report.html", "--pictures", "pictures")
    assert said.code == 0, said.err
    assert said.out == ""
    assert "nag alone" in Path("report.html").read_text("utf-8")
    assert Path("pictures/learning_curves.svg").is_file()
    assert "picture: pictures/learning_curves.svg\n" in said.err


def test_without_a_file_it_is_printed_as_by_show(bench, filled):
    comparison = done(filled, "nag", seeds=1)
    assert bench("report", comparison) == bench("show", comparison)


def test_show_names_the_report(bench, filled):
    comparison = done(filled, "nag", seeds=1)
    report = filled.store.files_of_comparison(comparison) / "report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    assert f"page: {report}\n" in bench("show", comparison).out


def test_what_is_not_there_is_named(bench, filled):
    comparison = done(filled, "nag", seeds=1)
    said = bench("report", "zzzz", "--html", "report.html")
    assert said.code == 2 and "There is no comparison 'zzzz'" in said.err
    said = bench("report", comparison, "--html", "absent/report.html")
    assert said.code == 4 and "--html absent/report.html cannot be written" in said.err
    assert "Traceback" not in said.err


def test_run_writes_the_page_as_well(bench, filled, monkeypatch):
    summary = filled.store.comparison(done(filled, "nag", seeds=1)).summary
    monkeypatch.setattr("bench.harness.comparison.compare.run_one", lambda request, seed: summary)
    said = bench("run", "--optimizer", "nag", "--html", "nag.html")
    assert said.code == 0, said.err
    assert "nag alone" in Path("nag.html").read_text("utf-8")


def test_compare_writes_the_page_as_well(bench, filled):
    both = [done(filled, "nag", seeds=2), done(filled, "cm", seeds=2)]
    said = bench("compare", *both, "--html", "both.html", "--no-mlflow")
    assert said.code == 0, said.err
    assert "nag and cm: too few seeds for a verdict" in Path("both.html").read_text("utf-8")
