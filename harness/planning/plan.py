"""The stored plan of a comparison and of its fleets.

With the store and the files of the user's own methods and problems, the plan can be run by the
same command later, by other processes, or on other machines.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt, MinLen

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.schema import Mismatch, validated
from bench.harness.core.secrets import redacted_urls, redacted_words
from bench.harness.core.sources import not_covered, source_digest
from bench.harness.core.spec import Protocol, TrialSpec, key_of
from bench.harness.planning.fleets import Candidate, Purpose, Trial
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.planning.request import Mode, Request
from bench.models.problem import Problem

NOT_STORED = ("store", "dry_run", "plan", "tracking_uri")
"""Fields of a request that belong to the command and not to the comparison."""
Number = Annotated[int, Ge(0), Lt(2**31)]
"""The place of a method among all of the request, or a count."""
Seed = Annotated[int, Ge(0), Lt(2**53)]


@dataclass(frozen=True)
class Plan:
    """A requested comparison, and what was determined before it began."""

    request: Request
    kind: Literal["comparison", "run", "tuning"]
    command: str
    """The command that repeats it."""
    argv: list[str]
    """The command line that is recorded with the trials."""
    data: str
    """Digest of the data."""
    versions: dict[str, str]
    seed: Seed | None = None
    """The seed of a single run."""
    chosen: list[Number] | None = None
    """For each optimizer, the number of the method that tuning chose, among all of the request."""
    efforts: tuple[Mapping[str, Any], ...] = ()
    """For each optimizer, the effort and the result of its tuning."""
    rounds: list[str] = field(default_factory=list)
    """Ids of the earlier rounds of tuning; this one tries only the points that they did not."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the URL of the store and without passwords."""
        plain = asdict(self)
        for name in NOT_STORED:
            del plain["request"][name]
        plain["command"] = redacted_urls(self.command)
        plain["argv"] = redacted_words(self.argv)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], store: str) -> Plan:
        """Read the values that `as_dict` returned, for the store in which they were found.

        Raises Mismatch if they are not those of a plan.
        """
        request = plain.get("request")
        if not isinstance(request, Mapping) or set(request) & {*NOT_STORED}:
            raise Mismatch("request is missing, or names a store")
        own = {"store": store, "dry_run": False, "plan": None, "tracking_uri": None}
        return validated(cls, {**plain, "request": {**request, **own}})


def versions() -> dict[str, str]:
    """Return the versions that must be the same wherever a plan runs."""
    return {"bench": importlib.metadata.version("bench-harness"), "torch": torch.__version__}


@dataclass(frozen=True)
class FleetPlan:
    """The trials of one fleet, and the settings that decide their last bits and their seconds."""

    trials: Annotated[list[tuple[Number, str, Seed, Purpose]], MinLen(1)]
    """For each trial: the number of its method among all of the request, label, seed, purpose."""
    digest: str
    """SHA-256 of the keys and sources by which recorded trials are found."""
    threads: Annotated[int, Ge(1), Lt(2**31)]
    beside: Number
    """The number of other fleets that are planned to run at the same time."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FleetPlan:
        """Read the values that `as_dict` returned; raise Mismatch if they are others."""
        return validated(cls, plain)

    def of(self, methods: Sequence[Any], protocol: Protocol) -> list[Trial]:
        """Return the trials; `methods` are all methods of the request, in order."""
        chosen = [
            (Candidate(methods[number], label), seed, purpose)
            for number, label, seed, purpose in self.trials
        ]
        return [
            Trial(candidate, TrialSpec(protocol, candidate.spec, seed), purpose)
            for candidate, seed, purpose in chosen
        ]


def trial_source(problem: Problem, trial: Trial) -> str:
    """Return the digest of a trial's sources: its method's and the problem's."""
    return source_digest(type(trial.candidate.method), *_parts(problem))


def method_source(trial: Trial) -> str:
    """Return the digest of the source of a trial's method."""
    return source_digest(type(trial.candidate.method))


def problem_source(problem: Problem) -> str:
    """Return the digest of the source of a problem."""
    return source_digest(*_parts(problem))


def uncovered(problem: Problem, method: Any = None) -> list[str]:
    """Return what the digests of a problem's, and a method's, source do not cover, in words."""
    return not_covered(*([] if method is None else [type(method)]), *_parts(problem))


def source_notes(problem: Problem, methods: Iterable[Any]) -> list[str]:
    """Return the notes beside a result on sources that are not covered, at most one."""
    found = dict.fromkeys(uncovered(problem))
    for method in methods:
        found |= dict.fromkeys(not_covered(type(method)))
    if not found:
        return []
    return [
        "The digests of the sources do not cover "
        f"{in_words(list(found))}. If that changes, old results are used nevertheless; --fresh "
        "trains anew."
    ]


def in_words(parts: Sequence[str], most: int = 4) -> str:
    """Return a list as a part of a sentence.

    >>> in_words(["a", "b", "c"])
    'a; b; and c'
    """
    shown = list(parts[:most])
    if len(parts) > most:
        shown.append(f"{len(parts) - most} more")
    return "; ".join(shown) if len(shown) < 2 else f"{'; '.join(shown[:-1])}; and {shown[-1]}"


def _parts(problem: Problem) -> list[object]:
    makers = [each for each in (problem.made_by, problem.entry) if each is not None]
    return [type(problem), *({id(each): each for each in makers}.values())]


def trials_digest(problem: Problem, trials: Iterable[Trial]) -> str:
    """Return the SHA-256 over the key and the source digest of each trial."""
    return key_of([[trial.spec.key, trial_source(problem, trial)] for trial in trials])


def task_digests(tasks: Iterable[FleetPlan], prepared: PreparedRequest) -> list[str]:
    """Return the digest that each fleet has here; raise Infrastructure if a method is missing."""
    try:
        groups = [task.of(prepared.methods, prepared.protocol) for task in tasks]
    except IndexError:
        raise changed_error() from None
    return [trials_digest(prepared.problem, group) for group in groups]


def changed_error() -> Infrastructure:
    """Return the error for trials that differ from the planned ones."""
    return Infrastructure(
        "The trials here differ from the planned ones. Either a file of the problem or of a method "
        "has changed since, or the data differ at every load; `bench check` shows that. Repeat the "
        "command that began this comparison; recorded trials are kept."
    )


@dataclass(frozen=True)
class PlanFile:
    """The plan file for ranks: a comparison in a store, with its plan and its fleets."""

    comparison_id: str
    mode: Mode
    plan: Plan
    tasks: list[FleetPlan]
    digest: str
    """SHA-256 of the file."""

    @property
    def request(self) -> Request:
        """The request to prepare; the threads of a rank are part of each fleet's plan."""
        return replace(self.plan.request, threads=None)

    @classmethod
    def read(cls, path: Path, store: str | None) -> PlanFile:
        """Read a file that `write_plan` wrote; `store` is used if the file names no store.

        Raises Usage if the file is no plan, or if neither it nor `store` gives the store.
        """
        try:
            content = path.read_bytes()
            read = validated(_PlanContent, json.loads(content))
            # The URL of a store may hold a password, so that the file does not name it.
            plan = Plan.from_dict(read.plan, read.store or store or "")
        except OSError as error:
            raise Usage(f"The plan {path} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            why = f" ({error})" if isinstance(error, Mismatch) else ""
            raise Usage(
                f"{path} is not a plan of this version of bench{why}. `bench compare --plan "
                f"{path}` writes one."
            ) from error
        if not plan.request.store:
            raise Usage(
                f"{path} does not name the store of its comparison, because the URL has a "
                "password. Set BENCH_STORE to the URL."
            )
        digest = hashlib.sha256(content).hexdigest()
        return cls(read.comparison, read.mode, plan, read.tasks, digest)


@dataclass(frozen=True)
class _PlanContent:
    """What stands in a plan file."""

    comparison: str
    mode: Mode
    store: str | None
    plan: dict[str, Any]
    tasks: list[FleetPlan]


def write_plan(
    path: Path, comparison_id: str, mode: Mode, plan: Plan, store: str | None, tasks: Sequence[Any]
) -> None:
    """Write the plan file for ranks; `store` is None if its URL holds a password."""
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
            f"in the store; `bench resume {comparison_id}` runs it."
        ) from error


def check_unchanged(plan: Plan, prepared: PreparedRequest) -> None:
    """Raise Infrastructure if the versions or the data here differ from those of the plan."""
    there = {**plan.versions, "data": plan.data}
    here = {**versions(), "data": prepared.protocol.data_digest}
    for name in {**here, **there}:
        if (planned := there.get(name)) != here.get(name):
            what = "data with digest" if name == "data" else f"{name} version"
            raise Infrastructure(
                f"The plan was made with {what} {planned}, but this machine has {what} "
                f"{here.get(name)}. The results would not be comparable. Use the same {name}, or "
                "repeat the command that began this comparison."
            )
