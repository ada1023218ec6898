"""One Gauss–Newton product, its set-up spread over a CG run, in units of one gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.harness.training.bound_objective import initial_parameters
from bench.models.deep_autoencoders import DeepAutoencoder
from bench.models.problem import Problem
from bench.models.recurrent import SequenceProblem
from bench.optim.hessian_free.cg import Vectors, conjugate_gradients
from benchmarks.figures import NOT_INSTALLED, Figure, Part, figure, installed, thread_counts
from benchmarks.hessian_free.gauss_newton import CACHED, OURS, Linearize, ours, products
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates.fleets import load
from benchmarks.updates.plain import cross_entropy, sequential
from benchmarks.updates.plain_rnn import PLAIN_LOOP, gradients, sequences

SPREAD_OVER = 30
SEQUENTIAL = "autograd gradient of nn.Sequential"
CG_STEP = "a CG step without its product"
PEERS = ("backpack-for-pytorch", "curvlinops-for-pytorch")
CASES = 1000, 100
SEQUENCES = 100, 4
GOALS = {
    ("curves", OURS): {1000: 1.25, 100: 1.25},
    ("curves", CACHED): {1000: 1.4, 100: 1.4},
    ("add", OURS): {100: 0.95, 4: 0.55},
    ("add", CACHED): {100: 1.4},
}
"""(Problem, means) → batch size → the ratio is to be at most this."""


def measure(smoke: bool, device: torch.device) -> Part:
    """Time set-up, product and gradient of both kinds of networks at each batch size."""
    preset, length, rounds = ("quick", 20, 3) if smoke else ("paper", 80, 40)
    cases, sequences = (CASES[1:], SEQUENCES[1:]) if smoke else (CASES, SEQUENCES)
    autoencoder, data = load(preset, device)
    figures = []
    for threads in thread_counts(smoke, device):
        torch.set_num_threads(threads)
        for batch in cases:
            figures += _autoencoder(autoencoder, data.train.inputs[0, :batch], rounds)
        for batch in sequences:
            figures += _recurrent(SequenceProblem("add", preset, T=length), batch, device, rounds)
    missing = [name for name in PEERS if installed(name) == NOT_INSTALLED]
    return Part(
        "A Gauss–Newton product",
        figures,
        (
            f"Seconds are those of one product plus 1/{SPREAD_OVER} of the linearisation at θ, "
            "which a CG run makes once; the unit is one forward and backward pass of the same "
            "network through autograd on the same cases, as a PyTorch user writes it. A round is "
            "one linearisation, 3 products and 2 gradients.",
            f"The recurrent network has 100 tanh units. {PLAIN_LOOP}",
            f"For {CG_STEP}: CG for {SPREAD_OVER} steps on a diagonal matrix, "
            "preconditioned, iterates kept; the multiplication by the diagonal is counted.",
            *(f"{name}: {NOT_INSTALLED}." for name in missing),
        ),
        PEERS,
    )


def _autoencoder(problem: DeepAutoencoder, inputs: Tensor, rounds: int) -> list[Figure]:
    theta, v = _start_and_direction(problem, inputs.device)
    model = sequential(problem, theta)
    parameters = list(model.parameters())

    def gradient() -> object:
        return torch.autograd.grad(cross_entropy(model(inputs), inputs), parameters)

    return _figures(
        problem,
        len(inputs),
        products(problem, theta, inputs, v),
        {SEQUENTIAL: gradient},
        {CG_STEP: _cg_run(v)},
        rounds,
        inputs.device,
    )


def _recurrent(
    problem: SequenceProblem, batch: int, device: torch.device, rounds: int
) -> list[Figure]:
    theta, v = _start_and_direction(problem, device)
    inputs, targets = sequences(problem, batch, device)
    return _figures(
        problem,
        batch,
        ours(problem, theta, inputs[None], targets[None], v),
        gradients(problem, theta, inputs, targets),
        {},
        rounds,
        device,
    )


def _figures(
    problem: Problem,
    batch: int,
    means: Mapping[str, Linearize],
    gradients: Mapping[str, Callable[[], object]],
    cg: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
) -> list[Figure]:
    """Time everything in turns; the unit is the first of the gradients."""
    candidates = {name: Timed(call, 2) for name, call in gradients.items()}
    candidates |= {name: Timed(call) for name, call in cg.items()}
    for name, linearize in means.items():
        candidates[f"set-up: {name}"] = Timed(linearize)
        candidates[name] = Timed(linearize(), 3)
    seconds = interleaved(candidates, rounds, device)
    unit, *others = gradients
    parameters = "".join(f", {k} = {v}" for k, v in problem.parameters.items())
    case = f"{problem.name}/{problem.preset}{parameters}, B = {batch}"
    spread = {
        name: [
            product + setup / SPREAD_OVER
            for product, setup in zip(seconds[name], seconds[f"set-up: {name}"], strict=True)
        ]
        for name in means
    }
    return [
        *(
            figure(
                case,
                (name, spread[name]),
                (unit, seconds[unit]),
                goal=GOALS.get((problem.name, name), {}).get(batch),
            )
            for name in means
        ),
        *(figure(case, (name, seconds[name]), (unit, seconds[unit])) for name in others),
        *(
            figure(
                case, (name, [each / SPREAD_OVER for each in seconds[name]]), (OURS, spread[OURS])
            )
            for name in cg
        ),
    ]


def _start_and_direction(problem: Problem, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the initial θ and a random v, both (1, P)."""
    theta = initial_parameters(problem, [0], device, torch.float32)
    v = torch.zeros_like(theta)
    for view in problem.layout.views(v).values():
        view.normal_(generator=torch.Generator(device).manual_seed(0))
    return theta, v


def _cg_run(gradient: Tensor) -> Callable[[], object]:
    """Return CG for SPREAD_OVER steps with a product that costs next to nothing."""
    vectors, out = Vectors(gradient), torch.empty_like(gradient)
    diagonal = torch.linspace(1, 1e4, gradient.shape[1], device=gradient.device)[None]
    preconditioner = torch.ones_like(diagonal)

    def run() -> object:
        vectors.x.zero_()
        return conjugate_gradients(
            lambda v: torch.mul(v, diagonal, out=out),
            gradient,
            preconditioner,
            vectors,
            SPREAD_OVER,
            0.0,
        )

    return run
