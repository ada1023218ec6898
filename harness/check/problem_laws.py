"""What every problem must satisfy, whoever wrote it, on its own data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from bench.harness.check import derivatives, presets, thread_ranks
from bench.harness.check.derivatives import Point, everywhere
from bench.harness.check.laws import Broken, Law, NotApplicable, equal, expect, near, undisturbed
from bench.harness.core.seeds import generator
from bench.harness.core.spec import Budget
from bench.harness.training.bound_objective import BoundObjective
from bench.harness.training.case_stream import BLOCK
from bench.harness.training.cases import DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.problem import Data, DataSource, Problem, digest_of, to_tensor

CPU = torch.device("cpu")
CASES = 6
BATCH, BATCHES = 200, 3
RANKS = (2, 3)
"""Over so many ranks each batch is split."""
ROWS, GROUPS = 4, (1, 2, 4)
"""Rows, and groups of them that share their cases."""
TELLING = 10
"""With fewer cases two seeds may well order them alike."""
PARTS = ("train_inputs", "train_targets", "test_inputs", "test_targets")
PERFECT = 1e-12


class ProblemLaws:
    """The laws for one problem; `make` makes it anew each time, at any preset.

    Raises DataError where the data is missing, ValueError where network and data do not fit.
    """

    def __init__(self, make: Callable[[str], Problem], preset: str, source: DataSource) -> None:
        self.make_at, self.preset, self.source = make, preset, source
        self.problem = self.make()
        self.data = self.problem.data(source)

    def laws(self) -> dict[str, Law]:
        """Return every law by its name."""
        return {
            "cases belong together": self.cases,
            "presets differ as they say": lambda: presets.compare(self.make_at),
            "same stream, same batches": self.streams,
            "same batches on any device and ranks": self.places,
            "digest changes with one value": self.digest,
            "initialisation depends on the seed alone": self.initialization,
            "a case's outputs depend on it alone": self.independence,
            "metric of a perfect output is 0": self.metric,
            "gradient is the loss's": lambda: derivatives.check_gradient(self.point()),
            "squared gradient is that of single cases": lambda: derivatives.check_squared_gradient(
                self.point()
            ),
            "curvature is Gauss and Newton's": lambda: derivatives.check_curvature(self.point()),
            "curvature is symmetric, semi-definite": lambda: derivatives.check_semidefinite(
                self.point()
            ),
            "K rows are K single rows": self.rows,
            "a batch may be split over processes": lambda: thread_ranks.check(
                self.problem, self.data
            ),
            "padding stays 0": self.padding,
        }

    def make(self) -> Problem:
        """Return the problem, made anew."""
        return self.make_at(self.preset)

    def point(self, seed: int = 0, first: int = 0) -> Point:
        """Return θ off its start and cases from number `first` on."""
        x, t = (
            to_tensor(array[first : first + CASES], torch.float64)[None]
            for array in (self.data.train_inputs, self.data.train_targets)
        )
        return Point(self.problem, derivatives.moved(self.problem, seed), x, t)

    def cases(self) -> str:
        """See that inputs and targets are as many, finite, and of one shape in both sets."""
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
        return f"{len(data.train_inputs):,} training and {len(data.test_inputs):,} test cases"

    def streams(self) -> str:
        """See that name and seed give a stream's batches, also from a problem made anew."""
        with undisturbed("loading the data and drawing batches"):
            other = self.make()
            data = other.data(self.source)
            expect(data.digest == self.data.digest, f"digest {self.data.digest}", data.digest)
            size = min(BATCH, len(self.data.train_inputs))
            mine, new = self._batches(self.problem, self.data), self._batches(other, data)
            for stream in ("gradient", "curvature"):
                first = mine(0, stream, size)
                for whose, again in (("again", mine), ("from the problem made anew", new)):
                    same = equal(first, again(0, stream, size))
                    expect(same, f"the same {stream} batches {whose}", "others under seed 0")
                told = self.data.draw is not None or len(self.data.train_inputs) >= TELLING
                if told and equal(first, mine(1, stream, size)):
                    raise Broken(
                        f"expected other {stream} batches under another seed; found the same"
                    )
        drawn = "" if self.data.draw is None else f", {self._drawn():,} cases drawn anew"
        return f"{BATCHES} batches of {size} a stream, bit for bit{drawn}"

    def _batches(
        self, problem: Problem, data: Data
    ) -> Callable[[int, str, int], list[tuple[Tensor, Tensor]]]:
        put = DeviceData.put(data, CPU, torch.float32)

        def batches(seed: int, stream: str, size: int) -> list[tuple[Tensor, Tensor]]:
            bound = _bound(problem, put, [seed])
            return [_taken(bound, size, stream) for _ in range(BATCHES)]

        return batches

    def places(self) -> str:
        """See that batches are the same on every device, split over ranks, and for K seeds.

        Of R ranks each takes its part of every batch, by position; or rows of their own.
        """
        size = min(BATCH, len(self.data.train_inputs))
        ranks = [count for count in RANKS if count <= size]
        devices = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]
        whole = self._batches(self.problem, self.data)
        for device in devices:
            put = DeviceData.put(self.data, device, torch.float32)
            for stream in ("gradient", "curvature"):
                alone = [whole(seed, stream, size) for seed in (0, 1)]
                for count in ranks:
                    parted = self._parted(put, stream, size, count)
                    expect(
                        equal(alone[0], parted),
                        f"the same {stream} batches on {device.type} split over {count} ranks",
                        "others",
                    )
                both = _bound(self.problem, put, [0, 1])
                for number in range(BATCHES):
                    rows = _taken(both, size, stream)
                    for seed, row in enumerate(alone):
                        same = equal(row[number], tuple(each[seed : seed + 1] for each in rows))
                        expect(
                            same,
                            f"the {stream} batches of seed {seed} also beside another, on "
                            f"{device.type}",
                            "others",
                        )
        named = ", ".join(device.type for device in devices)
        split = f"split over {' and '.join(map(str, ranks))} ranks, " if ranks else ""
        return f"{named}: {split}2 seeds as each alone, bit for bit"

    def _parted(
        self, put: DeviceData, stream: str, size: int, ranks: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Return batches of which each rank took a part, from where it is in the stream."""
        bounds = [_bound(self.problem, put, [0]) for _ in range(ranks)]
        cuts = [size * rank // ranks for rank in range(ranks + 1)]
        batches = []
        for start in range(0, BATCHES * size, size):
            parts = []
            for bound, low, high in zip(bounds, cuts, cuts[1:], strict=False):
                bound.batches.move_to({stream: [start + low]})
                parts.append(_taken(bound, high - low, stream))
            inputs, targets = (torch.cat(each, 1) for each in zip(*parts, strict=True))
            batches.append((inputs, targets))
        return batches

    def _drawn(self) -> int:
        """Look at cases drawn anew: as many as asked for, and like those of the data."""
        assert self.data.draw is not None
        drawn = self.data.draw(generator(0, "check"), BLOCK)
        for kind, array in zip(("inputs", "targets"), drawn, strict=True):
            shape = (BLOCK, *getattr(self.data, f"train_{kind}").shape[1:])
            expect(array.shape == shape, f"drawn {kind} of shape {shape}", str(array.shape))
            expect(bool(np.isfinite(array).all()), f"finite drawn {kind}", "some that are not")
        return BLOCK

    def digest(self) -> str:
        """See that the digest is `digest_of` the cases, all of them, in whatever order."""
        parts = {name: getattr(self.data, name) for name in PARTS}
        for kind in ("train", "test"):
            if parts[f"{kind}_targets"] is parts[f"{kind}_inputs"]:
                del parts[f"{kind}_targets"]
        covered = _covered(parts, self.data.digest)
        if covered is None:
            raise Broken(
                "expected bench.models.problem.digest_of the arrays of cases; found "
                f"{self.data.digest[:16]}…, which is that of none of them"
            )
        missed = [name for name in parts if name not in covered]
        expect(not missed, f"a digest of {', '.join(parts)}", f"one without {', '.join(missed)}")
        for name in covered:
            changed = {each: np.array(parts[each], order="C") for each in covered}
            changed[name].reshape(-1).view(np.uint8)[-1] ^= 1
            same = digest_of(*changed.values()) == self.data.digest
            expect(not same, f"another digest for another value in {name}", "the same")
        return f"{self.data.digest[:16]}…, one value changed in each of {', '.join(covered)}"

    def initialization(self) -> str:
        """See that θ is (P,), float64, finite, the seed's alone, and moves no global stream."""
        streams = [generator(seed, "initialization") for seed in (0, 0, 1)]
        before = [str(stream.bit_generator.state) for stream in streams]
        with undisturbed("initialising"):
            first, again, other = (self.problem.initialize(stream) for stream in streams)
        size = (self.problem.layout.size,)
        found = f"{tuple(first.shape)} in {first.dtype}"
        expect(first.shape == size and first.dtype == torch.float64, f"{size} in float64", found)
        expect(bool(first.isfinite().all()), "finite parameters", "some that are not")
        with _elsewhere():
            anew = self.make().initialize(generator(0, "initialization"))
        for what, each in (("again", again), ("with the global streams elsewhere", anew)):
            different = int((each != first).sum())
            expect(
                different == 0,
                f"the same parameters {what} under seed 0",
                f"{different:,} of {len(first):,} values that differ",
            )
        if equal(first, other):
            drew = str(streams[0].bit_generator.state) != before[0]
            expect(not drew, "other parameters under another seed", "the same")
            return f"{self.problem.layout.count:,} parameters, the same under every seed"
        return f"{self.problem.layout.count:,} parameters, bit for bit"

    def independence(self) -> str:
        """See that logits of a batch are those of its cases, and those of a second time."""
        point = self.point()
        with undisturbed("computing outputs"):
            z = point.logits(point.theta)
            again = point.logits(point.theta)
        near("outputs a second time", again, z, 0.0)
        alone = [point.passes.logits(point.theta, x[None, None]).clone() for x in point.inputs[0]]
        off = near("outputs of single cases", torch.cat(alone, 1), z)
        return f"relative difference {off:.1e}, {z.shape[1]} cases"

    def metric(self) -> str:
        """See that the metric is 0 at logits whose outputs are the targets, if there are such."""
        if self.problem.metric.direction != "lower":
            raise NotApplicable("a higher value is better")
        point = self.point()
        perfect = _perfect(self.problem, point.logits(point.theta).shape, point.targets)
        worst = float(self.problem.metric.per_case(perfect, point.targets).abs().max())
        expect(worst <= PERFECT, f"0 where outputs are the targets (to {PERFECT:g})", f"{worst:g}")
        return f"{worst:.1e}"

    def rows(self) -> str:
        """See that K rows give what each gives alone: on shared cases, by group, and on own."""
        points = [self.point(seed) for seed in range(ROWS)]
        theta = torch.cat([point.theta for point in points])
        v = torch.cat([everywhere(self.problem, 50 + k) for k in range(ROWS)])
        last = max(0, len(self.data.train_inputs) - CASES)
        worst = 0.0
        for groups in GROUPS:
            seen = [self.point(0, min(group, last)) for group in range(groups)]
            x, t = (torch.cat([getattr(p, n) for p in seen]) for n in ("inputs", "targets"))
            together = _everything(points[0], theta, x, t, v)
            for k in range(ROWS):
                one, point = slice(k, k + 1), seen[k * groups // ROWS]
                alone = _everything(points[0], theta[one], point.inputs, point.targets, v[one])
                for what, value in alone.items():
                    worst = max(worst, near(f"{what} of row {k}", together[what][one], value))
        named = " and ".join(map(str, GROUPS))
        return f"relative difference {worst:.1e}, K = {ROWS} in {named} groups"

    def padding(self) -> str:
        """See that what lies between parameters is 0 in θ, in gradients and in products."""
        point, layout = self.point(), self.problem.layout
        unused = torch.ones(1, layout.size, dtype=torch.bool)
        for view in layout.views(unused).values():
            view.fill_(False)
        count = int(unused.sum())
        if not count:
            raise NotApplicable("there is none")
        theta = self.problem.initialize(generator(0, "initialization"))[None]
        values = _everything(
            point, point.theta, point.inputs, point.targets, everywhere(self.problem, 1)
        )
        for what, value in {"initial parameters": theta, **values}.items():
            if value.shape == unused.shape:
                found = int(value[unused].count_nonzero())
                expect(found == 0, f"0 in the padding of {what}", f"{found} values that are not")
        return f"{count} values"


def _bound(problem: Problem, put: DeviceData, seeds: list[int]) -> BoundObjective:
    return BoundObjective(problem, put, seeds, Account(Budget("updates", 1), Clock(CPU)))


def _taken(bound: BoundObjective, size: int, stream: str) -> tuple[Tensor, Tensor]:
    batch = bound.next_batch(size, stream)  # type: ignore[arg-type]
    return batch.inputs.cpu(), batch.targets.cpu()


def _everything(point: Point, theta: Tensor, x: Tensor, t: Tensor, v: Tensor) -> dict[str, Tensor]:
    """Return all that passes compute for rows, each as a tensor of its own."""
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
    """Return logits whose outputs are the targets: their inverse under a usual nonlinearity."""
    if tuple(shape) == tuple(targets.shape):
        usual = (targets, torch.logit(targets), torch.log(targets))
        for each in usual:
            # A target of 0 or 1 is met far out, as closely as float64 can say.
            z = each.nan_to_num(nan=0.0, posinf=1e3, neginf=-1e3)
            if torch.allclose(problem.loss.outputs(z), targets, rtol=PERFECT, atol=PERFECT):
                return z
    raise NotApplicable("no logits are known whose outputs are the targets")


def _covered(parts: dict[str, np.ndarray], digest: str) -> tuple[str, ...] | None:
    """Return the names whose arrays have this digest, in its order."""
    for count in range(len(parts), 0, -1):
        for names in permutations(parts, count):
            if digest_of(*(parts[name] for name in names)) == digest:
                return names
    return None


class _elsewhere:
    """Puts the global streams to another place, and back."""

    def __enter__(self) -> None:
        self._torch, self._numpy = torch.get_rng_state(), np.random.get_state()
        torch.default_generator.manual_seed(1)
        np.random.seed(1)

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)
