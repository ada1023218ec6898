import io
import sys
import urllib.error
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from scipy.io import savemat

from bench.models.data import olivetti as module
from bench.models.data.olivetti import download, load, olivetti, state
from bench.models.problem import DataError, DataSource, digest_of

PICTURES = np.random.default_rng(0).integers(0, 243, (400, 64, 64), dtype=np.uint8)
PICTURES[0, 0, :2] = 0, 242
COLUMNS = np.stack([picture.ravel(order="F") for picture in PICTURES], axis=1)


def scaled(dtype: type) -> np.ndarray:
    """The pictures as scikit-learn has them."""
    values = PICTURES.astype(dtype)
    values -= values.min()
    values /= values.max()
    return values


def mat(**variables: object) -> bytes:
    contents = io.BytesIO()
    savemat(contents, variables, do_compression=True)
    return contents.getvalue()


def npz(**variables: object) -> bytes:
    contents = io.BytesIO()
    np.savez(contents, **variables)
    return contents.getvalue()


def put(path: Path, contents: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    return path


FORMS = {
    "bytes, a column a picture": COLUMNS,
    "bytes, row by row": PICTURES,
    "floats, a column a picture": scaled(np.float64).transpose(0, 2, 1).reshape(400, 4096).T,
    "floats, row by row": scaled(np.float32),
}


@pytest.mark.parametrize("faces", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("suffix", "write"), [("mat", mat), ("npz", npz)])
def test_every_form_gives_the_same_bytes(
    tmp_path: Path, suffix: str, write: Callable[..., bytes], faces: np.ndarray
) -> None:
    path = put(tmp_path / f"olivettifaces.{suffix}", write(faces=faces, p=3))
    pictures = load(path)
    assert pictures.dtype == np.uint8
    assert pictures.flags.c_contiguous
    assert np.array_equal(pictures, PICTURES)


def test_floats_become_the_nearest_of_242_grey_levels(tmp_path: Path) -> None:
    faces = np.full((400, 64, 64), 100.4 / 242)
    faces[1], faces[2] = 1, scaled(np.float64)[2].astype(np.float16)
    pictures = load(put(tmp_path / "olivettifaces.npz", npz(faces=faces)))
    assert set(pictures[0].flat) == {100}
    assert set(pictures[1].flat) == {242}
    assert np.array_equal(pictures[2], PICTURES[2])


def test_order_of_search(tmp_path: Path) -> None:
    """Folders, in each the places, in each the names; the cache comes last."""
    first, second, cache = tmp_path / "first", tmp_path / "second", tmp_path / "cache"
    places = [
        folder / place / f"olivettifaces.{suffix}"
        for folder in (first, second, cache)
        for place in ("olivetti", "faces", ".")
        for suffix in ("mat", "npz")
    ]
    for number, path in enumerate(places):
        own = PICTURES.copy()
        own[0, 0, 0] = number
        put(path, mat(faces=own) if path.suffix == ".mat" else npz(faces=own))
    source = DataSource((first, second), cache)
    for number, path in enumerate(places):
        assert olivetti(source)[0, 0, 0] == number
        assert state(source).path == path
        path.unlink()
    assert state(source).state == "absent"


def test_absent(tmp_path: Path) -> None:
    source = DataSource((tmp_path,), tmp_path / "cache")
    with pytest.raises(DataError) as error:
        olivetti(source)
    for part in (
        "faces needs the file olivettifaces.mat (MD5 7be4afc20ba95152afb4c6b4b5d45c5b)",
        "or olivettifaces.npz",
        f"{tmp_path}, {tmp_path / 'cache'}",
        "`bench data fetch faces`",
        "--data-dir",
    ):
        assert part in str(error.value)
    found = state(source)
    assert (found.name, found.path, found.state) == ("olivettifaces.mat", None, "absent")
    assert list(tmp_path.iterdir()) == []


GOOD = {"mat": mat(faces=COLUMNS), "npz": npz(faces=PICTURES)}
HEADER_7_3 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
OBJECTS = np.array([None] * 400, dtype=object)
BAD = {
    ("mat", "has no variable `faces`; it has people, pixels"): mat(people=PICTURES, pixels=1),
    ("mat", "has no variable `faces`; it has none at all"): mat(),
    ("npz", "has no variable `faces`; it has images, target"): npz(images=PICTURES, target=1),
    ("mat", r"of shape \(4096, 399\); needed are 400 pictures of 64×64"): mat(faces=COLUMNS[:, 1:]),
    ("npz", r"of shape \(400, 4096\)"): npz(faces=PICTURES.reshape(400, 4096)),
    ("npz", r"of shape \(400, 32, 32\)"): npz(faces=PICTURES[:, ::2, ::2]),
    ("mat", r"of shape \(1, 1\)"): mat(faces=7),
    ("npz", "of type int64; needed are unsigned bytes"): npz(faces=PICTURES.astype(np.int64)),
    ("npz", "floats from 0 to 242; needed are floats from 0"): npz(faces=PICTURES.astype(float)),
    ("npz", "floats from -0.5 to 0.5"): npz(faces=scaled(np.float64) - 0.5),
    ("npz", "floats from nan to nan"): npz(faces=scaled(np.float64) * np.nan),
    ("mat", "is an HDF5 file, MATLAB's version 7.3"): HEADER_7_3.ljust(512) + b"\x89HDF\r\n\x1a\n",
    ("mat", "HDF5 file.*save olivettifaces.mat faces -v7"): b"\x89HDF\r\n\x1a\n" + b"\0" * 600,
    ("mat", r"is truncated or no .mat file \(.+\); it has 500 bytes"): GOOD["mat"][:500],
    ("mat", r"is truncated or no .mat file \(.+\); it has 20 bytes"): GOOD["mat"][:20],
    ("mat", "it has 0 bytes with MD5 d41d8cd98f00b204e9800998ecf8427e"): b"",
    ("mat", r"is truncated or no .mat file \(.+\); it has 6,000 bytes"): b"<html>" * 1000,
    ("npz", r"is truncated or no .npz file \(.+\); it has 1,000,000"): GOOD["npz"][:1_000_000],
    ("npz", "is truncated or no .npz file .*; it has 0 bytes"): b"",
    ("npz", "is truncated or no .npz file .*; it has 6,000 bytes"): b"<html>" * 1000,
    ("npz", r"is truncated or no .npz file \(Object arrays cannot"): npz(faces=OBJECTS),
}


@pytest.mark.parametrize(("suffix", "message"), BAD)
def test_bad_files(tmp_path: Path, suffix: str, message: str) -> None:
    path = put(tmp_path / f"olivettifaces.{suffix}", BAD[suffix, message])
    with pytest.raises(DataError, match=message) as error:
        olivetti(DataSource((tmp_path,)))
    assert str(error.value).startswith(f"{path} ")
    assert f"`bench data fetch faces --to {tmp_path}`" in str(error.value)
    found = state(DataSource((tmp_path,)))
    assert (found.name, found.path, found.state) == (path.name, path, "damaged")
    assert found.detail == str(error.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    for suffix, good in GOOD.items():
        middle = len(good) // 2
        bad = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
        with pytest.raises(DataError, match="is truncated or no"):
            load(put(tmp_path / f"olivettifaces.{suffix}", bad))


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "olivettifaces.mat", GOOD["mat"])

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        olivetti(DataSource((tmp_path,)))


def test_state_says_whose_pictures_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "olivettifaces.mat", GOOD["mat"])
    digest = digest_of(PICTURES)
    found = state(DataSource((tmp_path,)))
    assert found.state == "verified"
    assert found.detail == f"SHA-256 {digest}, not the published pictures"
    monkeypatch.setattr(module, "PUBLISHED", digest)
    assert state(DataSource((tmp_path,))).detail == f"SHA-256 {digest}"


@pytest.fixture
def scikit_learn(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A scikit-learn that has PICTURES, which count as the published ones, or fails."""
    fake = SimpleNamespace(images=scaled(np.float32), error=None, asked=0)

    def fetch_olivetti_faces() -> SimpleNamespace:
        fake.asked += 1
        if fake.error is not None:
            raise fake.error
        return SimpleNamespace(images=fake.images)

    datasets = ModuleType("sklearn.datasets")
    datasets.fetch_olivetti_faces = fetch_olivetti_faces
    monkeypatch.setitem(sys.modules, "sklearn", ModuleType("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    monkeypatch.setattr(module, "PUBLISHED", digest_of(PICTURES))
    return fake


def test_fetched_are_the_published_bytes(scikit_learn: SimpleNamespace, tmp_path: Path) -> None:
    to = tmp_path / "new" / "faces"
    path = to / "olivettifaces.npz"
    assert list(download(to)) == [(path, True)]
    assert [p.name for p in to.iterdir()] == [path.name]
    with np.load(path) as stored:
        assert stored.files == ["faces"]
        assert stored["faces"].dtype == np.uint8
        assert np.array_equal(stored["faces"], PICTURES)
    assert np.array_equal(olivetti(DataSource((tmp_path / "new",))), PICTURES)


@pytest.mark.parametrize("suffix", GOOD)
def test_published_pictures_are_kept(
    scikit_learn: SimpleNamespace, tmp_path: Path, suffix: str
) -> None:
    path = put(tmp_path / f"olivettifaces.{suffix}", GOOD[suffix])
    assert list(download(tmp_path)) == [(path, False)]
    assert scikit_learn.asked == 0
    assert path.read_bytes() == GOOD[suffix]


def test_damaged_npz_is_replaced(scikit_learn: SimpleNamespace, tmp_path: Path) -> None:
    path = put(tmp_path / "olivettifaces.npz", GOOD["npz"][:1000])
    assert list(download(tmp_path)) == [(path, True)]
    assert np.array_equal(load(path), PICTURES)


def test_damaged_mat_has_to_be_moved_away(scikit_learn: SimpleNamespace, tmp_path: Path) -> None:
    """It would be found before the file that is fetched."""
    put(tmp_path / "olivettifaces.mat", b"damaged")
    with pytest.raises(DataError, match="is truncated or no .mat file.* move it away"):
        list(download(tmp_path))
    assert scikit_learn.asked == 0


def test_a_persons_own_pictures_are_left_alone(
    scikit_learn: SimpleNamespace, tmp_path: Path
) -> None:
    path = put(tmp_path / "olivettifaces.npz", npz(faces=255 - PICTURES))
    before = path.read_bytes()
    with pytest.raises(DataError, match="does not have the published pictures.*--to FOLDER"):
        list(download(tmp_path))
    assert path.read_bytes() == before


def test_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", ModuleType("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError) as error:
        list(download(tmp_path))
    for part in ("`pip install 'bench-harness[faces]'`", module.MAT_MD5, "--data-dir"):
        assert part in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (urllib.error.URLError("Name or service not known"), r"\(Name or service not known\)"),
        (urllib.error.HTTPError("u", 503, "m", None, io.BytesIO()), r"\(status 503\)"),
        (EOFError("Ran out of input"), r"\(Ran out of input\)"),
    ],
)
def test_without_internet(
    scikit_learn: SimpleNamespace, tmp_path: Path, error: Exception, message: str
) -> None:
    scikit_learn.error = error
    with pytest.raises(DataError, match=message) as said:
        list(download(tmp_path))
    assert "Try again with internet access" in str(said.value)
    assert list(tmp_path.iterdir()) == []


def test_other_pictures_from_scikit_learn(scikit_learn: SimpleNamespace, tmp_path: Path) -> None:
    scikit_learn.images = 1 - scikit_learn.images
    with pytest.raises(DataError, match=f"should be {digest_of(PICTURES)} and is"):
        list(download(tmp_path))
    scikit_learn.images = scikit_learn.images[:300]
    with pytest.raises(DataError, match=r"could not fetch .*shape \(300, 64, 64\)"):
        list(download(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(scikit_learn: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="olivettifaces.npz cannot be written .*--to FOLDER"):
        list(download(tmp_path / "file"))


@pytest.fixture
def source(data_dir: Path) -> DataSource:
    if not (data_dir / "olivetti").is_dir():
        pytest.skip(f"BENCH_DATA_DIR={data_dir} has no folder olivetti")
    return DataSource((data_dir,))


def test_published_pictures(source: DataSource) -> None:
    pictures = olivetti(source)
    assert pictures.shape == (400, 64, 64)
    assert (pictures.min(), pictures.max()) == (0, 242)
    assert pictures.mean() == pytest.approx(132.384, abs=5e-4)
    assert digest_of(pictures) == module.PUBLISHED
    found = state(source)
    assert (found.state, found.detail) == ("verified", f"SHA-256 {module.PUBLISHED}")
    assert found.path is not None
    if found.path.suffix == ".mat":
        assert md5(found.path.read_bytes()).hexdigest() == module.MAT_MD5


def test_published_pictures_are_upright(source: DataSource) -> None:
    """Faces are alike left and right, not above and below; a column's mean tells which is which."""
    mean = olivetti(source).mean(0)
    left_right = np.abs(mean - mean[:, ::-1]).mean()
    above_below = np.abs(mean - mean[::-1]).mean()
    assert left_right < above_below / 2
    # The forehead is bright, the mouth is darker.
    assert mean[16:24, 24:40].mean() > mean[44:52, 24:40].mean()
