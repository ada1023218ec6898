"""The request for a comparison, from the command line or from a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

Mode = Literal["trials", "data"]
"""trials: each rank trains its own fleet. data: all ranks train each fleet together."""

Count = Annotated[int, Ge(1), Lt(2**31)]


@dataclass(frozen=True)
class Request:
    """The options of a command, as texts and numbers."""

    optimizers: str
    problem: str
    preset: str
    seeds: int | None
    tune: str
    budget: str | None
    precision: str
    timed: bool
    fresh: bool
    dry_run: bool
    device: str
    threads: int | None
    data_dir: str | None
    store: str
    no_mlflow: bool
    nproc_per_node: Count | None = None
    mode: Mode = "trials"
    plan: str | None = None
    tune_seeds: int = 2
    extend: bool = False
    """Whether grids are extended while the best value lies at their edge."""
    added: list[list[str]] = field(default_factory=list)
    """The points that extended them: for each round, one point of every optimizer."""
    claim: Mapping[str, Any] | None = None
    """The rule to which the comparison belongs (claim, version, digest), stored with its result."""
    metric: str | None = None
    """What is judged, such as "test_loss"; None: the problem's metric on training data."""
    tracking_uri: str | None = None
    """The MLflow to which results are copied; None: the one in the store's own database."""


def is_timed(request: Request) -> bool:
    """Say whether each trial runs alone on the machine: with --timed, and on a budget in seconds.

    Trials that train at the same time share the seconds. Under such a budget the more of them
    train together, the fewer updates each can make.
    """
    return request.timed or (request.budget or "").startswith("seconds=")
