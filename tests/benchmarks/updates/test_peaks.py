"""Operations are counted as torch counts them, and a bound is the slower of two."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.harness.training.bound_objective import initial_parameters
from bench.models.deep_autoencoders import DeepAutoencoder, curves, mnist
from benchmarks.ratios import Timed
from benchmarks.updates.peaks import BYTES, Peak, copy, operations, precision, product, roofline
from benchmarks.updates.plain import cross_entropy, sequential

CPU = torch.device("cpu")


@pytest.mark.parametrize("problem", [curves("quick"), mnist("paper")], ids=lambda p: p.name)
def test_operations_are_those_that_torch_counts(problem: DeepAutoencoder) -> None:
    cases = 3
    model = sequential(problem, initial_parameters(problem, [0], CPU, torch.float32))
    x = torch.rand(cases, problem.architecture.sizes[0])
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(x), x).backward()
    assert operations(problem.architecture, cases) == counter.get_total_flops()


def test_the_slower_peak_bounds() -> None:
    multiplied, copied = (Peak(name, Timed(int), 100.0) for name in ("product", "copy"))
    # 100 operations in 1 s, 100 bytes in 2 s.
    assert roofline(50, 10, (multiplied, 1.0), (copied, 2.0)) == 0.5
    assert roofline(50, 50, (multiplied, 1.0), (copied, 2.0)) == 1.0


def test_the_floor_of_an_update_is_memory_in_tf32_and_arithmetic_in_float32() -> None:
    """mnist/paper, B = 200, on a device of 4 TB/s, 350 TFLOP/s in TF32 and 50 in float32."""
    shape = mnist("paper").architecture
    work, moved = operations(shape, 200), BYTES * shape.layout().count
    copied = Peak("copy", Timed(int), 4e12)
    tf32, fp32 = (Peak("product", Timed(int), each) for each in (350e12, 50e12))
    assert roofline(work, moved, (tf32, 1.0), (copied, 1.0)) == moved / 4e12
    assert roofline(work, moved, (fp32, 1.0), (copied, 1.0)) == work / 50e12


def test_work_of_the_peaks_is_bytes_moved_and_operations() -> None:
    assert copy(True, CPU).work == 2 * 4 * 2**16
    assert product(True, CPU).work == 2 * 64**3
    for peak in (copy(True, CPU), product(True, CPU)):
        result = peak.timed.call()
        assert isinstance(result, torch.Tensor) and bool(result.any())


def test_precision_is_set_inside_only() -> None:
    before = torch.get_float32_matmul_precision()
    with precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
