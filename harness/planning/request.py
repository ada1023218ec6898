"""What a person asks for, as the command line or a program writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["trials", "data"]
"""Whether ranks train a fleet each, or all of them one fleet after another, together."""


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line, as written there."""

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
    nproc_per_node: int | None = None
    mode: Mode = "trials"
    plan: str | None = None
    tune_seeds: int = 2
    extend: bool = False
    """Whether grids grow while the best value is at their edge."""
    added: list[list[str]] = field(default_factory=list)
    """What they have grown by: a point of every optimizer a round."""
    claim: Mapping[str, Any] | None = None
    """The rule that a comparison is part of: claim, version and digest, kept with its result."""
    tracking_uri: str | None = None
    """The MLflow that results are copied to; None: the one in the store's own database."""
