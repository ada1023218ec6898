"""The memory that fleets are planned by, held against what they take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from bench import optim
from bench.harness.core.errors import Infrastructure
from bench.harness.core.spec import Budget
from bench.harness.training.bound_objective import evaluate, observe
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.chunks import evaluation_slice
from bench.harness.training.fleet import Fleet
from bench.harness.training.memory import PROCESS_BYTES, MemoryModel, is_out_of_memory
from bench.models.autodiff import AutodiffPasses
from bench.models.built_in import PROBLEMS
from bench.models.problem import DataSource, Problem
from bench.models.recurrent import SequenceProblem
from bench.optim.objective import LINEARIZED, VECTORS, Method
from tests.harness import profiled
from tests.harness.plugins import Watcher
from tests.harness.small import make

CPU = torch.device("cpu")
UPDATES = Budget("updates", 3.0)

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def put(problem: Problem, device: torch.device = CPU) -> DeviceData:
    return DeviceData.from_data(problem.data(DataSource(())), device, torch.float32)


@cache
def loaded(name: str, preset: str = "quick") -> tuple[Problem, DeviceData]:
    """A problem and its data, which takes longer to make than most tests here."""
    problem = PROBLEMS[name](preset)
    return problem, put(problem)


def joined(text: str, rows: int, device: str = "cpu") -> Method:
    first, *others = (optim.resolve(text, device) for _ in range(rows))
    return first.join(others) if others else first


class Quiet:
    """An observer that is told everything and does nothing."""

    def on_measurement(self, row: int, measurement: object) -> None: ...

    def on_progress(self, progress: object) -> None: ...

    def should_stop(self) -> bool:
        return False


def whole(problem: Problem, data: DeviceData, method: Method, seeds: Sequence[int]) -> None:
    """A fleet from its start to its end: what it evaluates, it evaluates by slices."""
    Fleet(problem, data, method, seeds, UPDATES, 2).run(Quiet())


def slice_of(cases: Cases, rows: int) -> Cases:
    count = evaluation_slice(rows)
    inputs = cases.inputs[:, :count]
    same = cases.targets is cases.inputs
    return Cases(inputs, inputs if same else cases.targets[:, :count])


def real(problem: Problem, data: DeviceData, method: Method, seeds: Sequence[int]) -> int:
    """Bytes of torch's that updates and evaluations of a fleet take at most, on the CPU."""

    def train() -> None:
        fleet = Fleet(problem, data, method, seeds, UPDATES, 2)
        for _ in range(2):
            fleet.advance()
        theta = fleet.method.iterate(fleet.theta, fleet.state)
        for cases in (data.train, data.test):
            evaluate(problem, theta, slice_of(cases, len(seeds)))
        observe(problem, theta, data.test)

    return profiled.peak(train)


@pytest.mark.parametrize("rows", [1, 4, 16])
@pytest.mark.parametrize(
    ("name", "preset", "by", "batch"),
    [
        ("curves", "quick", "hand", 200),
        pytest.param("curves", "standard", "hand", 200, marks=pytest.mark.slow),
        ("add", "quick", "hand", 100),
        ("mem5", "quick", "hand", 4),
        ("curves", "quick", "autodiff", 200),
        pytest.param("add", "quick", "autodiff", 20, marks=pytest.mark.slow),
    ],
)
def test_need_of_a_fleet_is_what_it_takes(
    name: str, preset: str, by: str, batch: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, data = loaded(name, preset)
    if by == "autodiff":
        monkeypatch.setattr(problem, "passes", lambda: AutodiffPasses(problem))
    method = joined(f"nag[batch={batch}]", rows)
    need = MemoryModel(problem, data).bytes_needed([method], rows)
    # numpy has cases that are drawn ahead, which torch's allocator does not see.
    drawn = 0 if data.draw is None else rows * 2_000 * case_of(data)
    assert 0.98 <= need / (real(problem, data, method, range(rows)) + drawn) <= 1.1


def case_of(data: DeviceData) -> int:
    return data.train.inputs[0, 0].nbytes + data.train.targets[0, 0].nbytes


@pytest.mark.parametrize("name", ["curves", "add"])
def test_rows_that_share_their_cases_need_no_more(name: str) -> None:
    problem, data = loaded(name)
    method = joined("nag[batch=50]", 6)
    need = MemoryModel(problem, data).bytes_needed([method], 6)
    for seeds in ((0, 0, 0, 1, 1, 1), (0,) * 6):
        assert real(problem, data, method, seeds) <= 1.02 * need


@pytest.mark.parametrize("kinds", ["sgd", "cm", "nag"])
def test_need_where_parameters_outweigh_cases(kinds: str) -> None:
    problem, data = loaded("curves", "standard")
    method = joined(f"{kinds}[batch=2]", 2)
    memory = MemoryModel(problem, data)
    small = DeviceData(slice_of(data.train, 10**6), slice_of(data.test, 10**6))
    assert small.train.cases == 1
    need = MemoryModel(problem, small).bytes_needed([method], 2)
    assert 0.98 <= need / real(problem, small, method, (0, 1)) <= 1.25
    assert need < memory.bytes_needed([method], 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("curves", "hf[lam=1,chunks=4,cg_max=20]"),
        ("curves", "hfm[part=2,cg_steps=5]"),
        ("add", "hf[batch=400,chunks=4,cg_max=20,structural=0.03]"),
        ("curves", "torch.optim.AdamW[batch=200]"),
        ("curves", "pytorch_optimizer:AdaHessian[batch=200]"),
        ("add", "pytorch_optimizer:SophiaH[batch=100,num_samples=2]"),
    ],
)
def test_methods_of_one_row_need_no_more_than_is_said(name: str, text: str) -> None:
    problem, data = loaded(name)
    method = optim.resolve(text)
    need = MemoryModel(problem, data).bytes_needed([method], 1)
    budget = Budget("updates", 2.0)
    taken = profiled.peak(lambda: Fleet(problem, data, method, [0], budget, 2).run(Quiet()))
    assert taken <= need


def test_a_batch_in_slices_needs_what_a_slice_does_and_its_sum() -> None:
    problem, data = loaded("add")
    memory = MemoryModel(problem, data)
    taken = real(problem, data, optim.resolve("nag[batch=6000]"), [0])
    need = memory.bytes_needed([optim.resolve("nag[batch=6000]")], 1)
    assert taken <= 1.02 * need
    assert need < 1.5 * memory.bytes_needed([optim.resolve("nag[batch=3000]")], 1)


def test_need_is_that_of_the_method_that_needs_most() -> None:
    memory = MemoryModel(make("quick"), put(make("quick")))
    few, many = optim.resolve("sgd[batch=5]"), optim.resolve("nag[batch=50]")
    assert (
        memory.bytes_needed([few, many], 3)
        == memory.bytes_needed([many], 3)
        > memory.bytes_needed([few], 3)
    )


def test_methods_that_say_nothing_are_taken_to_need_much() -> None:
    problem = make("quick")
    memory = MemoryModel(problem, put(problem))

    class Saying(Watcher):
        vectors, linearized = VECTORS, LINEARIZED

    class Little(Watcher):
        vectors, linearized = 2, 0.0

    unsaid, said, little = (memory.bytes_needed([kind()], 1) for kind in (Watcher, Saying, Little))
    assert unsaid == said > little + (VECTORS - 2) * problem.layout.size * 4


def test_as_many_rows_as_fit() -> None:
    memory = MemoryModel(make("quick"), put(make("quick")))
    method = [optim.resolve("nag[batch=20]")]
    for limit in (memory.bytes_needed(method, rows) for rows in (1, 2, 7, 30)):
        memory.limit = limit
        fitting = [rows for rows in range(1, 21) if memory.bytes_needed(method, rows) <= limit]
        assert memory.rows_that_fit(method, 20) == max(fitting)
    memory.limit = None
    assert memory.rows_that_fit(method, 20) == 20


def test_as_many_processes_as_fit_beside_each_other() -> None:
    problem = make("quick")
    data = put(problem)
    memory = MemoryModel(problem, data)
    # Inputs are targets, and there once.
    each = PROCESS_BYTES + data.train.inputs.nbytes + data.test.inputs.nbytes
    needs = [2**20, 2**30, 2**29]
    for limit, processes in (
        (0, 1),
        (2**30 + each, 1),
        (2**30 + 2**29 + 2 * each, 2),
        (2**30 + 2**29 + 2**20 + 3 * each - 1, 2),
        (2**30 + 2**29 + 2**20 + 3 * each, 3),
        (2**40, 3),
        (None, 3),
    ):
        memory.limit = limit
        assert memory.processes_that_fit(needs) == processes


def test_a_row_that_does_not_fit_is_refused_in_words() -> None:
    memory = MemoryModel(make("quick"), put(make("quick")))
    memory.limit = 3 * 2**10
    with pytest.raises(Infrastructure) as refused:
        memory.rows_that_fit([optim.resolve("nag"), optim.resolve("sgd")], 4)
    need = memory.bytes_needed([optim.resolve("nag")], 1)
    assert str(refused.value) == (
        f"nag, sgd on small / quick needs {need / 2**10:.0f} KiB of memory for one trial (K = 1), "
        "but this machine has 3 KiB for it, so nothing was started. Choose a smaller batch or "
        "preset, or close other programs."
    )
    assert refused.value.exit_code == 4


class Greedy(Watcher):
    """Asks for a petabyte in its third step."""

    def step(self, theta: Tensor, objective: object, state: dict[str, object]) -> object:
        if state["updates"] == 2:
            torch.empty(2**50)
        return super().step(theta, objective, state)


def test_memory_that_ran_out_is_told_with_rows_need_and_limit() -> None:
    problem = make("quick")
    data = put(problem)
    memory = MemoryModel(problem, data)
    memory.limit = 5 * 2**30
    fleet = Fleet(problem, data, Greedy(), [0], UPDATES, 2)
    with pytest.raises(RuntimeError) as caught:
        fleet.run(Quiet())
    assert is_out_of_memory(caught.value)
    told = memory.out_of_memory_error([Greedy()], 3)
    assert told.exit_code == 4
    for part in ("K = 3", "watcher on small / quick", "had 5.00 GiB for it", "are kept"):
        assert part in str(told)
    assert f"needs {memory.bytes_needed([Greedy()], 3) / 2**10:.0f} KiB" in str(told)


@pytest.mark.parametrize(
    ("error", "means_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_which_errors_mean_that_memory_ran_out(error: Exception, means_it: bool) -> None:
    assert is_out_of_memory(error) == means_it


def test_operations_are_those_of_a_gradient_on_a_batch() -> None:
    problem, data = loaded("add")
    memory = MemoryModel(problem, data)
    assert isinstance(problem, SequenceProblem)
    network, steps = problem.network, problem.task.steps
    first = steps * network.features * network.units
    forward = first + steps * network.units**2 + network.units
    # What goes back to h₀ is summed over cases first.
    spared = network.units**2
    for batch in (4, 100):
        most = 2 * batch * (3 * forward - first)
        counted = memory.operations(optim.resolve(f"nag[batch={batch}]"))
        assert most - 2 * batch * spared <= counted <= most


def test_drawing_of_cases_is_not_begun() -> None:
    """Trying passes out takes cases that are there: no stream is opened, nobody is charged."""
    problem, data = loaded("add")
    drawn: list[int] = []
    watched = DeviceData(data.train, data.test, lambda rng, cases: drawn.append(cases))  # type: ignore[arg-type, return-value, func-returns-value]
    MemoryModel(problem, watched)
    assert drawn == []


@cuda
@pytest.mark.parametrize("name", ["curves", "add"])
@pytest.mark.parametrize("rows", [1, 16])
def test_need_on_a_gpu(name: str, rows: int) -> None:
    device = torch.device("cuda")
    problem = PROBLEMS[name]("quick")
    data = put(problem, device)
    method = joined("nag[batch=100]", rows, "cuda")
    memory = MemoryModel(problem, data)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    whole(problem, data, method, range(rows))
    allocated = torch.cuda.max_memory_allocated(device) - before
    assert allocated <= memory.bytes_needed([method], rows) <= 1.6 * allocated + 2**24
    assert memory.limit is not None and memory.bytes_needed([method], rows) < memory.limit
