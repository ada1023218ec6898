"""What every built-in problem must satisfy, on its own data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.harness.check import presets
from bench.harness.core.seeds import generator
from bench.harness.core.spec import Budget
from bench.harness.training.bound_objective import BoundObjective, initial_parameters
from bench.harness.training.case_stream import BLOCK, CaseStream
from bench.harness.training.cases import DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.built_in import PROBLEMS
from bench.models.deep_autoencoders import CURVES, FACES, MNIST, Preset
from bench.models.problem import PRESETS, Data, DataSource, Problem, digest_of
from bench.models.recurrent_tasks import KINDS
from tests.models.tiny import padding

CPU = torch.device("cpu")
CLOCK = Clock(CPU)
TABLES: dict[str, dict[str, Preset]] = {"curves": CURVES, "mnist": MNIST, "faces": FACES}
"""The autoencoders, whose targets are their inputs."""
FILES = {"mnist", "faces"}
"""Problems whose data are files, not part of the project."""

every_problem = pytest.mark.parametrize("name", PROBLEMS)
every_autoencoder = pytest.mark.parametrize("name", TABLES)
every_autoencoder_with_data = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.data if name in FILES else ()) for name in TABLES],
)
every_problem_with_data = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.data if name in FILES else ()) for name in PROBLEMS],
)


@pytest.fixture
def data(name: str, request: pytest.FixtureRequest) -> Data:
    """The data of the quick preset."""
    return load(name, request.getfixturevalue("data_dir") if name in FILES else None)


@cache
def load(name: str, folder: Path | None) -> Data:
    return PROBLEMS[name]("quick").data(DataSource((folder,) if folder else ()))


@every_autoencoder_with_data
def test_the_data_are_what_the_table_says(name: str, data: Data) -> None:
    setting = TABLES[name]["quick"]
    assert data.train_inputs.shape == data.train_targets.shape == (setting.train, setting.side**2)
    assert data.test_inputs.shape == data.test_targets.shape == (setting.test, setting.side**2)
    assert data.image_shape == (setting.side, setting.side)
    for array in (data.train_inputs, data.test_inputs):
        assert array.dtype == np.float32
        # Grey levels, or for faces grey levels less their mean, at unit variance.
        low, high = (-10, 10) if name == "faces" else (0, 1)
        assert low <= array.min() < array.max() <= high


@every_problem_with_data
def test_the_digest_changes_with_one_value_and_is_that_of_the_data(name: str, data: Data) -> None:
    parts = [data.train_inputs, data.test_inputs]
    if name not in TABLES:
        parts = [data.train_inputs, data.train_targets, data.test_inputs, data.test_targets]
    assert digest_of(*parts) == data.digest
    for number, part in enumerate(parts):
        changed = [each.copy() for each in parts]
        changed[number].flat[-1] += 2.0**-16
        assert part.dtype == np.float32
        assert digest_of(*changed) != data.digest


@every_problem_with_data
def test_one_stream_gives_the_same_batches(name: str, data: Data) -> None:
    put = DeviceData.from_data(data, CPU, torch.float32)
    size = put.train.cases // 5

    def batches(seed: int, stream: str, count: int = 7) -> Tensor:
        account = Account(Budget("updates", 1), Clock(CPU))
        bound = BoundObjective(PROBLEMS[name]("quick"), put, [seed], account)
        return torch.cat([bound.next_batch(size, stream).inputs for _ in range(count)], 1)[0]

    for stream in ("gradient", "curvature"):
        assert torch.equal(batches(0, stream), batches(0, stream))
        assert not torch.equal(batches(0, stream), batches(1, stream))
        if data.draw is not None:
            # Every batch is a new one.
            assert len(batches(0, stream).unflatten(0, (7, size)).unique(dim=0)) == 7
            continue
        # An epoch is every case once.
        torch.testing.assert_close(
            batches(0, stream, 5).double().sum(0), put.train.inputs[0].double().sum(0)
        )
        second = batches(0, stream)[5 * size :]
        assert torch.equal(second, batches(0, stream, 2)) == (stream == "curvature")
    assert not torch.equal(batches(0, "gradient"), batches(0, "curvature"))


def bound(name: str, put: DeviceData, seeds: list[int]) -> BoundObjective:
    return BoundObjective(PROBLEMS[name]("quick"), put, seeds, Account(Budget("updates", 1), CLOCK))


@every_problem_with_data
@pytest.mark.parametrize("ranks", [2, 5])
def test_ranks_have_the_batch_between_them(name: str, data: Data, ranks: int) -> None:
    """Each knows its position alone; where an epoch ends, or a block, does not matter."""
    put, size = DeviceData.from_data(data, CPU, torch.float32), 330
    whole, parts = bound(name, put, [7]), [bound(name, put, [7]) for _ in range(ranks)]
    cuts = [size * rank // ranks for rank in range(ranks + 1)]
    for start in range(0, 4 * size, size):
        for stream in ("gradient", "curvature"):
            taken = []
            for part, low, high in zip(parts, cuts, cuts[1:], strict=False):
                part.batches.restore_positions({stream: [start + low]})
                taken.append(part.next_batch(high - low, stream))
            batch = whole.next_batch(size, stream)
            assert torch.equal(torch.cat([each.inputs for each in taken], 1), batch.inputs)
            assert torch.equal(torch.cat([each.targets for each in taken], 1), batch.targets)


@every_problem_with_data
def test_a_trials_batches_are_its_seeds_whoever_trains_beside_it(name: str, data: Data) -> None:
    put = DeviceData.from_data(data, CPU, torch.float32)
    together = bound(name, put, [3, 0, 1])
    alone = [bound(name, put, [seed]) for seed in (3, 0, 1)]
    for _ in range(3):
        batch = together.next_batch(150)
        for row, single in enumerate(alone):
            assert torch.equal(batch.inputs[row : row + 1], single.next_batch(150).inputs)


@pytest.mark.parametrize("name", ["curves", "add"])
def test_batches_on_a_cuda_device_are_those_on_the_cpu(name: str, data: Data) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    here, there = (
        bound(name, DeviceData.from_data(data, torch.device(device), torch.float32), [0, 1])
        for device in ("cpu", "cuda")
    )
    for stream in ("gradient", "curvature"):
        for _ in range(3):
            mine, theirs = (each.next_batch(150, stream) for each in (here, there))
            assert theirs.inputs.device.type == "cuda"
            assert torch.equal(theirs.inputs.cpu(), mine.inputs)
            assert torch.equal(theirs.targets.cpu(), mine.targets)


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name in KINDS])
def test_new_cases_are_those_of_blocks_drawn_in_turn(name: str) -> None:
    """Whatever is taken at a time, and whoever draws: here it is done without a thread."""
    draw = load(name, None).draw
    assert draw is not None
    blocks = [draw(generator(2, "cases", "gradient", number), BLOCK) for number in range(3)]
    inputs, targets = (np.concatenate(each) for each in zip(*blocks, strict=True))
    fresh, at = CaseStream(draw, 2, "gradient"), 0
    for size in (4, 100, 896, 1, 1_500):
        x, t = fresh.take(size)
        assert np.array_equal(x, inputs[at : at + size])
        assert np.array_equal(t, targets[at : at + size])
        at += size


@every_problem_with_data
def test_the_metric_of_a_perfect_output_is_zero(name: str, data: Data) -> None:
    problem = PROBLEMS[name]("quick")
    targets = torch.from_numpy(data.test_targets).double()[None]
    perfect = problem.loss.link(targets)
    torch.testing.assert_close(problem.outputs(perfect), targets, rtol=1e-14, atol=1e-15)
    assert problem.metric.per_case(perfect, targets).max() <= 1e-24
    assert problem.metric.direction == "lower"


@every_autoencoder_with_data
def test_the_metric_of_a_blank_image_is_its_square(name: str, data: Data) -> None:
    problem = PROBLEMS[name]("quick")
    targets = torch.from_numpy(data.test_targets).double()[None]
    z = problem.loss.link(torch.zeros_like(targets))
    blank = problem.metric.per_case(z, targets)
    torch.testing.assert_close(blank, targets.square().sum(-1))


@pytest.fixture
def point(name: str, data: Data) -> tuple[Problem, Tensor, Tensor, Tensor]:
    """A problem, θ a little off its start, and a few real cases, in float64."""
    problem = PROBLEMS[name]("quick")
    theta = problem.initialize(generator(0, "initialization"))[None]
    for direction in directions(problem, 1):
        theta += 0.1 * direction
    some = [
        torch.from_numpy(all_[:6]).double()[None]
        for all_ in (data.train_inputs, data.train_targets)
    ]
    return problem, theta, *some


def directions(problem: Problem, seed: int) -> Iterator[Tensor]:
    """One random direction in each parameter's subspace, each of length √(its size)."""
    normal = torch.Generator().manual_seed(seed)
    for name, shape in problem.layout.shapes.items():
        direction = torch.zeros(1, problem.layout.size, dtype=torch.float64)
        view = problem.layout.views(direction)[name][0]
        view.copy_(torch.randn(shape, generator=normal, dtype=torch.float64))
        yield direction


STEP = 1e-6


@every_problem_with_data
def test_the_gradient_is_the_loss_by_finite_differences(
    point: tuple[Problem, Tensor, Tensor, Tensor],
) -> None:
    problem, theta, x, t = point
    passes, gradient = problem.passes(), torch.zeros_like(theta)
    assert torch.equal(passes.gradient(theta, x, t, gradient), passes.loss(theta, x, t))
    for v in directions(problem, 2):
        ahead, behind = (passes.loss(theta + h * v, x, t).item() for h in (STEP, -STEP))
        slope = (ahead - behind) / (2 * STEP)
        assert (gradient * v).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


@every_problem_with_data
def test_the_curvature_is_gauss_newtons_by_finite_differences(
    point: tuple[Problem, Tensor, Tensor, Tensor],
) -> None:
    """uᵀGv = mean over cases of (Ju)ᵀ H_L (Jv), J and H_L by central differences."""
    problem, theta, x, t = point
    passes, loss = problem.passes(), problem.loss
    z = passes.logits(theta, x).clone()

    def along(v: Tensor) -> Tensor:
        ahead, behind = (passes.logits(theta + h * v, x).clone() for h in (STEP, -STEP))
        return (ahead - behind) / (2 * STEP)

    product = passes.curvature(theta, x, t)
    u = sum(directions(problem, 3), torch.zeros_like(theta))
    ju = along(u)
    for v in directions(problem, 2):
        jv = along(v)
        ahead, behind = (loss.derivative(z + h * jv, t) for h in (STEP, -STEP))
        expected = (ju * (ahead - behind) / (2 * STEP)).flatten(2).sum(-1).mean().item()
        assert (u * product(v)).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@every_autoencoder
@pytest.mark.parametrize("preset", PRESETS)
def test_initialisation_is_sparse(name: str, preset: str) -> None:
    problem = PROBLEMS[name](preset)
    theta = problem.initialize(generator(0, "initialization"))
    assert theta.dtype == torch.float64
    views = problem.layout.views(theta)
    for key, view in views.items():
        if key.startswith("W"):
            assert (view.count_nonzero(0) == min(15, view.shape[0])).all()
        else:
            assert not view.any()
    weights = torch.cat([view[view != 0] for view in views.values()])
    assert abs(weights.mean()) < 5 / len(weights) ** 0.5
    assert weights.std().item() == pytest.approx(1, abs=5 / len(weights) ** 0.5)
    assert not theta[padding(problem)].any()


@every_problem
def test_initialisation_depends_on_the_seed_alone(name: str) -> None:
    problem = PROBLEMS[name]("quick")
    rows = initial_parameters(problem, [3, 0, 3], CPU, torch.float64)
    again = initial_parameters(PROBLEMS[name]("quick"), [0], CPU, torch.float64)
    assert torch.equal(rows[0], rows[2])
    assert torch.equal(rows[1], again[0])
    assert not torch.equal(rows[0], rows[1])
    torch.manual_seed(1)
    np.random.seed(1)
    single = initial_parameters(problem, [0], CPU, torch.float32)
    assert torch.equal(single, again.float())


@every_problem
def test_presets_differ_only_in_sizes_data_and_budget(name: str) -> None:
    said = presets.compare(PROBLEMS[name])
    assert said.startswith("quick | standard | paper: ")
    assert "budget" in said
    assert PROBLEMS[name]("quick").varies == ()


@every_autoencoder
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_differ_only_as_their_table_says(name: str, preset: str) -> None:
    problem, paper = PROBLEMS[name](preset), PROBLEMS[name]("paper")
    assert TABLES[name].keys() == set(PRESETS)
    row = TABLES[name][preset]
    encoder = (row.side**2, *row.hidden)
    assert problem.architecture.sizes == (*encoder, *reversed(encoder[:-1]))
    assert problem.layout.shapes == problem.architecture.layout().shapes
    assert problem.budget == row.budget
    assert problem.evaluations == row.evaluations
    assert problem.targets == row.targets
    assert problem.notes == row.notes
    for fact in ("name", "initialization", "margin", "log_scale", "parameters"):
        assert getattr(problem, fact) == getattr(paper, fact)
    assert problem.loss.name == paper.loss.name
    assert replace(problem.metric, per_case=paper.metric.per_case) == paper.metric


@pytest.mark.parametrize(
    ("name", "sizes", "cases"),
    [
        ("curves", (784, 400, 200, 100, 50, 25, 6), 20_000),
        ("mnist", (784, 1000, 500, 250, 30), 60_000),
        ("faces", (625, 2000, 1000, 500, 30), 103_500),
    ],
)
def test_the_paper_preset_has_the_published_network(
    name: str, sizes: tuple[int, ...], cases: int
) -> None:
    problem = PROBLEMS[name]("paper")
    assert problem.architecture.sizes == (*sizes, *reversed(sizes[:-1]))
    assert TABLES[name]["paper"].train == cases
    loss = "half squared error" if name == "faces" else "cross-entropy"
    assert problem.loss.name == f"{loss}, summed over outputs, mean over cases"
    assert problem.metric.name == "squared_error"
