"""What is written down of a comparison so that it can be gone on with: its plan, and its fleets.

Whoever has the store and the files of the user's own methods and problems can run it from there:
the same command later, other processes, other machines.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.secrets import hidden, hide_passwords
from bench.harness.core.sources import source_digest
from bench.harness.core.spec import Protocol, TrialSpec, key_of
from bench.harness.planning.fleets import Candidate, Purpose, Trial
from bench.harness.planning.preparation import Prepared
from bench.harness.planning.request import Mode, Request
from bench.models.problem import Problem

HERE = ("store", "dry_run", "plan", "tracking_uri")
"""What a request says of the command that was given, and not of what is to be run."""


@dataclass(frozen=True)
class Plan:
    """A comparison as it was asked for, and what was found out before it began."""

    request: Request
    kind: Literal["comparison", "run", "tuning"]
    command: str
    """The one that repeats it."""
    argv: list[str]
    """The command line that trials are recorded under."""
    data: str
    """Digest of the data."""
    versions: dict[str, str]
    seed: int | None = None
    """Of a single run."""
    chosen: list[int] | None = None
    """The method of each optimizer that tuning chose, by its number among all of the request."""
    efforts: tuple[Mapping[str, Any], ...] = ()
    """What tuning took, for each optimizer."""
    rounds: list[str] = field(default_factory=list)
    """The tunings before this one, which tries only what was added to them."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; where the store is, and its password, is not among them."""
        plain = asdict(self)
        for name in HERE:
            del plain["request"][name]
        plain["command"] = hide_passwords(self.command)
        plain["argv"] = hidden(self.argv)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], store: str) -> Plan:
        """Read back what `as_dict` wrote, for the store where it was found."""
        request = Request(**plain["request"], store=store, dry_run=False, plan=None)
        return cls(**{**plain, "request": request, "efforts": tuple(plain["efforts"])})


def versions() -> dict[str, str]:
    """Return what must be the same wherever a plan is carried out."""
    return {"bench": importlib.metadata.version("bench-harness"), "torch": torch.__version__}


@dataclass(frozen=True)
class Task:
    """The trials of one fleet, and what of the machine decides their bits and their seconds."""

    trials: list[tuple[int, str, int, Purpose]]
    """Each by its method's number among all of the request, its label, seed and purpose."""
    digest: str
    """SHA-256 of what the trials are found by on record: keys and sources."""
    threads: int
    beside: int
    """How many other fleets are meant to run at the same time."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Task:
        """Read back what `as_dict` wrote."""
        trials = [(number, label, seed, why) for number, label, seed, why in plain["trials"]]
        return cls(**{**plain, "trials": trials})

    def of(self, methods: Sequence[Any], protocol: Protocol) -> list[Trial]:
        """Return the trials, whose methods are among all of the request."""
        chosen = [
            (Candidate(methods[number], label), seed, purpose)
            for number, label, seed, purpose in self.trials
        ]
        return [
            Trial(candidate, TrialSpec(protocol, candidate.spec, seed), purpose)
            for candidate, seed, purpose in chosen
        ]


def source_of(problem: Problem, trial: Trial) -> str:
    """Return the digest of the source that a trial runs: its method's and the problem's."""
    return source_digest(type(trial.candidate.method), *_parts(problem))


def source_of_method(trial: Trial) -> str:
    """Return the digest of the source of a trial's method alone."""
    return source_digest(type(trial.candidate.method))


def source_of_problem(problem: Problem) -> str:
    """Return the digest of the source of a problem alone."""
    return source_digest(*_parts(problem))


def _parts(problem: Problem) -> list[object]:
    made_by = problem.made_by
    return [type(problem)] if made_by is None else [type(problem), made_by]


def digest_of(problem: Problem, trials: Iterable[Trial]) -> str:
    """Return the SHA-256 of each trial's key and source."""
    return key_of([[trial.spec.key, source_of(problem, trial)] for trial in trials])


def sources_of(tasks: Iterable[Task], prepared: Prepared) -> list[str]:
    """Return what the digest of each task is here; Infrastructure where it has no such methods."""
    try:
        groups = [task.of(prepared.methods, prepared.protocol) for task in tasks]
    except IndexError:
        raise changed() from None
    return [digest_of(prepared.problem, group) for group in groups]


def changed() -> Infrastructure:
    """Return what is to be said where other trials were prepared than were planned."""
    return Infrastructure(
        "Other trials were prepared here than were planned: a file of the problem or of a method "
        "was changed since, or its data are different every time, which `bench check` shows. Give "
        "the command again that began this; what is recorded stays."
    )


@dataclass(frozen=True)
class PlanFile:
    """What ranks are given: a comparison in a store, with its plan and its fleets by number."""

    comparison_id: str
    mode: Mode
    plan: Plan
    tasks: list[Task]
    digest: str
    """SHA-256 of the file."""

    @property
    def request(self) -> Request:
        """What is to be prepared; how many threads a rank has is said by each task."""
        return replace(self.plan.request, threads=None)

    @classmethod
    def read(cls, path: Path, store: str | None) -> PlanFile:
        """Read a file that `write_plan` wrote; `store` is the store of one that does not say which.

        Usage where it is no plan, or where nothing says in which store its comparison is.
        """
        try:
            content = path.read_bytes()
            plain = json.loads(content)
            if plain["mode"] not in get_args(Mode):
                raise ValueError(plain["mode"])
            url = plain["store"] or store
            if url is None:
                raise Usage(
                    f"{path} does not say in which store its comparison is, since that has a "
                    "password: set BENCH_STORE to its URL."
                )
            return cls(
                plain["comparison"],
                plain["mode"],
                Plan.from_dict(plain["plan"], url),
                [Task.from_dict(task) for task in plain["tasks"]],
                hashlib.sha256(content).hexdigest(),
            )
        except OSError as error:
            raise Usage(f"The plan {path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise Usage(
                f"{path} is no plan of this version of bench; `bench compare --plan {path}` writes "
                "one."
            ) from error


def write_plan(
    path: Path, comparison_id: str, mode: Mode, plan: Plan, store: str | None, tasks: Sequence[Any]
) -> None:
    """Write what ranks are given; `store` is None where its URL is not for everybody to read."""
    plain = {
        "comparison": comparison_id,
        "mode": mode,
        "store": store,
        "plan": plan.as_dict(),
        "tasks": list(tasks),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain, indent=1) + "\n")
    except OSError as error:
        raise Infrastructure(
            f"The plan {path} cannot be written: {error.strerror}. Comparison {comparison_id} is "
            f"entered; `bench resume {comparison_id}` runs it."
        ) from error


def see_unchanged(plan: Plan, prepared: Prepared) -> None:
    """Raise Infrastructure where versions or data here are not those that a plan was made with."""
    here = {**versions(), "data": prepared.protocol.data_digest}
    for name, planned in {**plan.versions, "data": plan.data}.items():
        if here[name] != planned:
            what = "data with digest" if name == "data" else f"{name} version"
            raise Infrastructure(
                f"This was planned with {what} {planned}, and here is {what} {here[name]}: results "
                "would not be those of one comparison. Use the same, or give the command again "
                "that began it."
            )
