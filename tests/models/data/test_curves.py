from pathlib import Path

import numpy as np
import pytest

from bench.models.data import curves as module
from bench.models.data.curves import curves, images, states
from bench.models.problem import Data, DataSource, digest_of


@pytest.fixture(scope="module")
def full() -> Data:
    return curves(20_000, 10_000, side=28, seed=0, cache=None)


def cross_entropy(targets: np.ndarray, outputs: np.ndarray) -> float:
    log_on = np.log(np.where(outputs > 0, outputs, 1))
    return float(-(targets * log_on + (1 - targets) * np.log1p(-outputs)).sum(1).mean())


def test_published_figures(full: Data) -> None:
    train, test = full.train_inputs.astype(np.float64), full.test_inputs.astype(np.float64)
    mean = train.mean(0)
    assert np.square(train - mean).sum(1).mean() == pytest.approx(16.9, abs=0.15)
    assert cross_entropy(train, mean) == pytest.approx(124.8, abs=0.5)
    assert cross_entropy(train, train) == pytest.approx(54.1, abs=0.3)
    centred = (train - mean).astype(np.float32)
    components = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, -18:]
    rest = (test - mean) - (test - mean) @ components @ components.T
    assert np.square(rest).sum(1).mean() == pytest.approx(5.9, abs=0.1)


def test_digest_of_the_default_set(full: Data) -> None:
    assert full.digest == "34d00b56d384c0b980c0b10ac04f895c86db166772dfc45462cbbd222b80e07c"


@pytest.mark.parametrize(
    ("side", "seed", "digest"),
    [
        (28, 0, "e09cd274f67d37faff21017c7d7fe130f606ebbe22362fe05564fba5065b00f7"),
        (16, 0, "63883e0413f728741cb886c167e38d9f9db8b7c281a1ae9fdeecf01445a4bb42"),
        (16, 1, "03cbff270fbf1750fabce7fcde71bed400457ef9d1e55ac54fca2f404ee132f9"),
    ],
)
def test_digests_of_small_sets(side: int, seed: int, digest: str) -> None:
    assert curves(30, 10, side, seed, None).digest == digest


def test_cases_are_multiples_of_two_to_the_minus_sixteen_in_float32(full: Data) -> None:
    assert full.train_inputs.dtype == full.test_inputs.dtype == np.float32
    scaled = full.test_inputs * np.float32(2**16)
    assert np.array_equal(scaled, np.rint(scaled))
    assert full.test_inputs.min() == 0
    assert 0.8 < full.test_inputs.max() <= 0.808 + 2**-16


def test_what_the_data_says_of_itself(full: Data) -> None:
    assert full.name == "curves (generated)"
    assert full.image_shape == (28, 28)
    assert full.train_inputs.shape == full.train_targets.shape == (20_000, 784)
    assert full.test_inputs.shape == full.test_targets.shape == (10_000, 784)
    assert full.digest == digest_of(full.train_inputs, full.test_inputs)


def test_case_i_depends_on_nothing_but_seed_side_and_i(full: Data) -> None:
    # 131 is in the second slice of 128, and its last case is in no full slice.
    few = curves(100, 31, 28, 0, None)
    assert np.array_equal(few.train_inputs, full.train_inputs[:100])
    assert np.array_equal(few.test_inputs, full.train_inputs[100:131])
    assert not np.array_equal(few.test_inputs, curves(100, 31, 28, 1, None).test_inputs)


@pytest.mark.parametrize("side", [28, 16])
def test_intensity_by_brute_force(side: int) -> None:
    """Pixel by pixel and segment by segment, all lengths scaled by (side - 1)/27."""
    scale = (side - 1) / 27
    polylines = module._polylines(3, 5) * scale
    pictures = images(3, side, 5).reshape(3, side, side)
    for picture, polyline in zip(pictures, np.moveaxis(polylines, -1, 0), strict=True):
        for row, column in [(0, 0), (7, 9), (side // 2, side // 2), (12, 4), (15, 15)]:
            p = np.array([column, row])
            distances = []
            for a, b in zip(polyline[:-1], polyline[1:], strict=True):
                t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
                distances.append(np.linalg.norm(p - a - t * (b - a)))
            ink = 0.808 * np.exp(-(min(distances) ** 2) / (2 * (0.955 * scale) ** 2))
            assert picture[row, column] == pytest.approx(ink, abs=2**-17 + 1e-12)


def test_a_segment_without_length_is_a_point() -> None:
    polyline = np.full((33, 2, 1), 1.0)
    squared = module._squared_distances(polyline, np.arange(3.0))[..., 0]
    assert squared.tolist() == [[2, 1, 2], [1, 0, 1], [2, 1, 2]]


def cached_file(cache: Path) -> Path:
    (path,) = (cache / "curves").iterdir()
    return path


def test_cache_gives_the_same_data_and_opens_in_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = curves(30, 10, 28, 0, tmp_path)
    monkeypatch.setattr(module, "images", None)  # nothing is generated a second time
    kept = curves(30, 10, 28, 0, tmp_path)
    assert kept.digest == made.digest
    assert np.array_equal(kept.train_inputs, made.train_inputs)
    assert np.array_equal(kept.test_inputs, made.test_inputs)
    assert np.array_equal(np.load(cached_file(tmp_path))[30:], made.test_inputs)


def test_cache_keeps_selections_apart(tmp_path: Path) -> None:
    digests = {
        curves(train, test, side, seed, tmp_path).digest
        for train, test, side, seed in [(6, 4, 8, 0), (4, 6, 8, 0), (6, 4, 9, 0), (6, 4, 8, 1)]
    }
    assert len(digests) == len(list((tmp_path / "curves").iterdir())) == 4


def test_cached_files_are_verified(tmp_path: Path) -> None:
    digest = curves(30, 10, 28, 0, tmp_path).digest
    path = cached_file(tmp_path)
    (found,) = states(DataSource((), tmp_path))
    assert (found.dataset, found.path, found.state) == ("curves", path, "verified")
    assert found.detail == f"SHA-256 {digest}"
    path.write_bytes(path.read_bytes()[:-1])
    assert [s.state for s in states(DataSource((), tmp_path))] == ["damaged"]
    assert curves(30, 10, 28, 0, tmp_path).digest == digest
    assert [s.state for s in states(DataSource((), tmp_path))] == ["verified"]


def test_without_cache_the_state_says_that_it_is_generated(tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "something.npy").touch()
    for cache in (None, tmp_path):
        assert [s.state for s in states(DataSource((), cache))] == ["generated"]
