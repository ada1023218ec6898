import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from bench.harness.core.errors import Usage
from bench.harness.core.paths import data_source
from bench.harness.core.spec import Budget
from bench.harness.paper.damped import damped_quadratic, largest_eigenvalue
from bench.harness.paper.figure5 import SCHEDULE, compare_convergence, draw, figure5
from bench.harness.paper.quadratic import Quadratic
from bench.harness.planning.problems import resolve
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.optim.hessian_free.cg import Vectors, conjugate_gradients
from bench.optim.momentum.reference import nesterov
from bench.optim.momentum.schedules import Nesterov1983
from bench.optim.registry import resolve as method
from tests.harness.plugins import tensors_of
from tests.harness.small import PROBLEM
from tests.optim.dense import spectrum

HF = "hf[lam=1,chunks=4,cg_max=20]"
ITERATIONS = 4
STEPS = 40


@pytest.fixture(scope="module")
def damped():
    """The quadratic after a few iterations on a tiny autoencoder."""
    return damped_quadratic(PROBLEM, "quick", ITERATIONS, seed=0, method=HF)


def parameters():
    """Which numbers of θ are parameters; the others are padding, which is 0 in every vector."""
    layout = resolve(PROBLEM, "quick").layout
    mask = torch.zeros(layout.size, dtype=torch.float64)
    for view in layout.views(mask).values():
        view.fill_(1)
    return mask.bool()


def dense(quadratic):
    """A as a matrix, and g, without the padding."""
    real = parameters()
    rows = torch.eye(len(real), dtype=torch.float64)[real]
    return quadratic.products(rows)[:, real], quadratic.linear[0, real]


class Watcher:
    def __init__(self):
        self.taken = []

    def on_measurement(self, row, measurement):
        self.taken.append(measurement)

    def on_progress(self, progress):
        pass

    def should_stop(self):
        return False


def test_it_is_what_hessian_free_minimises_next(damped):
    """λ, chunk, gradient and error are those of the iteration that follows."""
    problem, watcher = resolve(PROBLEM, "quick"), Watcher()
    data = DeviceData.from_data(problem.data(data_source(None)), torch.device("cpu"), torch.float64)
    hf = method(HF)
    fleet = Fleet(problem, data, hf, [0], Budget("updates", ITERATIONS + 1.0), 100)
    seen = {}

    class Spy:
        """Takes note of the last linearisation."""

        def __getattr__(self, name):
            return getattr(objective, name)

        def curvature(self, theta, on, structural=None):
            seen.update(theta=theta.clone(), inputs=tensors_of(on).inputs)
            return objective.curvature(theta, on, structural)

    objective, fleet.objective.for_method = fleet.objective.for_method, Spy()
    fleet.run(watcher)
    assert [m.ledger.updates for m in watcher.taken[-2:]] == [ITERATIONS, ITERATIONS + 1]
    assert damped.error == watcher.taken[-2].train_metric
    assert damped.lam == watcher.taken[-1].diagnostics["lambda"]
    assert (damped.cases, damped.l2) == (15, 2e-5)
    # Theirs on the same chunk, with G from the problem's own passes.
    theta, inputs = seen["theta"], seen["inputs"]
    v = torch.randn(theta.shape, generator=torch.Generator().manual_seed(2), dtype=theta.dtype)
    v *= parameters()
    g = problem.passes().curvature(theta, inputs, inputs)(v)
    torch.testing.assert_close(damped.quadratic.product(v), g + (damped.lam + damped.l2) * v)
    out = torch.zeros_like(theta)
    problem.passes().gradient(theta, data.train.inputs, data.train.targets, out)
    torch.testing.assert_close(damped.quadratic.linear, out + damped.l2 * theta)


def test_the_damped_matrix(damped):
    a, _ = dense(damped.quadratic)
    torch.testing.assert_close(a, a.T)
    eigenvalues = torch.linalg.eigvalsh(a)
    assert eigenvalues[0] >= (damped.lam + damped.l2) * (1 - 1e-9)
    assert largest_eigenvalue(damped.quadratic) == pytest.approx(eigenvalues[-1].item(), rel=1e-5)


def test_cg_is_never_above_nag(damped):
    """NAG's iterates lie in the Krylov spaces over which CG's are the best."""
    found = compare_convergence(damped.quadratic, STEPS)
    for nag in found.nag.values():
        assert (found.cg <= nag + 1e-12 * abs(found.minimum)).all()
    assert found.cg_is_never_above
    assert not replace(found, cg=found.cg + 1e-3 * abs(found.minimum)).cg_is_never_above
    assert (np.diff(found.cg) <= 1e-14).all() and found.cg[0] == 0
    assert (np.diff(found.nag["0.9"])[:3] < 0).all()
    a, g = dense(damped.quadratic)
    assert found.minimum == pytest.approx(-0.5 * (g @ torch.linalg.solve(a, g)).item())
    assert found.share(found.cg)[0] == 1 and found.share(found.cg)[-1] < 0.01
    assert found.best in found.nag and found.best != SCHEDULE


def test_every_step_is_that_of_the_methods():
    """φ of CG as CG itself gives it, and of NAG as the paper's update rule does."""
    a, g = spectrum(torch.logspace(-2, 1, 12)), torch.linspace(1, 2, 12).double()[None]
    quadratic = Quadratic(lambda v: v @ a, g)
    found = compare_convergence(quadratic, steps=20, momenta=(0.9,))
    for steps in (1, 2, 7, 11):
        vectors = Vectors(g)
        solution = conjugate_gradients(lambda v: v @ a, g, None, vectors, steps, tolerance=0.0)
        assert found.cg[steps] == pytest.approx(solution.iterates[-1].model, rel=1e-10)
    # Solved after 12 steps; what follows is the minimum.
    assert len(found.cg) == 21 and found.cg[-1] == pytest.approx(found.minimum)
    for name, mu in (("0.9", lambda t: 0.9), (SCHEDULE, Nesterov1983(1.0))):
        theta, v, values = torch.zeros_like(g), torch.zeros_like(g), [0.0]
        for t in range(20):
            theta, v = nesterov(theta, v, lambda x: x @ a + g, 1 / found.largest, mu(t))
            values.append(quadratic.at(theta).item())
        np.testing.assert_allclose(found.nag[name], values, rtol=1e-10)


def test_single_precision_is_near(damped):
    single = damped_quadratic(PROBLEM, "quick", 1, 0, method=HF, dtype=torch.float32)
    double = damped_quadratic(PROBLEM, "quick", 1, 0, method=HF)
    assert single.quadratic.linear.dtype == torch.float32
    ours, theirs = (
        compare_convergence(single.quadratic, 10),
        compare_convergence(double.quadratic, 10),
    )
    np.testing.assert_allclose(ours.cg, theirs.cg, rtol=1e-2)
    assert ours.cg_is_never_above


def test_a_run_that_ends_before():
    with pytest.raises(Usage, match="ended before iteration 3: the loss was not finite"):
        damped_quadratic(f"{__name__}:broken", "quick", 3, seed=0, method=HF)


def broken(preset):
    """The tiny autoencoder with an initialisation that is not finite."""
    problem = resolve(PROBLEM, preset)
    problem.initialize = lambda rng: torch.full((problem.layout.size,), torch.nan).double()
    return problem


def test_picture_and_plain_values(tmp_path):
    data = figure5(PROBLEM, iterations=2, seed=1, steps=30)
    draw(data, tmp_path / "figure5.png")
    image = imread(tmp_path / "figure5.png")[..., :3]
    assert image.shape == (528, 1320, 3)
    for shade in ("#d55e00", "#0072b2"):
        wanted = [int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (np.abs(image - wanted).max(axis=-1) < 0.01).sum() > 50
    plain = json.loads(json.dumps(data.as_dict(), allow_nan=False))
    assert plain["iterations"] == 2 and len(plain["cg"]) == 31
    assert plain["learning_rate"] == 1 / plain["largest_eigenvalue"]
    assert plain["best_constant_mu"] in plain["nag"]
