"""The certificate of a trial: everything that its result depends on."""

from __future__ import annotations

import hashlib
import json

from jaxtyping import Float
from torch import Tensor

from bench.harness.core.records import Certificate
from bench.harness.core.secrets import redacted_urls
from bench.harness.core.seeds import seed_plan
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import method_source, problem_source
from bench.models.layout import Layout
from bench.models.problem import Problem


def certify(
    problem: Problem, trial: Trial, theta: Float[Tensor, " P"], command: str
) -> Certificate:
    """Return the certificate of a trial that starts at `theta`; `command` repeats the trial."""
    return Certificate(
        theta=theta_digest(problem.layout, theta),
        method_source=method_source(trial),
        problem_source=problem_source(problem),
        seeds=seed_plan(trial.spec.seed),
        command=redacted_urls(command),
    )


def theta_digest(layout: Layout, theta: Float[Tensor, " P"]) -> str:
    """Return the SHA-256 of names, shapes, type and values of the parameters, without padding.

    It does not depend on the device or on the other rows of the fleet.
    """
    found = hashlib.sha256()
    for name, view in layout.views(theta.detach().cpu()).items():
        head = [name, list(view.shape), str(view.dtype).removeprefix("torch.")]
        found.update(json.dumps(head).encode())
        values = view.contiguous().numpy()
        found.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    return found.hexdigest()
