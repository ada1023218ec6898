"""The laws that every problem must satisfy, on its own data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from bench.harness.check import derivatives, presets, thread_ranks
from bench.harness.check.derivatives import Point, random_direction
from bench.harness.check.laws import (
    Law,
    LawViolation,
    NotApplicable,
    check_close,
    equal_bits,
    expect,
    unchanged_random_streams,
)
from bench.harness.core.seeds import generator
from bench.harness.core.spec import Budget
from bench.harness.training.bound_objective import BoundObjective
from bench.harness.training.case_stream import BLOCK
from bench.harness.training.cases import DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.case_checks import check_cases
from bench.models.errors import ProblemError
from bench.models.problem import Data, DataSource, Problem, digest_of, input_tensor, to_tensor
from bench.models.problem_checks import TrialRun

CPU = torch.device("cpu")
CASES = 6
BATCH, BATCHES = 200, 3
RANKS = (2, 3)
"""Numbers of ranks over which each batch is split."""
ROWS, GROUPS = 4, (1, 2, 4)
"""The number of rows, and the numbers of groups that share their cases."""
MIN_ORDERED_CASES = 10
"""With fewer cases, two seeds may give the same order by chance."""
PARTS = ("train_inputs", "train_targets", "test_inputs", "test_targets")
PERFECT = 1e-12


class ProblemLaws:
    """The laws for one problem; `make` creates it at a preset.

    Raises DataError if the data are missing, and ValueError if they do not fit the network.
    """

    def __init__(self, make: Callable[[str], Problem], preset: str, source: DataSource) -> None:
        self.make_at, self.preset, self.source = make, preset, source
        self.problem = self.make()
        self.data = self.problem.data(source)

    def laws(self) -> dict[str, Law]:
        """Return every law by its name."""
        return {
            "inputs and targets match": self.cases,
            "one loss and one metric a case": self.values,
            "passes leave parameters and cases alone": self.writes,
            "presets differ only as declared": lambda: presets.compare(self.make_at),
            "same stream, same batches": self.streams,
            "same batches on any device and ranks": self.places,
            "digest changes with one value": self.digest,
            "initialisation depends on the seed alone": self.initialization,
            "outputs of a case depend on it alone": self.independence,
            "metric of a perfect output is 0": self.metric,
            "gradient matches the loss": lambda: derivatives.check_gradient(self.point()),
            "squared gradient matches single cases": lambda: derivatives.check_squared_gradient(
                self.point()
            ),
            "curvature is the Gauss–Newton matrix": lambda: derivatives.check_curvature(
                self.point()
            ),
            "curvature is symmetric, semi-definite": lambda: derivatives.check_semidefinite(
                self.point()
            ),
            "K rows equal K single rows": self.rows,
            "a batch can be split over processes": lambda: thread_ranks.check(
                self.problem, self.data
            ),
            "padding stays 0": self.padding,
        }

    def make(self) -> Problem:
        """Return a new instance of the problem."""
        return self.make_at(self.preset)

    def point(self, seed: int = 0, first: int = 0) -> Point:
        """Return perturbed initial parameters, with the cases from number `first` on."""
        some = slice(first, first + CASES)
        x = input_tensor(self.data.train_inputs[some], torch.float64)[None]
        t = to_tensor(self.data.train_targets[some], torch.float64)[None]
        return Point(self.problem, derivatives.perturbed_parameters(self.problem, seed), x, t)

    def cases(self) -> str:
        """Check that inputs and targets match in number, are finite, and have the test's shape."""
        data = self.data
        for part in ("train", "test"):
            inputs, targets = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_targets")
            counts = f"{len(inputs)} inputs and {len(targets)} targets"
            expect(len(inputs) == len(targets) > 0, f"as many inputs as targets in {part}", counts)
        for kind in ("inputs", "targets"):
            train, test = getattr(data, f"train_{kind}"), getattr(data, f"test_{kind}")
            expect(
                train.shape[1:] == test.shape[1:],
                f"test {kind} of shape {train.shape[1:]}, as in training",
                str(test.shape[1:]),
            )
        for name in PARTS:
            wrong = int(np.count_nonzero(~np.isfinite(getattr(data, name))))
            expect(wrong == 0, f"finite values in {name}", f"{wrong} that are not")
        check_cases(data, self.problem.loss)
        return f"{len(data.train_inputs):,} training and {len(data.test_inputs):,} test cases"

    def values(self) -> str:
        """Check that outputs have the targets' shape, and that loss and metric are per case."""
        trial = self._trial()
        trial.check_outputs()
        trial.check_values()
        trial.check_diagnostics()
        return f"finite, and the same alone as among others; {' and '.join(trial.parts)}"

    def writes(self) -> str:
        """Check that no pass writes into θ, inputs or targets, at large and small values too."""
        return self._trial().check_writes()

    def _trial(self) -> TrialRun:
        try:
            check_cases(self.data, self.problem.loss)
        except ProblemError as error:
            raise NotApplicable("another law says what is wrong with the cases") from error
        return TrialRun(self.problem, self.data)

    def streams(self) -> str:
        """Check that name and seed determine a stream's batches, also for a new instance."""
        with unchanged_random_streams("loading the data and drawing batches"):
            other = self.make()
            data = other.data(self.source)
            expect(data.digest == self.data.digest, f"digest {self.data.digest}", data.digest)
            size = min(BATCH, len(self.data.train_inputs))
            mine, new = self._batches(self.problem, self.data), self._batches(other, data)
            for stream in ("gradient", "curvature"):
                first = mine(0, stream, size)
                for whose, again in (("again", mine), ("from a new instance", new)):
                    same = equal_bits(first, again(0, stream, size))
                    expect(same, f"the same {stream} batches {whose}", "others under seed 0")
                is_random = (
                    self.data.draw is not None or len(self.data.train_inputs) >= MIN_ORDERED_CASES
                )
                if is_random and equal_bits(first, mine(1, stream, size)):
                    raise LawViolation(
                        f"expected other {stream} batches under another seed; found the same"
                    )
        drawn = "" if self.data.draw is None else f", {self._drawn():,} new cases drawn"
        return f"{BATCHES} batches of {size} a stream, bit for bit{drawn}"

    def _batches(
        self, problem: Problem, data: Data
    ) -> Callable[[int, str, int], list[tuple[Tensor, Tensor]]]:
        put = DeviceData.from_data(data, CPU, torch.float32)

        def batches(seed: int, stream: str, size: int) -> list[tuple[Tensor, Tensor]]:
            bound = _bound(problem, put, [seed])
            return [_next_batch(bound, size, stream) for _ in range(BATCHES)]

        return batches

    def places(self) -> str:
        """Check that batches are the same on every device, split over ranks, and for K seeds.

        Each of R ranks takes its part of every batch by position, or trains its own rows.
        """
        size = min(BATCH, len(self.data.train_inputs))
        ranks = [count for count in RANKS if count <= size]
        devices = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]
        whole = self._batches(self.problem, self.data)
        for device in devices:
            put = DeviceData.from_data(self.data, device, torch.float32)
            for stream in ("gradient", "curvature"):
                alone = [whole(seed, stream, size) for seed in (0, 1)]
                for count in ranks:
                    parted = self._parted(put, stream, size, count)
                    expect(
                        equal_bits(alone[0], parted),
                        f"the same {stream} batches on {device.type} split over {count} ranks",
                        "others",
                    )
                both = _bound(self.problem, put, [0, 1])
                for number in range(BATCHES):
                    rows = _next_batch(both, size, stream)
                    for seed, row in enumerate(alone):
                        same = equal_bits(
                            row[number], tuple(each[seed : seed + 1] for each in rows)
                        )
                        expect(
                            same,
                            f"the same {stream} batches of seed {seed} beside another seed on "
                            f"{device.type}",
                            "others",
                        )
        named = ", ".join(device.type for device in devices)
        split = f"split over {' and '.join(map(str, ranks))} ranks, " if ranks else ""
        return f"{named}: {split}2 seeds like each seed alone, bit for bit"

    def _parted(
        self, put: DeviceData, stream: str, size: int, ranks: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Return batches composed of the parts that each rank took from the stream."""
        bounds = [_bound(self.problem, put, [0]) for _ in range(ranks)]
        cuts = [size * rank // ranks for rank in range(ranks + 1)]
        batches = []
        for start in range(0, BATCHES * size, size):
            parts = []
            for bound, low, high in zip(bounds, cuts, cuts[1:], strict=False):
                bound.batches.restore_positions({stream: [start + low]})
                parts.append(_next_batch(bound, high - low, stream))
            inputs, targets = (torch.cat(each, 1) for each in zip(*parts, strict=True))
            batches.append((inputs, targets))
        return batches

    def _drawn(self) -> int:
        """Check newly drawn cases: their number, and their shapes as in the data."""
        assert self.data.draw is not None
        drawn = self.data.draw(generator(0, "check"), BLOCK)
        for kind, array in zip(("inputs", "targets"), drawn, strict=True):
            shape = (BLOCK, *getattr(self.data, f"train_{kind}").shape[1:])
            expect(array.shape == shape, f"drawn {kind} of shape {shape}", str(array.shape))
            expect(bool(np.isfinite(array).all()), f"finite drawn {kind}", "some that are not")
        return BLOCK

    def digest(self) -> str:
        """Check that the digest is `digest_of` all arrays of cases, in any order."""
        parts = {name: getattr(self.data, name) for name in PARTS}
        for kind in ("train", "test"):
            if parts[f"{kind}_targets"] is parts[f"{kind}_inputs"]:
                del parts[f"{kind}_targets"]
        covered = _covered(parts, self.data.digest)
        if covered is None:
            raise LawViolation(
                "expected bench.models.problem.digest_of the arrays of cases; found "
                f"{self.data.digest[:16]}…, which belongs to no combination of them"
            )
        missed = [name for name in parts if name not in covered]
        expect(not missed, f"a digest of {', '.join(parts)}", f"one without {', '.join(missed)}")
        for name in covered:
            changed = {each: np.array(parts[each], order="C") for each in covered}
            changed[name].reshape(-1).view(np.uint8)[-1] ^= 1
            same = digest_of(*changed.values()) == self.data.digest
            expect(not same, f"a new digest for a changed value in {name}", "the same digest")
        return f"{self.data.digest[:16]}…, one value changed in each of {', '.join(covered)}"

    def initialization(self) -> str:
        """Check that θ is (P,), float64 and finite, and depends on the seed only."""
        streams = [generator(seed, "initialization") for seed in (0, 0, 1)]
        before = [str(stream.bit_generator.state) for stream in streams]
        with unchanged_random_streams("initialising"):
            first, again, other = (self.problem.initialize(stream) for stream in streams)
        size = (self.problem.layout.size,)
        found = f"{tuple(first.shape)} in {first.dtype}"
        expect(first.shape == size and first.dtype == torch.float64, f"{size} in float64", found)
        expect(bool(first.isfinite().all()), "finite parameters", "some that are not")
        with _other_random_streams():
            new = self.make().initialize(generator(0, "initialization"))
        for what, each in (("again", again), ("with other global random streams", new)):
            different = int((each != first).sum())
            expect(
                different == 0,
                f"the same parameters {what} under seed 0",
                f"{different:,} of {len(first):,} values that differ",
            )
        if equal_bits(first, other):
            drew = str(streams[0].bit_generator.state) != before[0]
            expect(not drew, "other parameters under another seed", "the same")
            return f"{self.problem.layout.count:,} parameters, the same under every seed"
        return f"{self.problem.layout.count:,} parameters, bit for bit"

    def independence(self) -> str:
        """Check that logits of a batch are those of its single cases, and are repeatable."""
        point = self.point()
        with unchanged_random_streams("computing outputs"):
            z = point.logits(point.theta)
            again = point.logits(point.theta)
        check_close("outputs a second time", again, z, 0.0)
        alone = [point.passes.logits(point.theta, x[None, None]).clone() for x in point.inputs[0]]
        off = check_close("outputs of single cases", torch.cat(alone, 1), z)
        return f"relative difference {off:.1e}, {z.shape[1]} cases"

    def metric(self) -> str:
        """Check that the metric is 0 at logits whose outputs are the targets, if there are such."""
        if self.problem.metric.direction != "lower":
            raise NotApplicable("for this metric, higher is better")
        point = self.point()
        perfect = _perfect(self.problem, point.logits(point.theta).shape, point.targets)
        worst = float(self.problem.metric.per_case(perfect, point.targets).abs().max())
        expect(worst <= PERFECT, f"0 where outputs are the targets (to {PERFECT:g})", f"{worst:g}")
        return f"{worst:.1e}"

    def rows(self) -> str:
        """Check that K rows give what each row gives alone, on shared, grouped and own cases."""
        points = [self.point(seed) for seed in range(ROWS)]
        theta = torch.cat([point.theta for point in points])
        v = torch.cat([random_direction(self.problem, 50 + k) for k in range(ROWS)])
        last = max(0, len(self.data.train_inputs) - CASES)
        worst = 0.0
        for groups in GROUPS:
            seen = [self.point(0, min(group, last)) for group in range(groups)]
            x, t = (torch.cat([getattr(p, n) for p in seen]) for n in ("inputs", "targets"))
            together = _all_results(points[0], theta, x, t, v)
            for k in range(ROWS):
                one, point = slice(k, k + 1), seen[k * groups // ROWS]
                alone = _all_results(points[0], theta[one], point.inputs, point.targets, v[one])
                for what, value in alone.items():
                    worst = max(
                        worst, check_close(f"{what} of row {k}", together[what][one], value)
                    )
        named = " and ".join(map(str, GROUPS))
        return f"relative difference {worst:.1e}, K = {ROWS} in {named} groups"

    def padding(self) -> str:
        """Check that the padding between parameters is 0 in θ, in gradients and in products."""
        point, layout = self.point(), self.problem.layout
        unused = torch.ones(1, layout.size, dtype=torch.bool)
        for view in layout.views(unused).values():
            view.fill_(False)
        count = int(unused.sum())
        if not count:
            raise NotApplicable("this problem has no padding")
        theta = self.problem.initialize(generator(0, "initialization"))[None]
        values = _all_results(
            point, point.theta, point.inputs, point.targets, random_direction(self.problem, 1)
        )
        for what, value in {"initial parameters": theta, **values}.items():
            if value.shape == unused.shape:
                found = int(value[unused].count_nonzero())
                expect(found == 0, f"0 in the padding of {what}", f"{found} values that are not")
        return f"{count} values"


def _bound(problem: Problem, put: DeviceData, seeds: list[int]) -> BoundObjective:
    return BoundObjective(problem, put, seeds, Account(Budget("updates", 1), Clock(CPU)))


def _next_batch(bound: BoundObjective, size: int, stream: str) -> tuple[Tensor, Tensor]:
    batch = bound.next_batch(size, stream)  # type: ignore[arg-type]
    return batch.inputs.cpu(), batch.targets.cpu()


def _all_results(point: Point, theta: Tensor, x: Tensor, t: Tensor, v: Tensor) -> dict[str, Tensor]:
    """Return copies of everything that passes compute for rows."""
    passes, gradient = point.passes, torch.zeros_like(theta)
    passes.gradient(theta, x, t, gradient)
    return {
        "outputs": passes.logits(theta, x).clone(),
        "loss": passes.loss(theta, x, t).clone(),
        "gradient": gradient,
        "squared gradient": passes.squared_gradient(theta, x, t).clone(),
        "curvature product": passes.curvature(theta, x, t)(v).clone(),
    }


def _perfect(problem: Problem, shape: Sequence[int], targets: Tensor) -> Tensor:
    """Return logits whose outputs are the targets, by the inverse of a common nonlinearity."""
    if tuple(shape) == tuple(targets.shape):
        usual = (targets, torch.logit(targets), torch.log(targets))
        for each in usual:
            # A target of 0 or 1 needs infinite logits; large ones are equal in float64.
            z = each.nan_to_num(nan=0.0, posinf=1e3, neginf=-1e3)
            if torch.allclose(problem.loss.outputs(z), targets, rtol=PERFECT, atol=PERFECT):
                return z
    raise NotApplicable("no known logits have the targets as outputs")


def _covered(parts: dict[str, np.ndarray], digest: str) -> tuple[str, ...] | None:
    """Return the names of the arrays with this digest, in the order of the digest."""
    for count in range(len(parts), 0, -1):
        for names in permutations(parts, count):
            if digest_of(*(parts[name] for name in names)) == digest:
                return names
    return None


class _other_random_streams:
    """Set the global random streams to another state, and restore them afterwards."""

    def __enter__(self) -> None:
        self._torch, self._numpy = torch.get_rng_state(), np.random.get_state()
        torch.default_generator.manual_seed(1)
        np.random.seed(1)

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)
