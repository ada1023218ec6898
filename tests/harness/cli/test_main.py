import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.harness.cli.main import COMMANDS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(workdir):
    """Write the working folder's bench.toml."""
    return lambda text: (workdir / "bench.toml").write_text(text)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(bench, name):
    said = bench(name, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"Example: bench {name}" in said.out


@pytest.mark.parametrize(
    ("group", "name"),
    [("list", n) for n in ("problems", "optimizers", "comparisons", "trials", "claims")]
    + [("db", n) for n in ("upgrade", "sync")]
    + [("data", n) for n in ("list", "fetch", "verify")]
    + [("reproduce", n) for n in ("figure2", "figure5", "claims")],
)
def test_help_within_a_group_shows_an_example(bench, group, name):
    assert f"Example: bench {group} {name}" in bench(group, name, "--help").out


def test_help_lists_all_commands(bench):
    said = bench("--help")
    assert said.code == 0
    assert all(f"\n  {name} " in said.out for name in COMMANDS)


def test_unknown_command(bench):
    said = bench("shwo", "3")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("bench: There is no command 'shwo'; did you mean 'show'?")
    assert all(name in said.err for name in COMMANDS)


def test_unknown_option(bench):
    said = bench("show", "3", "--stroe", "x")
    assert (said.code, said.out) == (2, "")
    assert "'--stroe'" in said.err
    assert "--store" in said.err
    assert said.err.endswith("`bench show --help` shows what is allowed.\n")


def test_missing_argument(bench):
    said = bench("run")
    assert said.code == 2
    assert "--optimizer" in said.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[show", "cannot be read"),
        ("store = 'sqlite:///a\n", "cannot be read"),
        ("[shwo]\nstore = 'sqlite:///a.db'\n", "'shwo'; did you mean 'show'?"),
        ("[list.trails]\nstore = 'sqlite:///a.db'\n", "'trails'; did you mean 'trials'?"),
        ("[list.trials]\nstroe = 'a'\n", "bench list trials has no option 'stroe'; did you mean"),
        ("[[compare]]\nseeds = 3\n", "'compare' is a command. Write its settings as a table"),
        ("[compare]\nseeds = 3.7\n", "[compare] seeds = 3.7: a whole number is allowed"),
        ("[compare]\nseeds = true\n", "[compare] seeds = true: a whole number is allowed"),
        ("[compare]\nseeds = '3'\n", '[compare] seeds = "3": a whole number is allowed'),
        ("[compare]\nseeds = [3]\n", "[compare] seeds = [3]: a whole number is allowed"),
        ("[compare]\nseeds = 2027-01-01\n", "a whole number is allowed"),
        ("[compare]\nno-mlflow = 1\n", "[compare] no-mlflow = 1: true or false is allowed"),
        ("[compare]\ndevice = 'gpu'\n", "'auto', 'cpu' or 'cuda' is allowed"),
        ("[compare]\nbudget = 300\n", "[compare] budget = 300: a text is allowed"),
        ("[compare]\nrecorded = ['a']\n", "bench compare has no option 'recorded'"),
        ("[list]\nlimti = 3\n", "bench list has no option 'limti'; did you mean 'limit'?"),
        ("[db.sql.more]\nx = 3\n", "bench db sql has no command 'more'"),
        ("[resume]\nplugins = 'mine'\n", '[resume] plugins = "mine": a list is allowed'),
        ("seeds = 3.7\n", "bench.toml: seeds = 3.7: a whole number is allowed"),
        ("sedes = 3\n", "no command has the option 'sedes'; did you mean 'seeds'?"),
    ],
)
def test_settings_that_are_malformed(bench, settings, text, told):
    settings(text)
    said = bench("list", "problems")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("bench: bench.toml")
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", [["--help"], ["compare", "--help"], ["db", "sql", "-h"]])
@pytest.mark.parametrize("text", ["[[compare]]\n", "[compare", "seeds = true\n"])
def test_settings_that_are_malformed_leave_the_help(bench, settings, words, text):
    settings(text)
    said = bench(*words)
    assert said.code == 0
    assert said.out.startswith(f"Usage: bench {' '.join(words[:-1])}".strip())
    assert "unexpected" not in said.err


def test_settings_that_are_a_number_or_a_word(bench, settings, filled):
    comparison = filled.comparison()
    for limit in ("1", "'all'"):
        settings(f"[list]\nlimit = {limit}\n")
        assert comparison in bench("list", "comparisons").out


def test_settings_that_are_no_text(bench, workdir):
    (workdir / "bench.toml").write_bytes(b"\xff\xfe")
    assert bench("doctor").code == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_settings_that_are_no_file(bench, workdir, make):
    make(workdir / "bench.toml")
    said = bench("list", "problems")
    assert said.code == 2 and "is not a file" in said.err


def test_settings_give_defaults(bench, workdir, settings, filled, monkeypatch):
    comparison = filled.comparison()
    monkeypatch.delenv("BENCH_STORE")
    assert bench("show", comparison).code == 4
    settings(f'[show]\nstore = "{filled.store.url}"\n')
    assert comparison in bench("show", comparison).out
    settings(f'store = "{filled.store.url}"\n')
    assert comparison in bench("show", comparison).out


def test_settings_reach_the_commands_within_a_group(bench, settings, filled, monkeypatch):
    comparison = filled.comparison()
    monkeypatch.delenv("BENCH_STORE")
    assert bench("list", "comparisons").code == 4
    settings(f'store = "{filled.store.url}"\n')
    assert comparison in bench("list", "comparisons").out
    settings(f'store = "sqlite:///other.db"\n[list.comparisons]\nstore = "{filled.store.url}"\n')
    assert comparison in bench("list", "comparisons").out
    assert "other.db" in bench("list", "trials").err
    settings("[reproduce.claims]\ndata-dir = 'nowhere'\npreset = 'papr'\n")
    assert "--preset papr" in bench("reproduce", "claims").err


def test_flag_over_variable_over_settings(bench, settings, filled, monkeypatch):
    comparison = filled.comparison()
    settings('[show]\nstore = "sqlite:///settings.db"\n')
    assert bench("show", comparison).code == 0
    monkeypatch.setenv("BENCH_STORE", "sqlite:///variable.db")
    assert "variable.db" in bench("show", comparison).err
    assert "flag.db" in bench("show", comparison, "--store", "sqlite:///flag.db").err


@pytest.mark.parametrize("name", ["BENCH_STORE", "BENCH_SHOW_STORE"])
def test_a_flag_has_an_environment_variable(bench, monkeypatch, name):
    monkeypatch.setenv(name, "mysql://me:secret@h/db")
    said = bench("show", "3")
    assert said.code == 2
    assert "mysql://me:***@h/db" in said.err


@pytest.mark.parametrize("name", ["BENCH_LIMIT", "BENCH_LIST_COMPARISONS_LIMIT"])
def test_every_option_has_two_variables(bench, monkeypatch, filled, name):
    filled.comparison()
    monkeypatch.setenv(name, "two")
    said = bench("list", "comparisons")
    assert (said.code, said.out) == (2, "")
    assert "'two' is not a number of rows" in said.err


def test_the_variable_of_one_command_comes_first(bench, monkeypatch, filled):
    comparison = filled.comparison()
    monkeypatch.setenv("BENCH_LIMIT", "two")
    monkeypatch.setenv("BENCH_LIST_COMPARISONS_LIMIT", "1")
    assert comparison in bench("list", "comparisons").out


def test_a_variable_that_nothing_reads_is_named(bench, monkeypatch):
    monkeypatch.setenv("BENCH_SEDES", "3")
    said = bench("list", "optimizers")
    assert said.code == 0
    assert said.err == (
        "The variable BENCH_SEDES is not used, because bench has no such setting; did you mean "
        "'BENCH_SEEDS'?\n"
    )
    monkeypatch.delenv("BENCH_SEDES")
    monkeypatch.setenv("BENCH_SEEDS", "3")
    assert bench("list", "optimizers").err == ""


def test_an_error_has_no_traceback_but_with_debug(bench):
    said = bench("shwo")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    done = subprocess.run(
        [sys.executable, "-m", "bench.harness.cli.main", "shwo", "--debug"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Traceback (most recent call last)" in done.stderr
    assert "There is no command 'shwo'" in done.stderr


def test_an_error_that_should_not_happen(bench, monkeypatch):
    def fail(text):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("bench.harness.store.results.parse_store_url", fail)
    said = bench("show", "3")
    assert said.code == 4
    assert "ZeroDivisionError: by nothing" in said.err
    assert "--debug" in said.err
    assert "Traceback" not in said.err
    said = bench("show", "3", "--debug")
    assert said.code == 4
    assert said.err.startswith("Traceback") and said.err.endswith("ZeroDivisionError: by nothing\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError])
def test_an_interrupt(bench, monkeypatch, error):
    def interrupt(text):
        raise error

    monkeypatch.setattr("bench.harness.store.results.parse_store_url", interrupt)
    said = bench("show", "3")
    assert said.code == 130
    assert "interrupted" in said.err
