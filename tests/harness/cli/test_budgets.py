"""`bench compare --budgets` from the command line to the table, the JSON and the page."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.harness.small import PROBLEM

COMPARE = ("compare", "--problem", PROBLEM, "--optimizers", "nag[batch=20],sgd[batch=20]",
           "--seeds", "2", "--threads", "1", "--no-mlflow")  # fmt: skip

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_it_writes_table_json_and_page(bench, workdir):
    said = bench(*COMPARE, "--budgets", "updates=5|10", "--json", "r.json", "--html", "r.html")
    assert said.code == 0
    found = json.loads(Path("r.json").read_text())
    assert [each["amount"] for each in found["budgets"]] == [5.0, 10.0]
    assert "At 5 updates:" in said.out and "At 10 updates:" in said.out
    ids = [each["comparison"] for each in found["budgets"]]
    assert f"comparisons: {', '.join(ids)}" in said.out
    page = next(line for line in said.out.splitlines() if line.startswith("page: "))
    assert Path(page.removeprefix("page: ")).read_text() == Path("r.html").read_text()
    assert "Budget 1 of 2: updates=5." in said.err
    # Each of the comparisons leads to the curves.
    place = f"curves over budgets: {page.removeprefix('page: ')}"
    for id in ids:
        shown = bench("show", id)
        assert shown.code == 0 and place in shown.out.splitlines()
    listed = [line.split()[4] for line in bench("list", "comparisons").out.splitlines()[1:]]
    assert listed == ["updates=10", "updates=5"]
    # The command that it names gives the same again.
    words = shlex.split(found["reproduce"])[1:]
    again = bench(*words, "--threads", "1", "--no-mlflow", "--json", "-")
    second = json.loads(again.out)
    assert (
        second["methods"][0]["points"][1]["values"] == (found["methods"][0]["points"][1]["values"])
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--budgets", "updates=5"), "--budgets updates=5: give two budgets or more"),
        (("--budgets", "updates=5|5"), "Give each budget once, the smallest first"),
        (("--budgets", "updates=9|5"), "updates=5 follows updates=9"),
        (("--budgets", "updates=5|ten"), "--budgets updates=ten: the amount must be"),
        (("--budgets", "steps=5|10"), "Allowed: gradients, updates, examples, seconds"),
        (
            ("--budgets", "updates=5|10", "--budget", "updates=5"),
            "--budget updates=5 and --budgets updates=5|10 exclude each other",
        ),
        (("--budgets", "updates=5|10", "--plan", "p.json"), "a plan is of one comparison"),
        (("--budgets", "gradients=5|100"), "is less than one update of"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(bench, workdir, flags, said):
    found = bench(*COMPARE, *flags)
    assert (found.code, found.out) == (2, "")
    assert said in " ".join(found.err.split())
    assert not Path("mlruns/bench.db").exists()


def test_recorded_comparisons_have_their_budgets(bench):
    found = bench("compare", "0123abcd", "4567abcd", "--budgets", "updates=5|10")
    assert found.code == 2 and "--budgets cannot be used with recorded comparisons" in (
        " ".join(found.err.split())
    )


@pytest.mark.parametrize(
    ("setting", "written", "said"),
    [
        ("budget = 'updates=7'", ("--budgets", "updates=5|10"), ["5 updates", "10 updates"]),
        ("[compare]\nbudgets = 'updates=5|10'", ("--budget", "updates=7"), ["7 updates"]),
    ],
)
def test_what_is_written_goes_before_a_setting(bench, workdir, setting, written, said):
    Path("bench.toml").write_text(setting)
    found = bench(*COMPARE, *written, "--dry-run")
    assert found.code == 0, found.err
    assert re.findall(r"(\d+ updates) per trial", found.err) == said


def test_budgets_of_settings_are_not_those_of_recorded_comparisons(bench, workdir):
    assert bench(*COMPARE, "--budget", "updates=5").code == 0
    Path("bench.toml").write_text("[compare]\nbudgets = 'updates=5|10'")
    said = bench("compare", "0123abcd", "4567abcd")
    assert said.code == 2 and "0123abcd" in said.err
