"""A suite for nightly runs: which methods on which problems, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from bench.harness.core.errors import Usage
from bench.harness.core.spec import key_of, with_parameters
from bench.harness.core.text import visible
from bench.harness.planning.preparation import Prepared, prepare
from bench.harness.planning.request import Request
from bench.optim.hyperparameters import nearest

T = TypeVar("T")
MOST = 1_000_000


@dataclass(frozen=True)
class Place:
    """Where a suite's results go, and where its data lie: what belongs to one command."""

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
    """θ after so many updates in float64, on one thread of the CPU, is a digest."""

    updates: int = 20


@dataclass(frozen=True)
class TimePlan:
    """How the time of an update is measured beside that of a reference kernel."""

    blocks: int = 15
    """Repetitions, in turn."""
    updates: int = 20
    """Of each method in a block."""


@dataclass(frozen=True)
class NoisePlan:
    """What `bench noise` runs."""

    seeds: int = 20
    """Of every comparison."""
    times: int = 20
    """Whole measurements of the time of an update."""


@dataclass(frozen=True)
class Suite:
    """What a night runs, and which baseline it is held against."""

    name: str
    parts: tuple[Part, ...]
    baseline: str = "main"
    seeds: int = 6
    """Of every comparison: 0 … seeds − 1."""
    device: str = "cpu"
    threads: int = 1
    digest: DigestPlan = DigestPlan()
    time: TimePlan = TimePlan()
    noise: NoisePlan = NoisePlan()

    @property
    def key(self) -> str:
        """SHA-256 of all that the suite asks for."""
        return key_of(asdict(self))

    @classmethod
    def read(cls, path: Path) -> Suite:
        """Read a suite; Usage says what is wrong with it, and what is allowed."""
        try:
            plain = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise Usage(f"The suite {path} cannot be read: {what}.") from error
        try:
            return cls.from_dict(plain)
        except Usage as error:
            raise Usage(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Suite:
        """Make a suite of what a TOML file says."""
        own = dict(plain)
        tables = own.pop("compare", None)
        if not isinstance(tables, list) or not tables:
            raise Usage("a suite has one or more tables [[compare]] with problem and optimizers.")
        parts = tuple(_made(Part, table, "[[compare]]") for table in tables)
        plans = {
            name: _made(of, own.pop(name, {}), f"[{name}]")
            for name, of in (("digest", DigestPlan), ("time", TimePlan), ("noise", NoisePlan))
        }
        suite = _made(cls, own, "the top of the file", parts=parts, **plans)
        if suite.device not in ("cpu", "cuda"):
            raise Usage(f"device = {suite.device!r}: allowed are 'cpu' and 'cuda'.")
        if suite.noise.seeds < 3 or suite.noise.times < 3:
            raise Usage("[noise]: nothing scatters below 3 seeds and 3 times; 20 are usual.")
        for name in ("name", "baseline"):
            value = getattr(suite, name)
            if not value.strip() or visible(value) != value:
                raise Usage(f"{name} = {visible(value)!r}: write a name such as nightly.")
        return suite

    def prepared(self, place: Place, seeds: int | None = None) -> list[Prepared]:
        """Return every part made concrete; Usage where two of them have one protocol."""
        parts = [prepare(self.request(part, place, seeds)) for part in self.parts]
        names: dict[str, str] = {}
        for part in parts:
            if part.protocol.key in names:
                raise Usage(
                    f"{name_of(part)} is there twice, under one protocol, for which a baseline has "
                    "one comparison: put all optimizers of it into one [[compare]]."
                )
            if part.protocol.budget.currency == "seconds":
                raise Usage(
                    f"{name_of(part)}: what is reached in seconds depends on the machine and on "
                    "the night; give a suite budgets in gradients, updates or examples."
                )
            names[part.protocol.key] = name_of(part)
        return parts

    def request(self, part: Part, place: Place, seeds: int | None = None) -> Request:
        """Return the request of one part's comparison, always run anew, on `seeds` or its own."""
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


def name_of(part: Prepared) -> str:
    """Return what a part is called: its problem, preset and budget."""
    problem = with_parameters(part.problem.name, part.problem.parameters)
    return f"{problem} / {part.problem.preset}, {part.protocol.budget.text}"


def _made(of: type[T], table: object, where: str, **given: Any) -> T:
    """Make a dataclass of a table's values, which have the types and names that it declares."""
    if not isinstance(table, Mapping):
        raise Usage(f"{where} is to be a table, not {table!r}.")
    types = get_type_hints(of)
    names = [field.name for field in fields(of) if field.name not in given]  # type: ignore[arg-type]
    for name, value in table.items():
        if name not in names:
            raise Usage(f"{where} has no {name!r}{nearest(name, names)} It has {', '.join(names)}.")
        if type(value) is not types[name]:
            raise Usage(f"{where}: {name} is to be {_WORDS[types[name]]}, not {value!r}.")
        if types[name] is int and not 1 <= value <= MOST:
            raise Usage(f"{where}: {name} = {value}: allowed are 1 to {MOST:,}.")
    try:
        return of(**table, **given)
    except TypeError:
        needed = [name for name in ("name", "problem", "optimizers") if name in names]
        missing = [name for name in needed if name not in table]
        raise Usage(f"{where} lacks {' and '.join(missing)}.") from None


_WORDS = {str: "a text", int: "a whole number"}
