import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.optim.hessian_free import cg
from bench.optim.hessian_free.cg import Solution, Vectors, conjugate_gradients, should_stop
from bench.optim.objective import Curvature
from tests.optim.dense import spectrum


class Product:
    """v ↦ A v for a symmetric A, into the same memory every time, with a count."""

    def __init__(self, a: Tensor) -> None:
        self.a, self.count = a, 0
        self.memory = torch.empty(1, len(a), dtype=a.dtype)

    def __call__(self, v: Tensor) -> Tensor:
        self.count += 1
        self.memory.fill_(math.nan)
        return self.memory.copy_(v @ self.a if self.a.dim() == 2 else v * self.a)


def vector(n: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, n, generator=generator, dtype=torch.float64)


def solve(
    product: Curvature,
    g: Tensor,
    m: Tensor | None = None,
    x0: Tensor | None = None,
    max_steps: int = 200,
    tolerance: float = 0.0,
    check_every: int | None = None,
    keep: bool = True,
) -> tuple[Solution, Tensor]:
    vectors = Vectors(g, check_every)
    if x0 is not None:
        vectors.x.copy_(x0)
    return conjugate_gradients(product, g, m, vectors, max_steps, tolerance, keep), vectors.x


@pytest.fixture
def matrix() -> Tensor:
    return spectrum(torch.logspace(0, -2, 40))


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_solution_is_the_dense_one(matrix: Tensor, preconditioned: bool, warm: bool) -> None:
    g = vector(40)
    m = vector(40, 2).abs() + 0.5 if preconditioned else None
    _, x = solve(Product(matrix), g, m, vector(40, 3) if warm else None)
    expected = np.linalg.solve(matrix.numpy(), -g[0].numpy())
    np.testing.assert_allclose(x[0].numpy(), expected, rtol=1e-10, atol=1e-10)


def textbook(a: np.ndarray, g: np.ndarray, m: np.ndarray, x: np.ndarray, steps: int) -> list:
    """Nocedal & Wright (2006), Algorithm 5.3, with b = −g; a vector `a` is a diagonal."""
    xs, r = [], (a @ x if a.ndim == 2 else a * x) + g
    y = r / m
    p = -y
    for _ in range(steps):
        ap = a @ p if a.ndim == 2 else a * p
        alpha = (r @ y) / (p @ ap)
        x = x + alpha * p
        r_next = r + alpha * ap
        y_next = r_next / m
        p = -y_next + (r_next @ y_next) / (r @ y) * p
        r, y = r_next, y_next
        xs.append(x)
    return xs


@pytest.mark.parametrize("warm", [False, True])
def test_iterates_and_models_are_the_textbooks(matrix: Tensor, warm: bool) -> None:
    g, m, x0 = vector(40), vector(40, 2).abs() + 0.1, vector(40, 3) * warm
    found, _ = solve(Product(matrix), g, m, x0, max_steps=12)
    a, b = matrix.numpy(), g[0].numpy()
    expected = textbook(a, b, m[0].numpy(), x0[0].numpy(), 12)
    for iterate in found.iterates:
        y = expected[iterate.step - 1]
        atol = 1e-12 * np.abs(y).max()
        np.testing.assert_allclose(iterate.x[0].numpy(), y, rtol=0, atol=atol)
        assert iterate.model == pytest.approx(0.5 * y @ a @ y + b @ y, rel=1e-12)


def test_iterates_are_kept_on_the_grid_and_at_the_last_step() -> None:
    grid = [math.ceil(5 * 1.3**j) for j in range(12)]
    matrix = torch.logspace(0, -8, 2000, dtype=torch.float64)
    for steps in (grid[-1], grid[-1] + 3, 4, 1):
        found, x = solve(Product(matrix), vector(2000), max_steps=steps)
        assert found.steps == steps
        expected = sorted({i for i in grid if i <= steps} | {steps})
        assert [iterate.step for iterate in found.iterates] == expected
        assert torch.equal(found.iterates[-1].x, x)


def test_a_start_of_zero_costs_no_product(matrix: Tensor) -> None:
    for start, extra in ((None, 0), (vector(40, 3), 1)):
        product = Product(matrix)
        found, _ = solve(product, vector(40), x0=start, max_steps=17)
        assert product.count == found.steps + extra


def by_the_rule(models: list[float], tolerance: float, with_k: bool) -> int:
    """The step at which CG stops, by the formula as it is printed."""
    for i in range(1, len(models) + 1):
        k = max(10, math.ceil(0.1 * i))
        if i > k and models[i - 1] < 0:
            progress = (models[i - 1] - models[i - 1 - k]) / models[i - 1]
            if progress < tolerance * (k if with_k else 1):
                return i
    raise AssertionError("the rule never stops")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stopping_step_is_the_published_rules(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n, tolerance = 1500, 5e-4
    a = torch.logspace(0, -5, n, dtype=torch.float64)
    g = vector(n, seed) * a.sqrt()
    found, _ = solve(Product(a), g, max_steps=n, tolerance=tolerance)
    assert found.ended == "progress"

    models: list[float] = []
    monkeypatch.setattr(cg, "should_stop", lambda seen, _: models.append(seen[-1]))
    solve(Product(a), g, max_steps=800)
    x = textbook(a.numpy(), g[0].numpy(), np.ones(n), np.zeros(n), 50)[-1]
    assert models[49] == pytest.approx(0.5 * x @ (a.numpy() * x) + g[0].numpy() @ x, rel=1e-8)
    assert found.steps == by_the_rule(models, tolerance, with_k=True)
    # Without its factor k the rule runs on for hundreds of steps.
    assert by_the_rule(models, tolerance, with_k=False) > 2 * found.steps


def test_stop_rule_by_hand() -> None:
    falling = [-1.0 - 0.001 * i for i in range(1, 12)]
    # (φ_11 − φ_1) / φ_11 = 0.01 / 1.011 = 0.009891
    assert should_stop(falling, 0.000990)
    assert not should_stop(falling, 0.000989)
    assert not should_stop(falling[:10], 1.0)
    assert not should_stop([5.0 - 0.001 * i for i in range(1, 12)], 1.0)


def test_gap_grows_with_the_steps() -> None:
    # At i = 101, k = 11: φ_90 counts, φ_91 does not.
    models = [-1.0] * 90 + [-2.0] * 11
    assert not should_stop(models, 0.04)
    assert should_stop([*models, -2.0], 0.04)


def test_direction_without_curvature_ends_with_the_last_good_iterate() -> None:
    a = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    g = torch.tensor([[1.0, 0.5, 1e-3]], dtype=torch.float64)
    found, x = solve(Product(a), g)
    assert found.ended == "no curvature"
    assert found.steps == found.iterates[-1].step == 1
    assert torch.equal(found.iterates[-1].x, x)
    assert found.iterates[-1].model == pytest.approx(
        (0.5 * (x * a * x).sum() + (g * x).sum()).item(), rel=1e-14
    )


def test_no_curvature_at_the_first_step_keeps_nothing() -> None:
    found, x = solve(Product(-torch.ones(3).double()), vector(3))
    assert (found.ended, found.steps, found.iterates) == ("no curvature", 0, [])
    assert not x.any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_product_that_is_not_finite_discards_the_run(bad: float) -> None:
    class Breaking(Product):
        def __call__(self, v: Tensor) -> Tensor:
            product = super().__call__(v)
            return product if self.count < 8 else product * bad

    found, x = solve(Breaking(torch.logspace(0, -2, 40, dtype=torch.float64)), vector(40))
    assert (found.ended, found.steps, found.iterates) == ("not finite", 7, [])
    assert not x.any()


def test_only_the_last_iterate_is_kept_where_no_other_is_wanted(matrix: Tensor) -> None:
    every, x = solve(Product(matrix), vector(40), max_steps=20)
    last, y = solve(Product(matrix), vector(40), max_steps=20, keep=False)
    assert (len(every.iterates), len(last.iterates)) == (7, 1)
    assert (last.iterates[0].step, last.iterates[0].model) == (20, every.iterates[-1].model)
    assert torch.equal(last.iterates[0].x, y) and torch.equal(x, y)


class Spoilt(Product):
    """Multiplies every product from the `first` on by `by`."""

    def __init__(self, first: int, by: float) -> None:
        super().__init__(torch.logspace(0, -3, 400, dtype=torch.float64))
        self.first, self.by = first, by

    def __call__(self, v: Tensor) -> Tensor:
        product = super().__call__(v)
        return product if self.count < self.first else product.mul_(self.by)


def identity() -> Product:
    return Product(torch.full((400,), 2.0, dtype=torch.float64))


def sound() -> Product:
    return Spoilt(10**9, 1.0)


CASES: list[tuple[str, Callable[[], Product], dict[str, Any]]] = [
    *(("limit", sound, {"max_steps": n}) for n in (1, 2, 9, 10, 11, 30)),
    *(("progress", sound, {"tolerance": t}) for t in (1.0, 0.1, 0.01, 5e-4)),
    ("solved", identity, {}),
    *(("no curvature", lambda n=n: Spoilt(n, -1.0), {}) for n in (1, 2, 3, 9, 10, 11, 12, 13)),
    *(("not finite", lambda n=n: Spoilt(n, math.nan), {}) for n in (1, 2, 3, 9, 10, 11, 12)),
    ("not finite", lambda: Spoilt(6, math.inf), {}),
    # The rule ends CG at step 11, before the products go bad.
    ("progress", lambda: Spoilt(12, math.nan), {"tolerance": 1.0}),
    ("progress", lambda: Spoilt(13, -1.0), {"tolerance": 1.0}),
]


@pytest.mark.parametrize(("ended", "product", "given"), CASES)
@pytest.mark.parametrize("warm", [False, True])
def test_looking_less_often_changes_no_bit(
    ended: str, product: Callable[[], Product], given: dict[str, Any], warm: bool
) -> None:
    g, m = vector(400), vector(400, 2).abs() + 0.5
    x0 = vector(400, 3) if warm else None
    if ended == "solved":
        g, m, x0 = torch.ones(1, 400).double(), torch.ones(1, 400).double(), None
    results = [solve(product(), g, m, x0, check_every=k, **given) for k in (1, 3, 10)]
    (first, x), *others = results
    assert warm or first.ended == ended
    assert x.isfinite().all()
    for other, y in others:
        assert (other.ended, other.steps) == (first.ended, first.steps)
        assert torch.equal(x, y)
        assert len(other.iterates) == len(first.iterates)
        for a, b in zip(first.iterates, other.iterates, strict=True):
            assert (a.step, a.model) == (b.step, b.model)
            assert torch.equal(a.x, b.x)


@contextmanager
def counted_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note whenever the host reads a number from a tensor, by .item(), bool(…) or .tolist()."""
    reads: list[str] = []
    tolist = Tensor.tolist

    class Noting(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is torch.ops.aten._local_scalar_dense.default:
                reads.append("item")
            return function(*args, **(kwargs or {}))

    with monkeypatch.context() as patch, Noting():
        patch.setattr(Tensor, "tolist", lambda t: reads.append("tolist") or tolist(t))
        yield reads


@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("steps", [7, 30])
def test_the_host_reads_only_when_it_looks(
    every: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = sound()
    with counted_reads(monkeypatch) as reads:
        found, _ = solve(product, vector(400), max_steps=steps, check_every=every)
    assert found.steps == product.count == steps
    # One more: whether the start is 0.
    assert sorted(reads) == ["item"] + ["tolist"] * math.ceil(steps / every)


def test_steps_after_the_end_are_fewer_than_between_two_looks() -> None:
    for every in (1, 3, 10):
        product = sound()
        found, _ = solve(product, vector(400), tolerance=1.0, check_every=every)
        assert found.steps == 11
        assert product.count == math.ceil(11 / every) * every


def test_memory_is_allocated_once() -> None:
    g, vectors = vector(400), Vectors(vector(400), 3)

    def addresses() -> list[int]:
        every = (vectors.x, vectors.r, vectors.z, vectors.p, vectors.scalars)
        return [t.data_ptr() for t in (*every, *vectors.ring, *vectors.kept)]

    conjugate_gradients(sound(), g, None, vectors, 50, 0.0)
    before = addresses()
    conjugate_gradients(sound(), g, None, vectors, 50, 0.0)
    assert addresses() == before


def test_a_solved_system_ends() -> None:
    found, x = solve(Product(torch.full((4,), 2.0, dtype=torch.float64)), torch.ones(1, 4).double())
    assert (found.ended, found.steps) == ("solved", 1)
    assert torch.equal(x, torch.full((1, 4), -0.5, dtype=torch.float64))


def test_float32_follows_float64() -> None:
    a, g = spectrum(torch.logspace(0, -2, 60)), vector(60)
    exact, _ = solve(Product(a), g, tolerance=5e-4)
    rounded, _ = solve(Product(a.float()), g.float(), tolerance=5e-4)
    assert abs(exact.steps - rounded.steps) <= 1
    assert rounded.iterates[0].model == pytest.approx(exact.iterates[0].model, rel=1e-5)
