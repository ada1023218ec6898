"""What a trial is made from, besides protocol, method and context: all that its result rests on."""

from __future__ import annotations

import hashlib
import json

from jaxtyping import Float
from torch import Tensor

from bench.harness.core.records import Certificate
from bench.harness.core.secrets import hide_passwords
from bench.harness.core.seeds import seed_plan
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import source_of_method, source_of_problem
from bench.models.layout import Layout
from bench.models.problem import Problem


def certify(
    problem: Problem, trial: Trial, theta: Float[Tensor, " P"], command: str
) -> Certificate:
    """Return the certificate of a trial that starts at `theta`; `command` makes it again."""
    return Certificate(
        theta=theta_digest(problem.layout, theta),
        method_source=source_of_method(trial),
        problem_source=source_of_problem(problem),
        seeds=seed_plan(trial.spec.seed),
        command=hide_passwords(command),
    )


def theta_digest(layout: Layout, theta: Float[Tensor, " P"]) -> str:
    """Return the SHA-256 of names, shapes, type and values of the parameters, without padding.

    It is the same on any device, and whatever rows stand beside this one.
    """
    found = hashlib.sha256()
    for name, view in layout.views(theta.detach().cpu()).items():
        head = [name, list(view.shape), str(view.dtype).removeprefix("torch.")]
        found.update(json.dumps(head).encode())
        values = view.contiguous().numpy()
        found.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    return found.hexdigest()
