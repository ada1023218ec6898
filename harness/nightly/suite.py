"""A suite for nightly runs: methods and problems from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from bench.harness.core.errors import Usage
from bench.harness.core.schema import Mismatch, validated
from bench.harness.core.spec import key_of, problem_text
from bench.harness.core.text import visible
from bench.harness.planning.preparation import PreparedRequest, prepare
from bench.harness.planning.request import Request

MAX_NUMBER = 1_000_000


def _check_name(name: str) -> str:
    if not name.strip() or visible(name) != name:
        raise ValueError("give a name such as nightly")
    return name


Count = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
Repetitions = Annotated[int, Field(ge=3, le=MAX_NUMBER)]
Name = Annotated[str, AfterValidator(_check_name)]


@dataclass(frozen=True)
class StorageOptions:
    """The options of one command: where a suite's results are stored and its data are found."""

    store: str
    data_dir: str | None = None
    no_mlflow: bool = False
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Part:
    """Methods that are compared on one problem."""

    problem: str
    optimizers: str
    preset: str = "quick"
    budget: str = ""
    """CURRENCY=AMOUNT; empty: the preset's."""


@dataclass(frozen=True)
class DigestPlan:
    """The number of float64 updates on one CPU thread after which θ gives the digest."""

    updates: Count = 20


@dataclass(frozen=True)
class TimePlan:
    """How the time of an update is measured relative to that of a reference kernel."""

    blocks: Count = 15
    """Repetitions; the methods alternate."""
    updates: Count = 20
    """Updates of each method in a block."""


@dataclass(frozen=True)
class NoisePlan:
    """The repetitions of `bench noise`."""

    seeds: Repetitions = 20
    """Seeds of every comparison."""
    times: Repetitions = 20
    """Complete measurements of the time of an update."""


@dataclass(frozen=True)
class Suite:
    """The comparisons of a night, and the baseline with which it is compared."""

    name: Name
    parts: Annotated[tuple[Part, ...], Field(alias="compare", min_length=1)]
    baseline: Name = "main"
    seeds: Count = 6
    """Every comparison has the seeds 0 … seeds − 1."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Count = 1
    digest: DigestPlan = DigestPlan()
    time: TimePlan = TimePlan()
    noise: NoisePlan = NoisePlan()

    @property
    def key(self) -> str:
        """SHA-256 of all settings of the suite."""
        return key_of(asdict(self))

    @classmethod
    def read(cls, path: Path) -> Suite:
        """Read a suite; raise Usage for a mistake in the file."""
        try:
            plain = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise Usage(f"The suite {path} cannot be read: {what}.") from error
        try:
            return cls.from_dict(plain)
        except Usage as error:
            raise Usage(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Suite:
        """Return the suite that a parsed TOML file describes."""
        if not isinstance(plain.get("compare", []), list) or not plain.get("compare"):
            raise Usage(
                "a suite needs at least one table [[compare]] with the keys problem and optimizers."
            )
        try:
            return validated(cls, dict(plain))
        except Mismatch as fault:
            raise Usage(f"{fault}.") from None

    def prepare_parts(
        self, place: StorageOptions, seeds: int | None = None
    ) -> list[PreparedRequest]:
        """Prepare every part; raise Usage if two parts have the same protocol."""
        parts = [prepare(self.request(part, place, seeds)) for part in self.parts]
        names: dict[str, str] = {}
        for part in parts:
            if part.protocol.key in names:
                raise Usage(
                    f"{part_name(part)} appears twice with the same protocol, for which a baseline "
                    "has one comparison. Put all its optimizers into one [[compare]]."
                )
            if part.protocol.budget.currency == "seconds":
                raise Usage(
                    f"{part_name(part)}: a budget in seconds gives other results on every machine "
                    "and night. Give a suite budgets in gradients, updates or examples."
                )
            names[part.protocol.key] = part_name(part)
        return parts

    def request(self, part: Part, place: StorageOptions, seeds: int | None = None) -> Request:
        """Return the request of one part's comparison, which reuses no recorded trial."""
        return Request(
            optimizers=part.optimizers,
            problem=part.problem,
            preset=part.preset,
            seeds=self.seeds if seeds is None else seeds,
            tune="none",
            budget=part.budget or None,
            precision="fp32",
            timed=False,
            fresh=True,
            dry_run=False,
            device=self.device,
            threads=self.threads,
            data_dir=place.data_dir,
            store=place.store,
            no_mlflow=place.no_mlflow,
            tracking_uri=place.tracking_uri,
        )


def part_name(part: PreparedRequest) -> str:
    """Return the name of a part: its problem, preset and budget."""
    problem = problem_text(part.problem.name, part.protocol.parameters)
    return f"{problem} / {part.problem.preset}, {part.protocol.budget.text}"
