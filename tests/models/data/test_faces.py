import math
from pathlib import Path

import numpy as np
import pytest

from bench.models.data import faces as module
from bench.models.data.faces import faces, normalised, patch, patches, states
from bench.models.data.olivetti import olivetti
from bench.models.problem import Data, DataError, DataSource, digest_of

EACH = 3
"""Patches of a picture in these tests, so that the whole set has 1,200."""
TRAIN, TEST, WHOLE = 250 * EACH, 100 * EACH, 400 * EACH


def made_up() -> np.ndarray:
    """400 pictures: a ramp in a direction of the person's, and a texture of the picture's."""
    n, y, x = np.ogrid[:400, :64, :64]
    ramp = (n // 10) % 3 * x + (n // 10) % 2 * y
    return ((ramp + (n * n + 7 * n + x * y) % 41) % 243).astype(np.uint8)


PICTURES = made_up()


def folder_with(folder: Path, pictures: np.ndarray) -> Path:
    (folder / "olivetti").mkdir(parents=True)
    np.savez(folder / "olivetti" / "olivettifaces.npz", faces=pictures)
    return folder


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSource:
    """The made-up pictures, of which there are only three patches each, and no cache."""
    monkeypatch.setattr(module, "PATCHES", EACH)
    return DataSource((folder_with(tmp_path / "data", PICTURES),))


# One patch


def grid(angle: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a patch's pixels are, by complex numbers: turning is multiplying by exp(iα)."""
    row, column = np.mgrid[-12:13, -12:13]
    z = 31.5 + 31.5j + pitch * np.exp(1j * angle) * (column + 1j * row)
    return z.real, z.imag


ANGLES = [0.0, 0.3, -0.7, math.pi / 4, math.pi / 2, -math.pi / 2]


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("pitch", [1.4, 1.55, 1.8])
def test_patch_of_a_ramp_is_the_ramp_on_the_grid(angle: float, pitch: float) -> None:
    """A blur leaves a ramp as it is, and between its pixels it is bilinear."""
    y, x = np.mgrid[:64, :64].astype(np.float64)
    cut = patch(3.0 * x - 1.25 * y + 100, angle, pitch)
    at_x, at_y = grid(angle, pitch)
    # At the picture's border the blur meets repeated pixels.
    inside = (np.minimum(at_x, at_y) > 2) & (np.maximum(at_x, at_y) < 61)
    assert inside.sum() > 600
    expected = 3.0 * at_x - 1.25 * at_y + 100
    assert cut[inside] == pytest.approx(expected[inside], abs=1e-9)


@pytest.mark.parametrize(("angle", "pitch"), [(0.4, 1.4), (-1.1, 1.6), (math.pi / 4, 1.8)])
def test_patch_by_brute_force(angle: float, pitch: float) -> None:
    """Pixel by pixel: four blurred neighbours, each a weighted mean of pixels near it."""
    picture = np.random.default_rng(1).uniform(0, 242, (64, 64))
    deviation = 0.36 * math.sqrt(pitch**2 - 1)
    reach = range(-2, 3)
    weights = np.array([math.exp(-(d**2) / (2 * deviation**2)) for d in reach])
    weights /= weights.sum()

    def blurred(row: int, column: int) -> float:
        rows = [min(max(row + d, 0), 63) for d in reach]
        columns = [min(max(column + d, 0), 63) for d in reach]
        return float(weights @ picture[np.ix_(rows, columns)] @ weights)

    cut = patch(picture, angle, pitch)
    at_x, at_y = grid(angle, pitch)
    # Within 4σ there may be one pixel less, whose weight is below 10⁻⁶.
    for i, j in [(0, 0), (0, 24), (24, 0), (24, 24), (12, 12), (3, 17), (20, 5)]:
        x, y = at_x[i, j], at_y[i, j]
        left, top = math.floor(x), math.floor(y)
        right, bottom = x - left, y - top
        expected = (
            (1 - bottom) * (1 - right) * blurred(top, left)
            + (1 - bottom) * right * blurred(top, left + 1)
            + bottom * (1 - right) * blurred(top + 1, left)
            + bottom * right * blurred(top + 1, left + 1)
        )
        assert cut[i, j] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("angle", ANGLES)
def test_turning_the_picture_is_turning_the_grid(angle: float) -> None:
    picture = np.random.default_rng(2).uniform(0, 242, (64, 64))
    turned = patch(np.rot90(picture), angle, 1.7)
    assert turned == pytest.approx(patch(picture, angle + math.pi / 2, 1.7), abs=1e-9)


def test_no_patch_leaves_the_picture() -> None:
    """Nothing outside is needed: 25·1.8·√2 = 63.6 of 64 pixels."""
    for angle in np.linspace(-math.pi / 2, math.pi / 2, 181):
        at_x, at_y = grid(angle, module.PITCHES[1])
        assert min(at_x.min(), at_y.min()) >= 0
        assert max(at_x.max(), at_y.max()) <= 63


# All patches


def test_patches_go_picture_by_picture() -> None:
    shades = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((64, 64), np.uint8)
    cut = patches(shades, 4)
    assert cut.dtype == np.float32
    assert np.array_equal(cut, np.repeat(np.arange(5), 4)[:, None] * np.ones(625))


def test_patches_are_multiples_of_two_to_the_minus_sixteen() -> None:
    scaled = patches(PICTURES[:20], 2).astype(np.float64) * 2**16
    assert np.array_equal(scaled, np.rint(scaled))


def test_same_stream_same_bytes() -> None:
    assert patches(PICTURES[:7], 3).tobytes() == patches(PICTURES[:7], 3).tobytes()
    # Patch k has the angle and the pitch of number k, however many follow.
    assert np.array_equal(patches(PICTURES[:7], 3)[:9], patches(PICTURES[:3], 3))


def test_angles_and_pitches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def noted(picture: np.ndarray, angle: float, pitch: float) -> np.ndarray:
        asked.append((angle, pitch))
        return np.zeros((25, 25))

    monkeypatch.setattr(module, "patch", noted)
    patches(PICTURES[:20], 500)
    angles, pitches = np.array(asked).T
    for values, low, high in ((angles, -math.pi / 2, math.pi / 2), (pitches, 1.4, 1.8)):
        parts = np.histogram(values, bins=10, range=(low, high))[0]
        assert parts.sum() == 10_000
        # 1,000 ± 30 each where they are uniform.
        assert parts.min() > 850
        assert parts.max() < 1_150
    assert abs(np.corrcoef(angles, pitches)[0, 1]) < 0.04


# What is made of them


def test_normalised_has_no_mean_and_one_scale() -> None:
    whole = patches(PICTURES, EACH)
    exact = whole.astype(np.float64)
    centred = exact - exact.mean(0)
    expected = centred / np.sqrt(np.square(centred).mean())
    cases = normalised(whole, np.arange(WHOLE))
    assert cases.dtype == np.float32
    assert np.abs(cases - expected).max() <= 2**-17 + 1e-9
    assert np.square(cases, dtype=np.float64).sum(1).mean() == pytest.approx(625, abs=1e-3)
    assert np.ptp(np.square(cases, dtype=np.float64).mean(0)) > 0.1
    scaled = cases.astype(np.float64) * 2**16
    assert np.array_equal(scaled, np.rint(scaled))
    some = np.array([7, 700, 7])
    assert np.array_equal(normalised(whole, some), cases[some])
    # What was given is not written to.
    assert np.array_equal(whole, exact)


def test_blank_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATCHES", EACH)
    folder = folder_with(tmp_path, np.full((400, 64, 64), 9, np.uint8))
    with pytest.raises(DataError, match="alike; are the pictures blank"):
        faces(TRAIN, TEST, DataSource((folder,)))


def test_what_the_data_says_of_itself(source: DataSource) -> None:
    data = faces(TRAIN, TEST, source)
    assert data.name == "faces (rebuilt)"
    assert data.image_shape == (25, 25)
    assert data.train_inputs is data.train_targets
    assert data.test_inputs is data.test_targets
    assert data.train_inputs.shape == (TRAIN, 625)
    assert data.test_inputs.shape == (TEST, 625)
    assert data.train_inputs.dtype == data.test_inputs.dtype == np.float32
    assert data.digest == digest_of(data.train_inputs, data.test_inputs)


def test_digest_of_a_small_set(source: DataSource) -> None:
    digest = "1f71ea0e4dd832cbd0826cee6f1bf9006fd9fbcf8386f25973d1a1b4dbf26dd8"
    assert faces(TRAIN, TEST, source).digest == digest


def test_training_people_are_not_test_people(source: DataSource) -> None:
    """People 0 to 24 train and 30 to 39 test; the whole set, validation too, is normalised."""
    data = faces(TRAIN, TEST, source)
    whole = normalised(patches(PICTURES, EACH), np.arange(WHOLE))
    assert np.array_equal(data.train_inputs, whole[: 25 * 10 * EACH])
    assert np.array_equal(data.test_inputs, whole[30 * 10 * EACH :])


@pytest.mark.parametrize(("train", "test"), [(50, 20), (7, 299), (1, 1), (749, 2)])
def test_fewer_are_the_same_patches_spread_evenly(
    source: DataSource, train: int, test: int
) -> None:
    full, some = faces(TRAIN, TEST, source), faces(train, test, source)
    rows = [math.floor(i * TRAIN / train) for i in range(train)]
    assert np.array_equal(some.train_inputs, full.train_inputs[rows])
    rows = [math.floor(i * TEST / test) for i in range(test)]
    assert np.array_equal(some.test_inputs, full.test_inputs[rows])
    assert some.digest != full.digest


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (TRAIN + 1, 1, "751 patches of 25 people were asked for; faces has 750"),
        (1, TEST + 1, "301 patches of 10 people were asked for; faces has 300"),
        (0, 1, "0 patches of 25 people"),
        (1, -1, "-1 patches of 10 people"),
    ],
)
def test_what_faces_cannot_give(source: DataSource, train: int, test: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        faces(train, test, source)


def test_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bench data fetch faces"):
        faces(10, 10, DataSource((tmp_path,)))


# Its cache


def test_cache_gives_the_same_data(
    source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = DataSource(source.folders, tmp_path / "cache")
    assert [s.state for s in states(source)] == ["verified", "generated"]
    made, few = faces(TRAIN, TEST, source), faces(5, 4, source)
    monkeypatch.setattr(module, "patches", None)  # nothing is made a second time
    for first, train, test in ((made, TRAIN, TEST), (few, 5, 4)):
        kept = faces(train, test, source)
        assert kept.digest == first.digest
        assert np.array_equal(kept.train_inputs, first.train_inputs)
        assert np.array_equal(kept.test_inputs, first.test_inputs)
    pictures = digest_of(PICTURES)[:16]
    found = list(states(source))
    assert [s.name for s in found] == [
        "olivettifaces.npz",
        f"faces-1-pictures{pictures}-5+4.npy",
        f"faces-1-pictures{pictures}-{TRAIN}+{TEST}.npy",
    ]
    assert [s.state for s in found] == ["verified"] * 3
    assert [s.detail for s in found[1:]] == [f"SHA-256 {few.digest}", f"SHA-256 {made.digest}"]


def test_damaged_cache_is_made_again(source: DataSource, tmp_path: Path) -> None:
    source = DataSource(source.folders, tmp_path / "cache")
    digest = faces(5, 4, source).digest
    (path,) = (tmp_path / "cache" / "faces").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert [s.state for s in states(source)] == ["verified", "damaged"]
    assert faces(5, 4, source).digest == digest
    assert [s.state for s in states(source)] == ["verified", "verified"]


def test_one_pixel_of_one_picture_changes_digest_and_file(
    source: DataSource, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    other = PICTURES.copy()
    # Somebody of the validation set: it shows in the mean that is taken off.
    other[270, 30, 30] ^= 128
    changed = DataSource((folder_with(tmp_path / "other", other),), cache)
    first, second = (
        faces(TRAIN, TEST, DataSource(source.folders, cache)),
        faces(TRAIN, TEST, changed),
    )
    assert first.digest != second.digest
    assert len(list((cache / "faces").iterdir())) == 2


# The real ones


@pytest.fixture
def real(data_dir: Path) -> DataSource:
    if not (data_dir / "olivetti").is_dir():
        pytest.skip(f"BENCH_DATA_DIR={data_dir} has no folder olivetti")
    return DataSource((data_dir,))


def squared_error(cases: np.ndarray, mean: np.ndarray) -> float:
    """Summed over pixels, a mean over cases; in parts, since there are many of them."""
    parts = np.array_split(cases, 40)
    return sum(float(np.square(part - mean).sum()) for part in parts) / len(cases)


def rest_after_pca(data: Data, components: int) -> float:
    """The test set's squared error after projection on components of the training set."""
    mean = data.train_inputs.mean(0, dtype=np.float64)
    centred = (data.train_inputs - mean).astype(np.float32)
    basis = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, -components:]
    test = data.test_inputs - mean
    return squared_error(test - test @ basis @ basis.T, np.zeros(625))


@pytest.mark.slow
def test_published_figures_and_digest(real: DataSource, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = patches(olivetti(real), 414)
    assert len(whole) == 165_600
    cases = normalised(whole, np.arange(len(whole)))
    mean = cases.mean(0, dtype=np.float64)
    assert np.abs(mean).max() < 1e-6
    assert squared_error(cases, mean) == pytest.approx(625, abs=1e-4)
    train, test = cases[:103_500].copy(), cases[124_200:].copy()
    del cases
    monkeypatch.setattr(module, "patches", lambda pictures, each: whole)
    data = faces(103_500, 41_400, real)
    assert np.array_equal(data.train_inputs, train)
    assert np.array_equal(data.test_inputs, test)
    assert data.digest == "829a0e7e94cbdffed18d109791ee2936ed606a474c3af75f5a01d2663a3cfc9f"
    assert rest_after_pca(data, 30) == pytest.approx(134, abs=1)
