"""`bench nightly`: exit codes, files, history and silence."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.harness.cli.nightly_status import is_overdue, last_night_text
from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import NightMetric, NightRecord
from bench.harness.nightly.suite import StorageOptions, Suite
from tests.harness.cli.conftest import Filled, Said
from tests.harness.recorded_nights import FIRST, HERE, digest, night, quality

Bench = Callable[..., Said]
ROOT = Path(__file__).parents[3]
WORSE = quality(state="worse", value=1.0)
FILES = ("--junit", "j.xml", "--markdown", "n.md", "--json", "n.json")


@pytest.fixture
def suite(workdir: Path) -> str:
    """A suite file in the working folder."""
    text = "name = 'nightly'\n[[compare]]\nproblem = 'curves'\noptimizers = 'nag'\n"
    (workdir / "suite.toml").write_text(text)
    return "suite.toml"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Have a suite "run" to a night that is given; what it was told is in the list."""

    def to(found: NightRecord | Exception) -> list[Any]:
        given: list[Any] = []

        def run(suite: Suite, place: StorageOptions) -> NightRecord:
            given.append((suite, place))
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr("bench.harness.nightly.night.run", run)
        return given

    return to


@pytest.mark.parametrize(
    ("found", "code", "failures"),
    [
        (night(0, quality()), 0, 0),
        (night(0, quality(), WORSE, status="changed"), 1, 1),
        (night(0, quality(state="not judged"), status="failed", reason="No data."), 4, 0),
    ],
    ids=["clean", "changed", "failed"],
)
def test_files_are_written_however_a_night_ends(
    bench: Bench,
    workdir: Path,
    suite: str,
    ran: Callable[..., list[Any]],
    found: NightRecord,
    code: int,
    failures: int,
) -> None:
    given = ran(found)
    said = bench("nightly", "run", suite, "--data-dir", "d", "--no-mlflow", *FILES)
    assert (said.code, said.err) == (code, "")
    assert "nightly against main" in said.out
    ((read, place),) = given
    assert read.name == "nightly"
    assert (place.data_dir, place.no_mlflow, place.tracking_uri) == ("d", True, None)
    assert place.store.endswith("mlruns/bench.db")
    assert ET.parse("j.xml").getroot().get("failures") == str(failures)
    assert (workdir / "n.md").read_text().startswith("## ")
    assert json.loads((workdir / "n.json").read_text())["status"] == found.status


def test_json_alone_goes_to_stdout(bench: Bench, suite: str, ran: Callable[..., list[Any]]) -> None:
    ran(night(0, WORSE, status="changed"))
    said = bench("nightly", "run", suite, "--json", "-")
    assert said.code == 1
    assert json.loads(said.out)["metrics"][0]["state"] == "worse"


@pytest.mark.parametrize("flag", ["--junit", "--markdown", "--json"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(
    bench: Bench, suite: str, ran: Callable[..., list[Any]], flag: str
) -> None:
    given = ran(night(0))
    said = bench("nightly", "run", suite, flag, "no/such/file")
    assert (said.code, said.out, given) == (4, "", [])
    assert f"{flag} no/such/file cannot be written: No such file or directory." in said.err


def test_what_an_earlier_night_wrote_is_not_taken_for_this_ones(
    bench: Bench, workdir: Path, suite: str, ran: Callable[..., list[Any]]
) -> None:
    (workdir / "j.xml").write_text("of an earlier night")
    ran(Infrastructure("The store is away."))
    said = bench("nightly", "run", suite, "--junit", "j.xml")
    assert (said.code, said.err) == (4, "bench: The store is away.\n")
    assert (workdir / "j.xml").read_text() == ""


def test_a_suite_that_is_wrong_is_refused_and_no_file_touched(bench: Bench, workdir: Path) -> None:
    (workdir / "wrong.toml").write_text("nmae = 'x'\n")
    (workdir / "j.xml").write_text("kept")
    said = bench("nightly", "run", "wrong.toml", "--junit", "j.xml")
    assert said.code == 2 and "[[compare]]" in said.err
    assert bench("nightly", "run", "none.toml").code == 2
    assert (workdir / "j.xml").read_text() == "kept"


def record(filled: Filled, *metrics: NightMetric, **given: Any) -> str:
    """Enter a night in the store that has ended."""
    usual = {"suite": "nightly", "suite_digest": "5" * 64, "baseline": "main", "commit": "c" * 40}
    uuid = filled.store.begin_night(**{**usual, **given}, info={"host": "here"})  # type: ignore[arg-type]
    filled.store.end_night(uuid, "clean", None, metrics)
    return uuid


def test_history_has_a_line_a_metric_and_says_where_it_changed(
    bench: Bench, filled: Filled
) -> None:
    for value in [0.0] * 8:
        record(filled, quality(value=value), digest(), quality(method="hf", sd=None))
    record(filled, quality(value=0.04), digest("b"), quality(method="hf", sd=None), commit="d" * 40)
    record(filled, quality(value=0.04), digest("b"), quality(method="hf", sd=None), commit="e" * 40)
    said = bench("nightly", "history")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("nightly against main: 10 on record, the last from 20")
    words = [line.split() for line in lines]
    assert words[2][3:] == [
        *("nag", "train", "squared", "error", "lower", "10", "1.04", "1", "+4.08", "%"),
        "▅▅▅▅▅▅▅▅██",
    ]
    assert words[3][3:] == ["nag", "theta", "after", "20", "updates", "equal", "10", "bbbbbbbb"]
    assert words[4][3] == "hf"
    assert lines[5].startswith("• curves / quick nag train squared error: worse by 4.0 standard")
    assert lines[5].endswith("UTC, commit dddddddddddd")
    assert lines[6].startswith("• curves / quick nag theta after 20 updates: another digest since")
    assert lines[7] == (
        "1 of these metrics cannot show changes, because their noise is unknown. `bench noise` "
        "measures it."
    )


def test_history_after_an_acceptance_is_of_the_nights_since(bench: Bench, filled: Filled) -> None:
    comparison = filled.comparison()
    key = filled.store.comparison(comparison).protocol.key
    for value in (0.0, 0.04):
        ran = comparison if value else None
        record(filled, quality(value=value, protocol_key=key, comparison_id=ran))
    assert " 2  " in bench("nightly", "history").out.splitlines()[2]
    filled.store.accept("main", comparison, None)
    assert " 1  " in bench("nightly", "history").out.splitlines()[2]


def test_a_fall_is_better_where_lower_is_and_worse_where_higher_is(
    bench: Bench, filled: Filled
) -> None:
    for value in [0.0] * 8 + [-0.04] * 2:
        higher = quality(value=value, method="up", direction="higher")
        record(filled, quality(value=value), higher)
    changes = [line for line in bench("nightly", "history").out.splitlines() if line[0:1] == "•"]
    assert ["better by 4.0" in line for line in changes] == [True, False]
    assert "worse by 4.0" in changes[1]


def test_history_of_some(bench: Bench, filled: Filled) -> None:
    for day in range(3):
        record(filled, quality(value=0.01 * day), digest())
    record(filled, quality(method="hf"), suite="other")
    record(filled, quality(method="hf"), baseline="release")

    def shown(*arguments: str) -> list[str]:
        said = bench("nightly", "history", *arguments)
        assert said.code == 0, said.err
        return [line.split()[3] for line in said.out.splitlines() if line[:6] == "curves"]

    assert sorted(shown()) == ["hf", "hf", "nag", "nag"]
    assert shown("--suite", "other") == ["hf"]
    assert shown("--baseline", "release", "--suite", "nightly") == ["hf"]
    assert shown("--suite", "nightly", "--metric", "THETA") == ["nag"]
    assert shown("--metric", "nag train squared") == ["nag"]
    assert shown("--suite", "none") == []
    assert "There is no such night" in bench("nightly", "history", "--suite", "none").err
    only = ("--suite", "nightly", "--baseline", "main", "--metric", "nag train")
    for limit in (1, 2, 3):
        said = bench("nightly", "history", "--limit", limit, *only)
        assert len(said.out.splitlines()[2].split()[-1]) == limit


def test_history_as_json(bench: Bench, filled: Filled, workdir: Path) -> None:
    uuids = [record(filled, quality(value=value)) for value in [0.0] * 8 + [0.04] * 2]
    said = bench("nightly", "history", "--json", "-")
    (suite,) = json.loads(said.out)["suites"]
    (line,) = suite["metrics"]
    assert (suite["suite"], suite["baseline"]) == ("nightly", "main")
    assert [each["night"] for each in suite["nights"]] == uuids[::-1]
    assert [each["night"] for each in line["series"]] == uuids
    assert line["changes"] == [{"night": uuids[8], "commit": "c" * 40, "size": pytest.approx(4.0)}]
    assert line["latest"]["context_digest"] == HERE
    bench("nightly", "history", "--json", "h.json")
    assert json.loads((workdir / "h.json").read_text()) == json.loads(said.out)


def test_silence_is_counted_from_the_end_of_the_last_night() -> None:
    (one,) = [night(0)]
    end = FIRST + timedelta(minutes=8)
    assert not is_overdue([one], end + timedelta(hours=26), within=26)
    assert is_overdue([one], end + timedelta(hours=26, seconds=1), within=26)
    # A night that never ended is silence, however late it began.
    assert is_overdue([night(2, ended=None, status="running"), one], end + timedelta(days=2), 26)
    assert not is_overdue([night(2), one], end + timedelta(days=2), 26)
    assert is_overdue([], end, 26)


def test_what_is_said_of_the_last_night() -> None:
    now = FIRST + timedelta(hours=10, minutes=8)
    failed = night(0, status="failed", reason="There is no data.")
    assert last_night_text([failed], now) == (
        "nightly: the last night ended 10.0 h ago, failed, at commit 000000000000; "
        "There is no data."
    )
    begun = night(0, uuid="1" * 32, ended=None, status="running", created=now - timedelta(hours=2))
    assert last_night_text([begun, replace(failed, commit=None, reason=None)], now) == (
        "nightly: the last night ended 10.0 h ago, failed, the night that began 2.0 h ago has not "
        "ended"
    )
    assert last_night_text([begun], now) == (
        "nightly: no night has ended, the night that began 2.0 h ago has not ended"
    )


class Later(datetime):
    """A clock that is two days late."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(UTC) + timedelta(days=2)


def test_status(bench: Bench, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    said = bench("nightly", "status", "--within", "26")
    assert (said.code, said.out) == (1, "")
    assert "No night is recorded in" in said.err
    record(filled, WORSE)
    said = bench("nightly", "status", "--within", "26")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("nightly: the last night ended 0.0 h ago, clean, at commit cccc")
    filled.store.begin_night("other", "5" * 64, "main", None, {})
    assert bench("nightly", "status", "--within", "26", "--suite", "nightly").code == 0
    said = bench("nightly", "status", "--within", "26")
    assert said.code == 1
    assert "bench: No night of other has ended within 26 hours." in said.err
    monkeypatch.setattr("bench.harness.cli.nightly_status.datetime", Later)
    said = bench("nightly", "status", "--within", "47.5", "--suite", "nightly")
    assert said.code == 1
    assert "No night of nightly has ended within 47.5 hours." in said.err
    assert bench("nightly", "status", "--within", "49", "--suite", "nightly").code == 0
    said = bench("nightly", "status", "--suite", "none", "--within", "1")
    assert said.code == 1 and "No night of none is recorded" in said.err


def test_names_of_anybody_are_texts(bench: Bench, filled: Filled) -> None:
    nasty = "[red]a\x1b[31m\nb"
    for letter in "ab":
        record(filled, digest(letter, method=nasty, problem=nasty), suite=nasty, commit=nasty)
    for words in (["history"], ["status", "--within", "26"]):
        said = bench("nightly", *words)
        assert said.code == 0, said.err
        assert "\x1b" not in said.out and "[red]a\\x1b[31m\\nb" in said.out


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "8785", "soon"])
def test_hours_that_are_none(bench: Bench, filled: Filled, hours: str) -> None:
    record(filled, WORSE)
    said = bench("nightly", "status", "--within", hours)
    assert said.code == 2 and hours in said.err


@pytest.mark.parametrize("what", [["history"], ["status", "--within", "26"]])
def test_without_a_store_there_is_nothing_to_say(bench: Bench, what: list[str]) -> None:
    said = bench("nightly", *what)
    assert said.code == 4 and "There is no store at" in said.err


@pytest.mark.parametrize("name", ["run", "history", "status"])
def test_help_shows_an_example(bench: Bench, name: str) -> None:
    assert f"Example: bench nightly {name} " in bench("nightly", name, "--help").out


def test_looking_at_nights_loads_neither_torch_nor_mlflow(filled: Filled) -> None:
    record(filled, quality())
    script = (
        "import sys\n"
        "from bench.harness.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print({'torch', 'mlflow', 'matplotlib'} & {*sys.modules})"
    )
    for words in (["history"], ["status", "--within", "26"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", script, "nightly", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.stdout.splitlines()[-1] == "set()", done.stderr
