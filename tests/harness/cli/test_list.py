import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection

from bench.optim.registry import BUILT_IN


def test_problems_in_a_pipe(bench):
    said = bench("list", "problems")
    assert said.code == 0, said.err
    lines = [line.split() for line in said.out.splitlines()]
    assert {(line[0], line[1]) for line in lines if line} >= {
        (name, preset) for name in ("curves", "mnist") for preset in ("quick", "standard", "paper")
    }
    (row,) = (line for line in said.out.splitlines() if line.split()[:2] == ["curves", "paper"])
    assert "784-400-200-100-50-25-6, 20,000 cases" in row
    assert "842,340  150,000,000  squared error  ≤ 1, 0.5, 0.2, 0.1" in row


def test_optimizers(bench):
    said = bench("list", "optimizers")
    assert said.code == 0, said.err
    for name, cls in BUILT_IN.items():
        _, _, part = said.out.partition(f"{name}  backends: {', '.join(cls.backends)}; ")
        assert part.startswith(cls.reference)
        lines = {line.split()[0]: line for line in part.split("\n\n")[0].splitlines() if line}
        for h in cls.space:
            assert h.kind.__name__ in lines[h.name]
            assert h.meaning in lines[h.name]
            assert all(choice in lines[h.name] for choice in h.choices)


def test_optimizers_that_are_named(bench):
    said = bench("list", "optimizers", "torch.optim.Adam", "pytorch_optimizer:Kron")
    assert said.code == 0, said.err
    lines = {tuple(line.split()[:3]): line for line in said.out.splitlines() if line}
    assert ("betas", "(float,float)", "(0.9,0.999)") in lines
    assert "one_diag, smart_one_diag, all_diag" in lines["memory_save_mode", "str", "or"]
    assert "hf  backends" not in said.out
    said = bench("list", "optimizers", "torch.optim.adam")
    assert (said.code, said.out) == (2, "") and "did you mean 'Adam'?" in said.err


def test_comparisons(bench, filled):
    first = filled.comparison()
    for label in ("nag", "hf[lam=1]"):
        for seed in range(2):
            filled.trial(first, label, seed)
    filled.store.save_verdicts(
        first,
        [
            {"a": "nag", "b": "hf[lam=1]", "verdict": "b better"},
            {"a": "nag", "b": "cm", "verdict": "cannot tell"},
        ],
    )
    filled.store.finish_comparison(first, "failed", None)
    second = filled.comparison("tuning")
    said = bench("list", "comparisons")
    assert said.code == 0, said.err
    newest, oldest = (line.split("  ") for line in said.out.splitlines()[1:])
    words = [[cell.strip() for cell in line if cell.strip()] for line in (newest, oldest)]
    assert words[0][0] == second
    assert words[0][2:] == ["curves-quick (tuning), gradients=600000", "0", "running"]
    assert words[1][0] == first
    assert words[1][2:] == [
        *("curves-quick, gradients=600000", "nag, hf[lam=1]", "2", "failed"),
        "hf[lam=1] better than nag; nag, cm: cannot tell",
    ]


def test_comparison_with_a_result(bench, filled):
    done = filled.comparison()
    trials = [{"seed": seed} for seed in range(6)]
    rows = [{"method": name, "trials": trials} for name in ("sgd", "cm")]
    filled.store.finish_comparison(done, "done", {"methods": rows})
    assert bench("list", "comparisons").out.splitlines()[1].split()[5:] == [
        *("sgd,", "cm", "6", "done")
    ]


def test_trials(bench, filled):
    first, second = filled.comparison(), filled.comparison()
    one, two = filled.trial(first), filled.trial(first, "sgd[lr=10]", 3)
    filled.end(one)
    filled.end(two, 7, diverged=True)
    filled.store.adopt(second, one)
    said = bench("list", "trials")
    assert said.code == 0, said.err
    rows = [line.split() for line in said.out.splitlines()[1:]]
    assert rows[0] == [
        *(str(one), first, second, "nag", "0", "budget"), *("2.40", "2.64", "600,000", "600")
    ]  # fmt: skip
    assert rows[1][:6] == [str(two), first, "sgd[lr=10]", "3", "diverged", "–"]


@pytest.mark.parametrize("what", ["comparisons", "trials"])
def test_the_newest_are_listed_and_how_many_more_there_are(bench, filled, what):
    comparisons = [filled.comparison() for _ in range(4)]
    trials = [str(filled.trial(comparisons[-1], seed=seed)) for seed in range(4)]
    # Comparisons stand with the newest first, trials in their order.
    newest = comparisons[:1:-1] if what == "comparisons" else trials[2:]
    every = comparisons[::-1] if what == "comparisons" else trials

    def ids(said):
        assert said.code == 0, said.err
        return [line.split()[0] for line in said.out.splitlines()[1:]]

    said = bench("list", what, "--limit", "2")
    assert ids(said) == newest
    assert "These are the newest 2 of 4; --limit all shows every one." in said.err
    for more in (["--limit", "all"], ["--limit", "0"], ["--limit", "4"], ["--limit", "9"], []):
        said = bench("list", what, *more)
        assert (ids(said), said.err) == (every, "")


def test_fifty_are_listed_unless_more_are_asked_for(bench, filled):
    comparison = filled.comparison()
    trials = [filled.trial(comparison, seed=seed) for seed in range(51)]
    said = bench("list", "trials")
    assert [int(line.split()[0]) for line in said.out.splitlines()[1:]] == trials[1:]
    assert "These are the newest 50 of 51;" in said.err


def test_a_limit_that_is_no_number_of_rows(bench, filled):
    for wrong in ("-1", "some", "1.5", "9" * 30):
        said = bench("list", "trials", "--limit", wrong)
        assert said.code == 2
        assert f"'{wrong}' is not a number of rows: give a whole number, or all." in said.err


def test_a_longer_list_takes_no_more_queries(bench, filled, monkeypatch):
    asked = []
    execute = Connection.execute

    def count(self, *given, **named):
        asked.append(given[0])
        return execute(self, *given, **named)

    monkeypatch.setattr(Connection, "execute", count)
    counts = set()
    for _ in range(3):
        comparison = filled.comparison()
        for seed in range(3):
            filled.trial(comparison, seed=seed)
        for what in ("comparisons", "trials"):
            asked.clear()
            bench("list", what)
            counts.add((what, len(asked)))
    assert len(counts) == 2


def test_a_list_loads_neither_torch_nor_mlflow(filled):
    filled.trial(filled.comparison())
    script = (
        "import sys\n"
        "from bench.harness.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print({'torch', 'mlflow', 'scipy', 'matplotlib'} & {*sys.modules})"
    )
    for what in ("comparisons", "trials", "claims"):
        done = subprocess.run(
            [sys.executable, "-c", script, "list", what],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
        )
        assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_ids_are_whole_on_a_narrow_terminal(bench, filled, monkeypatch):
    comparison = filled.comparison()
    trial = filled.trial(comparison, "nag[lr=0.01,mu_max=0.99,schedule=nesterov]")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, and no escape codes.
    for what, id in (("comparisons", comparison), ("trials", str(trial))):
        lines = bench("list", what).out.splitlines()
        assert all(len(line) <= 80 for line in lines)
        assert id in lines[1].split()
        assert "running" in lines[1].split()
        assert "…" not in "".join(lines)


def test_the_dead_are_not_running(bench, filled, monkeypatch):
    monkeypatch.setattr(filled.store.end_dead.__func__, "__defaults__", (0,))
    filled.trial(filled.comparison())
    assert "interrupted" in bench("list", "trials").out
    assert "interrupted" in bench("list", "comparisons").out


@pytest.mark.parametrize("what", ["comparisons", "trials"])
def test_an_empty_store(bench, filled, what):
    said = bench("list", what)
    assert (said.code, said.out) == (0, "")
    assert f"There is no {what[:-1]} in {filled.store.redacted_url} yet." in said.err


def test_no_store(bench):
    said = bench("list", "trials")
    assert said.code == 4
    assert "There is no store at" in said.err
    assert "bench compare" in said.err


def test_unknown(bench):
    said = bench("list", "problmes")
    assert said.code == 2
    assert "problmes" in said.err
    assert "'problems'" in said.err


def test_a_reader_that_has_gone(filled):
    filled.comparison()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bench.harness.cli.main", "list", "comparisons"],
        cwd=Path(__file__).parents[3],
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
