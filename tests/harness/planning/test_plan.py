"""What is written of a comparison, so that others can run it: all of it, and no password."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.spec import Budget, canonical_json, key_of
from bench.harness.execution.torchrun import write_plan_file
from bench.harness.execution.worker import require_same_inputs
from bench.harness.planning.fleets import make_methods, make_protocol
from bench.harness.planning.plan import (
    FleetPlan,
    Plan,
    PlanFile,
    check_unchanged,
    task_digests,
    trials_digest,
    versions,
    write_plan,
)
from bench.harness.planning.request import Request
from bench.models.problem import DataSource
from bench.optim.text import parse
from tests.harness.small import make, request

STORE = "sqlite:////somewhere/bench.db"
ID = "0a1b2c3d"
PROBLEM = make("quick")
DATA = PROBLEM.data(DataSource(()))
PROTOCOL = make_protocol(PROBLEM, DATA, Budget("updates", 100.0), "fp32")

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
MAYBE_TEXT = st.none() | TEXT
REQUESTS = st.builds(
    Request,
    optimizers=TEXT,
    problem=TEXT,
    preset=TEXT,
    seeds=st.none() | st.integers(1, 999_999),
    tune=TEXT,
    budget=MAYBE_TEXT,
    precision=st.sampled_from(["fp32", "tf32", "fp64"]),
    timed=st.booleans(),
    fresh=st.booleans(),
    dry_run=st.just(False),
    device=st.sampled_from(["auto", "cpu", "cuda"]),
    threads=st.none() | st.integers(1, 64),
    data_dir=MAYBE_TEXT,
    store=st.just(STORE),
    no_mlflow=st.booleans(),
    nproc_per_node=st.none() | st.integers(1, 8),
    mode=st.sampled_from(["trials", "data"]),
    plan=st.none(),
    tune_seeds=st.integers(1, 9),
    extend=st.booleans(),
    added=st.lists(st.lists(TEXT, max_size=2), max_size=2),
    claim=st.none() | st.dictionaries(TEXT, st.integers(0, 9) | TEXT, max_size=2),
)
EFFORTS = st.dictionaries(TEXT, st.floats(-1e9, 1e9) | st.none() | TEXT, max_size=2)
PLANS = st.builds(
    Plan,
    request=REQUESTS,
    kind=st.sampled_from(["comparison", "run", "tuning"]),
    command=st.sampled_from(["bench compare --optimizers nag", "bench run --seed 3"]),
    argv=st.lists(st.sampled_from(["bench", "compare", "--seeds", "2"]), max_size=4),
    data=TEXT,
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
    seed=st.none() | st.integers(0, 999_999),
    chosen=st.none() | st.lists(st.integers(0, 99), max_size=4),
    efforts=st.lists(EFFORTS, max_size=2).map(tuple),
    rounds=st.lists(TEXT, max_size=2),
)
TASKS = st.builds(
    FleetPlan,
    trials=st.lists(
        st.tuples(st.integers(0, 9), TEXT, st.integers(0, 9), st.sampled_from(["reported"])),
        min_size=1,
    ),
    digest=TEXT,
    threads=st.integers(1, 64),
    beside=st.integers(0, 8),
)


def plan(**given: Any) -> Plan:
    usual: dict[str, Any] = {
        "request": request(STORE),
        "kind": "comparison",
        "command": "bench compare --optimizers nag",
        "argv": ["bench", "compare", "--optimizers", "nag"],
        "data": DATA.digest,
        "versions": versions(),
        "chosen": [0],
    }
    return Plan(**{**usual, **given})


@given(PLANS)
def test_a_plan_is_read_back_as_it_was_entered(made: Plan) -> None:
    # The store keeps canonical JSON, in which 1.0 is 1.
    assert Plan.from_dict(json.loads(canonical_json(made.as_dict())), STORE) == made


@given(TASKS)
def test_a_fleet_is_read_back_as_it_was_entered(made: FleetPlan) -> None:
    assert FleetPlan.from_dict(json.loads(canonical_json(made.as_dict()))) == made


@given(PLANS, st.lists(TASKS, min_size=1, max_size=3), st.sampled_from(["trials", "data"]))
def test_a_file_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, made: Plan, tasks: list[FleetPlan], mode: Any
) -> None:
    path = tmp_path_factory.mktemp("plans") / "new" / "plan.json"
    write_plan(path, ID, mode, made, STORE, [task.as_dict() for task in tasks])
    read = PlanFile.read(path, None)
    assert (read.comparison_id, read.mode, read.plan, read.tasks) == (ID, mode, made, tasks)
    # A rank has as many threads as each task says; it prepares what was asked for otherwise.
    assert read.request == replace(made.request, threads=None)
    assert PlanFile.read(path, None).digest == read.digest
    write_plan(path, ID, mode, replace(made, data=made.data + "x"), STORE, [])
    assert PlanFile.read(path, None).digest != read.digest


def test_the_store_that_a_file_names_is_the_one(tmp_path: Path) -> None:
    """The comparison is in no other, whatever the environment names."""
    path = tmp_path / "plan.json"
    write_plan(path, ID, "trials", plan(), STORE, [])
    assert PlanFile.read(path, None).request.store == STORE
    assert PlanFile.read(path, "sqlite:///other.db").request.store == STORE
    write_plan(path, ID, "trials", plan(), None, [])
    assert PlanFile.read(path, "sqlite:///other.db").request.store == "sqlite:///other.db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:s3cret@host/bench",
        "postgresql+psycopg://host/bench?user=me&password=s3cret",
    ],
)
def test_a_password_is_in_no_plan(url: str, tmp_path: Path, monkeypatch: Any) -> None:
    asked = ["bench", "compare", "--optimizers", "nag", "--store", url, f"--store={url}"]
    made = plan(request=request(url), argv=asked, command=" ".join(asked), kind="tuning")
    assert "s3cret" not in canonical_json(made.as_dict())
    store = SimpleNamespace(
        url=url, redacted_url="***", fleets=lambda id: [], artifacts=tmp_path / "a"
    )
    run: Any = SimpleNamespace(store=store, comparison_id=ID)
    path = write_plan_file(run, made, "trials", None)
    assert "s3cret" not in path.read_text()
    with pytest.raises(Usage, match=r"does not name the store .* Set BENCH_STORE to the URL\."):
        PlanFile.read(path, None)
    assert PlanFile.read(path, url).request.store == url


def test_a_store_without_password_is_named(tmp_path: Path) -> None:
    store = SimpleNamespace(
        url=STORE, redacted_url=STORE, fleets=lambda id: [], artifacts=tmp_path / "a"
    )
    run: Any = SimpleNamespace(store=store, comparison_id=ID)
    path = write_plan_file(run, plan(), "data", tmp_path / "mine.json")
    assert path == tmp_path / "mine.json"
    assert (PlanFile.read(path, None).request.store, PlanFile.read(path, None).mode) == (
        STORE,
        "data",
    )


WHOLE = {
    "comparison": ID, "mode": "trials", "store": STORE, "plan": plan().as_dict(), "tasks": [],
}  # fmt: skip


def without(whole: Mapping[str, Any], *path: str) -> dict[str, Any]:
    first, *rest = path
    if rest:
        return {**whole, first: without(whole[first], *rest)}
    return {key: value for key, value in whole.items() if key != first}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"not JSON",
        b"[]",
        b"5",
        b"null",
        b'"plan"',
        b"{}",
        *(json.dumps(without(WHOLE, key)).encode() for key in WHOLE),
        json.dumps({**WHOLE, "plan": []}).encode(),
        json.dumps({**WHOLE, "plan": {**WHOLE["plan"], "later": 1}}).encode(),  # type: ignore[dict-item]
        json.dumps(without(WHOLE, "plan", "request", "optimizers")).encode(),
        json.dumps(without(WHOLE, "plan", "versions")).encode(),
        json.dumps({**WHOLE, "tasks": [{}]}).encode(),
        json.dumps({**WHOLE, "tasks": 3}).encode(),
        json.dumps({**WHOLE, "tasks": [{"trials": [[0]]}]}).encode(),
        json.dumps({**WHOLE, "mode": "both"}).encode(),
        json.dumps(WHOLE)[:-20].encode(),
    ],
)
def test_what_is_no_plan_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(Usage) as refused:
        PlanFile.read(path, None)
    said = str(refused.value)
    assert said.startswith(f"{path} is not a plan of this version of bench")
    assert said.endswith(f". `bench compare --plan {path}` writes one.")


TASK = {"trials": [[0, "nag", 0, "reported"]], "digest": "d", "threads": 1, "beside": 0}


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        ("comparison", 3, "comparison = 3: a text is allowed"),
        ("mode", "both", "mode = \"both\": 'trials' or 'data' is allowed"),
        ("later", 3, "there is no 'later'"),
        ("plan.kind", "claim", 'kind = "claim"'),
        ("plan.chosen", [-1], "chosen[1] = -1: at least 0 is allowed"),
        ("plan.chosen", [True], "chosen[1] = true: a whole number is allowed"),
        ("plan.seed", 2**53, "seed = 9007199254740992: less than"),
        ("plan.argv", "bench", 'argv = "bench": a list is allowed'),
        ("plan.versions", {"bench": 3}, "versions.bench = 3: a text is allowed"),
        ("plan.request", 3, "request is missing"),
        ("plan.request.seeds", 3.5, "request.seeds = 3.5: a whole number is allowed"),
        ("plan.request.timed", 1, "request.timed = 1: true or false is allowed"),
        ("plan.request.store", "sqlite:////etc/bench.db", "names a store"),
        ("plan.request.opitmizers", "nag", "request has no 'opitmizers'; did you mean"),
        ("tasks", [{**TASK, "threads": "1"}], 'tasks[1].threads = "1": a whole number'),
        ("tasks", [{**TASK, "threads": 0}], "tasks[1].threads = 0: at least 1 is allowed"),
        ("tasks", [{**TASK, "trials": []}], "tasks[1].trials = []: at least 1 are needed"),
        ("tasks", [{**TASK, "trials": [[-1, "nag", 0, "reported"]]}], "tasks[1].trials[1][1] = -1"),
        ("tasks", [{**TASK, "trials": [[0, "nag", 0]]}], "tasks[1].trials[1][4] is missing"),
    ],
)
def test_a_field_of_another_form_is_named(
    where: str, value: Any, told: str, tmp_path: Path
) -> None:
    *outer, name = where.split(".")
    whole = json.loads(json.dumps(WHOLE))
    part = whole
    for key in outer:
        part = part[key]
    part[name] = value
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(whole))
    with pytest.raises(Usage, match=re.escape(told)):
        PlanFile.read(path, None)


@pytest.mark.parametrize(
    ("make_it", "why"), [(None, "No such file"), (Path.mkdir, "Is a directory")]
)
def test_a_file_that_cannot_be_read(make_it: Any, why: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    if make_it is not None:
        make_it(path)
    with pytest.raises(Usage, match=f"^The plan {path} cannot be read: {why}"):
        PlanFile.read(path, None)


def test_a_file_that_cannot_be_written_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Infrastructure) as told:
        write_plan(tmp_path / "file" / "plan.json", ID, "trials", plan(), STORE, [])
    assert "cannot be written" in str(told.value)
    assert f"`bench resume {ID}` runs it" in str(told.value)


def test_trials_of_a_task_are_those_of_the_request() -> None:
    every = [
        method
        for text in ("nag[lr=0.1|0.2]", "hf")
        for method in make_methods(parse(text), PROBLEM, PROTOCOL.budget, "cpu")
    ]
    task = FleetPlan([(2, "hf", 1, "reported"), (1, "nag", 0, "tuning")], "", 1, 0)
    trials = task.of(every, PROTOCOL)
    assert [t.candidate.method for t in trials] == [every[2], every[1]]
    assert [t.candidate.label for t in trials] == ["hf", "nag"]
    assert [t.purpose for t in trials] == ["reported", "tuning"]
    assert [(t.spec.seed, t.spec.method.hyperparameters.get("lr")) for t in trials] == [
        (1, None), (0, 0.2),
    ]  # fmt: skip
    assert all(t.spec.protocol is PROTOCOL for t in trials)


def of_two(text: str, other: str) -> Any:
    every = [method for each in (text, other) for method in make_methods(parse(each), *OF)]
    return SimpleNamespace(protocol=PROTOCOL, methods=every, problem=PROBLEM)


OF = (PROBLEM, PROTOCOL.budget, "cpu")
PLANNED = [
    FleetPlan([(0, "nag", 0, "reported"), (0, "nag", 1, "reported")], "", 1, 0),
    FleetPlan([(1, "mine", 0, "reported")], "", 1, 0),
]


def test_a_digest_tells_apart_what_trials_are_found_by(workdir: Path) -> None:
    """Their methods, seeds and order, and the files of methods; what they are called is no part."""
    file, mine = workdir / "mine.py", "./mine.py:Mine"
    file.write_text(MINE)
    found = task_digests(PLANNED, of_two("nag", mine))
    assert found == task_digests(PLANNED, of_two("nag", mine)) and len(set(found)) == 2
    called = [replace(PLANNED[0], trials=[(0, "other", 0, "tuning"), (0, "nag", 1, "tuning")])]
    assert task_digests(called, of_two("nag", mine)) == found[:1]
    turned = [replace(PLANNED[0], trials=PLANNED[0].trials[::-1]), *PLANNED[1:]]
    assert [
        a == b for a, b in zip(task_digests(turned, of_two("nag", mine)), found, strict=True)
    ] == [
        False,
        True,
    ]
    other = task_digests(PLANNED, of_two("nag[lr=0.5]", mine))
    assert (other[0] == found[0], other[1] == found[1]) == (False, True)
    file.write_text(MINE + "# Edited.\n")
    edited = task_digests(PLANNED, of_two("nag", mine))
    assert (edited[0] == found[0], edited[1] == found[1]) == (True, False)
    trials = PLANNED[0].of(of_two("nag", mine).methods, PROTOCOL)
    assert found[0] == trials_digest(PROBLEM, iter(trials))


def test_methods_that_are_not_there_are_told() -> None:
    fewer = SimpleNamespace(
        protocol=PROTOCOL, methods=make_methods(parse("nag"), *OF), problem=PROBLEM
    )
    with pytest.raises(Infrastructure, match="^The trials here differ from the planned ones"):
        task_digests(PLANNED, fewer)  # type: ignore[arg-type]


# Ranks that are to be alike

MINE = """
from tests.harness.plugins import Watcher

class Mine(Watcher):
    name = "mine"
"""


class Pair:
    """Rank 0, and then rank 1 with what rank 0 has said."""

    def __init__(self) -> None:
        self.rank, self.size, self._said = 0, 2, None

    def broadcast(self, value: Any) -> Any:
        if self.rank == 0:
            self._said = value
        return self._said

    def any(self, *flags: bool) -> list[bool]:
        return list(flags)


def plan_file(prepared: Any) -> PlanFile:
    digests = task_digests(PLANNED, prepared)
    tasks = [replace(task, digest=one) for task, one in zip(PLANNED, digests, strict=True)]
    return PlanFile(ID, "trials", plan(), tasks, "a" * 64)


def test_a_rank_with_other_files_is_named_before_anything_is_run(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workdir / "mine.py").write_text(MINE)
    prepared, ranks, said = of_two("nag", "./mine.py:Mine"), Pair(), list[str]()
    monkeypatch.setattr("bench.harness.execution.worker.say", said.append)
    file = plan_file(prepared)
    for ranks.rank in (0, 1):
        require_same_inputs(ranks, file, prepared)  # type: ignore[arg-type]
    assert said == []
    there = key_of(task_digests(PLANNED, prepared))
    (workdir / "mine.py").write_text(MINE + "# Edited.\n")
    edited = of_two("nag", "./mine.py:Mine")
    with pytest.raises(Infrastructure, match="^Rank 1 .* ends, because the ranks differ"):
        require_same_inputs(ranks, file, edited)  # type: ignore[arg-type]
    (sentence,) = said
    here = key_of(task_digests(PLANNED, edited))
    assert f"has files of methods and problem with digest {here}, and rank 0" in sentence
    assert f"has {there}: all ranks of a run must have the same. Nothing was run." in sentence


def test_ranks_that_are_alike_but_not_what_was_planned_are_refused(workdir: Path) -> None:
    (workdir / "mine.py").write_text(MINE)
    file, ranks = plan_file(of_two("nag", "./mine.py:Mine")), Pair()
    (workdir / "mine.py").write_text(MINE + "# Edited.\n")
    edited = of_two("nag", "./mine.py:Mine")
    for ranks.rank in (0, 1):
        with pytest.raises(Infrastructure, match="^The trials here differ from the planned ones"):
            require_same_inputs(ranks, file, edited)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ({"bench": "9.9"}, ["bench version 9.9", f"bench version {versions()['bench']}"]),
        ({"torch": "1.0"}, ["torch version 1.0", f"torch version {torch.__version__}"]),
        ({"data": "f" * 64}, ["data with digest " + "f" * 64, f"data with digest {DATA.digest}"]),
    ],
)
def test_another_version_or_other_data_are_named(there: dict[str, str], named: list[str]) -> None:
    prepared: Any = SimpleNamespace(protocol=PROTOCOL)
    check_unchanged(plan(), prepared)
    made = plan(
        data=there.get("data", DATA.digest),
        versions={name: there.get(name, value) for name, value in versions().items()},
    )
    with pytest.raises(Infrastructure) as told:
        check_unchanged(made, prepared)
    assert all(name in str(told.value) for name in named)
