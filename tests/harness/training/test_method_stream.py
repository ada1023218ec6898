"""What a method draws is a stream of its trial: held by the seed, saved, and of no one else."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.harness.core.schema import Mismatch
from bench.harness.core.spec import Budget
from bench.harness.training.fleet import Fleet
from bench.harness.training.method_stream import MethodWithStream, with_random_stream
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.random_streams import RandomStreams
from bench.optim.registry import resolve
from bench.optim.torch.adapter import adapt
from tests.harness.check.wrong import Noisy, Rated
from tests.harness.training.test_fleet import CPU, Observer
from tests.harness.training.test_fleet_state import Disk, of, read


class Drawing(torch.optim.Optimizer):
    """Draws where it is made, in its steps and where it is evaluated, from every global stream."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr})
        self.factor = random.random()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        scale, shift = np.random.randn(), random.gauss(0, 1) + self.factor
        for each in self.param_groups[0]["params"]:
            noise = torch.randn_like(each) * scale + shift
            each.sub_(each.grad + 0.01 * noise, alpha=0.05)

    def train(self) -> None:
        random.random()

    def eval(self) -> None:
        np.random.rand()


def drawing() -> Method:
    return cast(Method, adapt(Drawing, "drawing")("torch", batch=10))


def fleet(seed: int = 0, state: dict[str, Any] | None = None, dtype: Any = torch.float32) -> Fleet:
    made = of(drawing(), (seed,), Budget("updates", 12.0), dtype)
    if state is not None:
        made.load_state_dict(state)
    return made


def end(made: Fleet) -> Tensor:
    return made.run(Observer())[0].theta


def test_the_seed_holds_the_run_whatever_the_process_has_drawn() -> None:
    ends = []
    for process in (1, 2):
        with RandomStreams.seeded(process).in_place():
            ends.append(end(fleet()))
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], end(fleet(1)))


def test_the_streams_of_the_process_stay_where_they_are() -> None:
    streams = RandomStreams.seeded(5)
    before = streams.state_dict()
    with streams.in_place():
        end(fleet())
    after = streams.state_dict()
    assert torch.equal(before.pop("torch"), after.pop("torch"))
    assert before == after


def test_a_run_goes_on_from_its_saved_state_in_another_process() -> None:
    begun, disk = fleet(), Disk()
    for _ in range(5):
        begun.advance()
    disk.write(begun.state_dict())
    with RandomStreams.seeded(9).in_place():
        assert torch.equal(end(fleet(state=read(disk.files[0]))), end(begun))


def test_an_evaluation_that_draws_moves_no_stream() -> None:
    made = fleet()
    made.advance()
    before = made.method.state_dict(made.state)["random streams"]
    made.method.iterate(made.theta, made.state)
    after = made.method.state_dict(made.state)["random streams"]
    assert torch.equal(before.pop("torch"), after.pop("torch"))
    assert before == after


@pytest.mark.parametrize("name", ["torch", "numpy", "python"])
@pytest.mark.parametrize(
    "forged",
    [None, 3, torch.zeros(3), (1, 2), ([1], 2), ([1] * 624, "x"), ([1] * 624, 10**6)],
)
def test_a_state_whose_streams_are_none_is_refused(name: str, forged: Any) -> None:
    before = RandomStreams.current().state_dict()["python"]
    made = fleet()
    saved = made.state_dict()
    saved["method"]["random streams"][name] = forged
    with pytest.raises(Mismatch):
        fleet(state=saved)
    assert RandomStreams.current().state_dict()["python"] == before


def test_methods_that_draw_nothing_run_without_streams() -> None:
    for name in ("nag", "hf", "torch.optim.AdamW"):
        method = resolve(name)
        assert with_random_stream(method, [0], CPU) is method
    for method in (Noisy(), resolve("schedulefree:SGDScheduleFree"), drawing()):
        held = with_random_stream(cast(Method, method), [0], CPU)
        assert isinstance(held, MethodWithStream)
        assert held.cost_of_a_step == method.cost_of_a_step
        assert held.keep is None


class Joined(Noisy):
    """Draws, and lets several trials be one fleet."""

    fleet_key = ("joined",)

    def join(self, others: Any) -> Any:
        return self


def test_rows_that_would_share_draws_are_refused() -> None:
    method = cast(Method, Joined())
    with pytest.raises(UsageError, match="draws random numbers .* trains 2 trials as one fleet"):
        of(method, (0, 1), Budget("updates", 4.0)).run(Observer())
    assert len(of(cast(Method, Joined()), (0,), Budget("updates", 4.0)).run(Observer())) == 1
    assert len(of(cast(Method, Rated()), (0, 1), Budget("updates", 4.0)).run(Observer())) == 2


class Capturable(Rated):
    capturable = True


class CapturableNoisy(Noisy):
    capturable = True


def test_a_graph_repeats_only_what_draws_nothing() -> None:
    for method, fixed in ((Capturable(), True), (CapturableNoisy(), False), (Rated(), False)):
        made = of(cast(Method, method), (0,), Budget("updates", 4.0))
        assert not made.method.capturable
        made.advance()
        assert made.method.capturable is fixed


def test_the_ends_of_a_fleet_with_fewer_rows_are_those_of_its_method() -> None:
    class Keeping(Rated):
        kept = 0

        def keep(self, state: Any, rows: Any, theta: Tensor) -> Any:
            Keeping.kept = len(rows)
            return self, state

    held = with_random_stream(cast(Method, Keeping()), [0, 1], CPU)
    method, state = held.keep("state", [0], torch.zeros(1, 3))  # type: ignore[attr-defined]
    assert (method, state, Keeping.kept) == (held, "state", 1)
