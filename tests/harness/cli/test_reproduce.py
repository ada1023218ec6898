import json

import pytest
from matplotlib.image import imread

from bench.harness.paper import figure2, figure5
from tests.harness.small import PROBLEM


@pytest.fixture
def quickly(monkeypatch):
    """Figure 5 on a tiny problem, whatever the command names."""
    real = figure5.figure5
    asked = []

    def small(problem, preset, iterations, seed):
        asked.append((problem, preset, iterations, seed))
        return real(PROBLEM, "quick", iterations, seed)

    monkeypatch.setattr(figure5, "figure5", small)
    return asked


def test_figure_2(bench, workdir):
    said = bench("reproduce", "figure2", "--json", "data.json")
    assert (said.code, said.err) == (0, "picture: figure2.png\n")
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines()[2:]}
    assert rows == {
        "gd": ["1.500", "0.0597"],
        "cm": ["17.929", "0.0206"],
        "nag": ["1.844", "0.000211"],
    }
    assert imread(workdir / "figure2.png").ndim == 3
    assert json.loads((workdir / "data.json").read_text())["mu"] == 0.9


def test_json_alone(bench, workdir):
    said = bench("reproduce", "figure2", "--json", "-", "--out", "mine.png")
    assert json.loads(said.out)["steep_total_variation"]["cm"] > 17
    assert said.err == "picture: mine.png\n"
    assert [file.name for file in workdir.iterdir()] == ["mine.png"]


def test_figure_5(bench, workdir, quickly):
    said = bench("reproduce", "figure5", "--iterations", 2, "--seed", 3, "--threads", 1)
    assert said.code == 0, said.err
    assert quickly == [("curves", "quick", 2, 3)]
    assert said.out.startswith("After 2 iterations of hf, training error ")
    lines = [line.split() for line in said.out.splitlines()[2:]]
    assert [line[0] for line in lines] == ["30", "60", "120"]
    assert all(float(cg) <= min(float(nag), float(best)) for _, cg, nag, best in lines)
    assert said.err.endswith("picture: figure5.png\n")
    assert imread(workdir / "figure5.png").ndim == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["figure7"], "`bench reproduce` has no 'figure7'; did you mean 'figure"),
        (
            ["table4"],
            "It has: claims, table1, table2, table3, table5, figure2, figure5.",
        ),
        (["figure5", "--preset", "quik"], "--preset quik: there is no such preset; did you mean"),
        (["figure5", "--iterations", "0"], "'--iterations': 0 is not in the range"),
        (["figure5", "--iterations", "few"], "'--iterations': 'few' is not a valid integer"),
        (["figure5", "--seed", "-1"], "'--seed': -1 is not in the range"),
        (["figure5", "--threads", "100000"], "'--threads': 100000 is not in the range"),
        (["figure2", "--seed", "1"], "No such option"),
    ],
)
def test_usage(bench, workdir, given, told):
    said = bench("reproduce", *given)
    assert (said.code, said.out) == (2, "")
    assert told in said.err.splitlines()[-1]
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("flag", ["--out", "--json"])
def test_files_that_cannot_be_written(bench, workdir, flag):
    said = bench("reproduce", "figure2", flag, "not_there/file")
    assert (said.code, said.out) == (4, "")
    assert (
        said.err == f"bench: {flag} not_there/file cannot be written: its folder does not exist.\n"
    )
    assert list(workdir.iterdir()) == []
    (workdir / "folder").mkdir()
    said = bench("reproduce", "figure2", flag, "folder")
    assert (said.code, said.out) == (4, "")
    told = f"bench: {flag} folder cannot be written: it is a folder. Name a file in it.\n"
    assert said.err == told


def test_a_flag_has_an_environment_variable(bench, workdir, monkeypatch):
    monkeypatch.setenv("BENCH_REPRODUCE_FIGURE2_OUT", "there.png")
    assert bench("reproduce", "figure2").code == 0
    assert (workdir / "there.png").is_file()


def test_a_claim_that_does_not_hold(bench, workdir, monkeypatch):
    data = figure2.figure2(curvatures=(1.0, 1.0))
    monkeypatch.setattr(figure2, "figure2", lambda: data)
    said = bench("reproduce", "figure2")
    assert said.code == 1
    assert said.err.endswith(
        "bench: The figure is not reproduced: CM does not oscillate more than NAG along the steep "
        "axis.\n"
    )
    assert (workdir / "figure2.png").is_file()
