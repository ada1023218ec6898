"""Table 5's grid on the adding problem as one fleet on a GPU, against the eager loop."""

from __future__ import annotations

import torch

from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.models.problem import DataSource
from bench.models.recurrent import SequenceProblem
from benchmarks.figures import Part, rates
from benchmarks.paper.grids import TABLES
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates import plain_rnn
from benchmarks.updates.fleets import backends, diverged, grid, updates

EAGER = "eager loop over time, SGD(fused=True), one trial"
GOAL = 100.0


def measure(smoke: bool, device: torch.device) -> Part:
    """Time an update of the whole grid by both backends."""
    table = TABLES[5]
    problem = SequenceProblem("add", "quick" if smoke else "paper")
    data = DeviceData.from_data(problem.data(DataSource(())), device, torch.float32)
    fleets = {
        f"the grid as one fleet, {backend}": grid(problem, data, table, backend)
        for backend in backends(device)
    }
    theta = initial_parameters(problem, [0], device, torch.float32)
    eager = plain_rnn.training(problem, theta, table.batch, fused=True)
    candidates = {who: updates(fleet) for who, fleet in fleets.items()}
    candidates[EAGER] = Timed(eager, 2 if smoke else 20)
    seconds = interleaved(candidates, 3 if smoke else 15, device)
    rows = len(next(iter(fleets.values())).theta)
    *_, best = fleets
    case = f"add/{problem.preset}, T = {problem.task.length}, K = {rows}, B = {table.batch}"
    gone = max(map(diverged, fleets.values()))
    return Part(
        "Table 5's grid on the adding problem as one fleet",
        [
            rates(
                f"{case}, float32",
                (who, seconds[who], rows),
                (EAGER, seconds[EAGER], 1),
                "trial-updates/s",
                goal=GOAL if who == best else None,
            )
            for who in fleets
        ],
        (
            f"The fleet: {len(table.columns)} columns × {len(table.lrs)} learning rates × "
            f"{len(table.seeds)} seeds; the rows of a seed stand together and share their "
            "sequences. An update of it is one trial-update a row, with all that the training loop "
            "does. Both draw their sequences anew on the host, from the same kind of stream.",
            f"The eager loop: {plain_rnn.PLAIN_LOOP} Autograd, "
            "torch.optim.SGD(nesterov=True, fused=True), one trial.",
            f"{gone} of {rows} rows had diverged when the timing ended.",
        ),
        ("numba", "numba-cuda"),
    )
