"""`bench baseline` as a person meets it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cli.conftest import Filled, Said

Bench = Callable[..., Said]
ROOT = Path(__file__).parents[3]


def comparison(filled: Filled, mean: float = 0.25, **fields: Any) -> str:
    """Enter a comparison that is done."""
    id = filled.comparison(command=f"bench compare --optimizers nag  # {mean}", **fields)
    final = {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean}
    rows = [
        {"method": "nag", "n": 6, "final": final, "trials": [{"seed": s} for s in range(6)]},
        {"method": "[red]hf\x1b[31m", "n": 0, "final": dict.fromkeys(final), "trials": []},
    ]
    filled.store.finish_comparison(id, "done", {"methods": rows})
    return id


def test_accept_says_what_it_takes_the_place_of(bench: Bench, filled: Filled) -> None:
    first, second = comparison(filled), comparison(filled, 0.2)
    said = bench("baseline", "accept", first[:6], "--name", "main")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"{first} is now in baseline main: curves / quick\n"
    said = bench("baseline", "accept", second, "--note", "a change of the update")
    assert said.out == f"{second} is now in baseline main: curves / quick, replaces {first}\n"


def test_show_has_the_newest_of_each_protocol_and_what_was_before(
    bench: Bench, filled: Filled
) -> None:
    first, second = comparison(filled), comparison(filled, 0.2)
    other = comparison(filled, 7.0, problem="add", parameters={"T": 30})
    bench("baseline", "accept", first, other)
    bench("baseline", "accept", second, "--note", "since the update\x1b[31m is another")
    said = bench("baseline", "show", "main")
    assert (said.code, said.err) == (0, "")
    assert "\x1b" not in said.out
    pages = said.out.strip().split("\n\n")
    assert len(pages) == 2
    lines = pages[0].splitlines()
    assert lines[0] == "curves / quick, gradients=600000"
    assert lines[1].startswith(f"{second}, accepted 20")
    assert lines[1].endswith(r"UTC: since the update\x1b[31m is another")
    assert lines[2] == "command: bench compare --optimizers nag  # 0.2"
    assert lines[3].startswith(f"earlier: {first}, accepted 20")
    assert lines[5].split() == ["nag", "6", "0.200", "0.180–0.220"]
    assert lines[6].split() == [r"[red]hf\x1b[31m", "0", "–"]
    assert pages[1].startswith("add[T=30] / quick") and "before" not in pages[1]


def test_an_unknown_name_is_told_of_the_others(bench: Bench, filled: Filled) -> None:
    said = bench("baseline", "show", "main")
    assert said.code == 2
    assert f"There is no baseline 'main' in {filled.store.redacted_url}." in said.err
    bench("baseline", "accept", comparison(filled), "--name", "main")
    said = bench("baseline", "show", "mian")
    assert (said.code, said.out) == (2, "")
    assert "did you mean 'main'? The baselines are: main." in said.err


@pytest.mark.parametrize("words", [("list", "baselines"), ("baseline", "list")])
def test_all_that_was_accepted_is_listed(
    bench: Bench, filled: Filled, words: tuple[str, str]
) -> None:
    assert "There is no baseline in" in bench(*words).err
    first, second = comparison(filled), comparison(filled)
    bench("baseline", "accept", first)
    bench("baseline", "accept", second, "--name", "release", "--note", "of May")
    said = bench(*words)
    assert (said.code, said.err) == (0, "")
    rows = [line.split() for line in said.out.splitlines()[1:]]
    assert [[row[0], *row[3:]] for row in rows] == [
        ["release", second, "curves-quick", "of", "May"],
        ["main", first, "curves-quick"],
    ]
    said = bench(*words, "--limit", "1")
    assert len(said.out.splitlines()) == 2 and "release" in said.out
    assert "These are the newest 1 of 2" in said.err


def test_what_is_not_done_is_refused(bench: Bench, filled: Filled) -> None:
    id = filled.comparison()
    said = bench("baseline", "accept", id)
    assert (said.code, said.out) == (2, "")
    assert f"{id} is running, but only a finished comparison can be accepted." in said.err
    assert bench("baseline", "accept").code == 2
    assert bench("baseline", "accept", "zzzz").code == 2


def test_none_of_it_loads_torch(filled: Filled) -> None:
    id = comparison(filled)
    script = (
        "import sys\n"
        "from bench.harness.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print({'torch', 'mlflow', 'scipy', 'matplotlib'} & {*sys.modules})"
    )
    for words in (["accept", id], ["show"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-c", script, "baseline", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert id in done.stdout
        assert done.stdout.splitlines()[-1] == "set()", done.stderr


@pytest.mark.parametrize("name", ["accept", "show"])
def test_help_shows_an_example(bench: Bench, name: str) -> None:
    assert f"Example: bench baseline {name} " in bench("baseline", name, "--help").out
