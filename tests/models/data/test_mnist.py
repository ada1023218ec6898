import gzip
import os
import struct
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from bench.models.data import mnist as module
from bench.models.data.mnist import IdxFile, mnist, states
from bench.models.problem import DataError, DataSource, digest_of


def idx(values: np.ndarray, order: str = ">", code: int = 0x08) -> bytes:
    head = struct.pack(f"{order}{1 + values.ndim}I", code << 8 | values.ndim, *values.shape)
    return head + values.tobytes()


def published(name: str, contents: bytes, shape: tuple[int, ...]) -> IdxFile:
    stored = gzip.compress(contents, mtime=0)
    return IdxFile("mnist", name, md5(stored).hexdigest(), md5(contents).hexdigest(), shape)


RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
TEST = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8)
TRAIN_FILE = published("train-images-idx3-ubyte.gz", idx(TRAIN), TRAIN.shape)
TEST_FILE = published("t10k-images-idx3-ubyte.gz", idx(TEST), TEST.shape)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five training and three test images in the place of the published ones."""
    monkeypatch.setattr(module, "TRAIN_IMAGES", TRAIN_FILE)
    monkeypatch.setattr(module, "TEST_IMAGES", TEST_FILE)
    monkeypatch.setattr(module, "FILES", (TRAIN_FILE, TEST_FILE))
    (tmp_path / "mnist").mkdir()
    for file, values in ((TRAIN_FILE, TRAIN), (TEST_FILE, TEST)):
        (tmp_path / "mnist" / file.name).write_bytes(gzip.compress(idx(values), mtime=0))
    return tmp_path


def test_pixels_over_255_and_the_first_n(folder: Path) -> None:
    data = mnist(None, 2, DataSource((folder,)))
    assert data.name == "mnist"
    assert data.image_shape == (28, 28)
    assert data.train_inputs.dtype == np.float32
    assert np.array_equal(data.train_inputs, (TRAIN / 255).astype(np.float32).reshape(5, 784))
    assert np.array_equal(data.test_targets, (TEST / 255).astype(np.float32).reshape(3, 784)[:2])
    assert data.digest == digest_of(data.train_inputs, data.test_inputs)
    assert data.digest != mnist(4, 2, DataSource((folder,))).digest


def test_side_14_is_the_mean_of_two_by_two(folder: Path) -> None:
    data = mnist(None, None, DataSource((folder,)), side=14)
    assert data.name == "mnist (14x14)"
    assert data.image_shape == (14, 14)
    assert data.train_inputs.shape == (5, 196)
    expected = TRAIN[2, 8:10, 4:6].mean() / 255
    assert data.train_inputs[2].reshape(14, 14)[4, 2] == pytest.approx(expected, rel=1e-6)


def test_what_mnist_cannot_give(folder: Path) -> None:
    source = DataSource((folder,))
    with pytest.raises(DataError, match="no side 20; it has 28 and 14"):
        mnist(None, None, source, side=20)
    with pytest.raises(DataError, match="6 images of train-images.* it has 5"):
        mnist(6, None, source)
    with pytest.raises(DataError, match="0 images of t10k-images"):
        mnist(None, 0, source)


def test_uncompressed_files_beside_or_without_a_folder(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for file, values in ((TRAIN_FILE, TRAIN), (TEST_FILE, TEST)):
        (flat / file.name.removesuffix(".gz")).write_bytes(idx(values))
    expected = mnist(None, None, DataSource((folder,))).digest
    assert mnist(None, None, DataSource((flat,))).digest == expected
    assert mnist(None, None, DataSource((tmp_path / "nowhere",), cache=flat)).digest == expected


def test_earlier_folders_come_first(folder: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / TRAIN_FILE.name).write_bytes(b"damaged")
    with pytest.raises(DataError, match="first/train-images"):
        mnist(None, None, DataSource((first, folder)))


LABELS = np.arange(5, dtype=np.uint8)
CONTENTS = {
    "truncated.*has 3,000 bytes uncompressed, expected are 3,936": idx(TRAIN)[:3000],
    "too long.*3,937 bytes": idx(TRAIN) + b"\0",
    "holds labels where images belong: .* dimensions is 1 and should be 3": idx(LABELS),
    "little-endian; IDX files are big-endian": idx(TRAIN, order="<"),
    "type code 0x0d; expected are unsigned bytes, 0x08": idx(TRAIN, code=0x0D),
    "holds 4 × 28 × 28 values; expected are 5 × 28 × 28": idx(TRAIN[:4]),
    "no IDX file: it begins with the bytes 50 4b 03 04, images with 00 00 08 03": b"PK\3\4zip",
    "header has 6 bytes of 16": idx(TRAIN)[:6],
    "truncated: it has 0 bytes": b"",
    "its MD5 should be .* but is .*": idx(255 - TRAIN),
}


@pytest.mark.parametrize("message", CONTENTS)
@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_contents(folder: Path, message: str, compressed: bool) -> None:
    contents = CONTENTS[message]
    path = folder / "mnist" / TRAIN_FILE.name
    path.unlink()
    if not compressed:
        path = path.with_suffix("")
    path.write_bytes(gzip.compress(contents) if compressed else contents)
    with pytest.raises(DataError, match=message) as error:
        mnist(None, None, DataSource((folder,)))
    assert str(path) in str(error.value)
    assert f"`bench data fetch mnist --to {folder / 'mnist'}`" in str(error.value)
    assert [s.state for s in states(DataSource((folder,)))] == ["damaged", "verified"]


@pytest.mark.parametrize("stored", [gzip.compress(idx(TRAIN))[:-100], b"<html>", b""])
def test_damaged_gzip(folder: Path, stored: bytes) -> None:
    path = folder / "mnist" / TRAIN_FILE.name
    path.write_bytes(stored)
    with pytest.raises(DataError, match="bench data fetch mnist") as error:
        mnist(None, None, DataSource((folder,)))
    assert str(path) in str(error.value)


def test_recompressed_file_is_not_the_published_one(folder: Path) -> None:
    (folder / "mnist" / TRAIN_FILE.name).write_bytes(gzip.compress(idx(TRAIN), 1, mtime=7))
    with pytest.raises(DataError, match=f"should be {TRAIN_FILE.md5} but is"):
        mnist(None, None, DataSource((folder,)))


def test_unreadable_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        mnist(None, None, DataSource((folder,)))


def test_absent(tmp_path: Path) -> None:
    source = DataSource((tmp_path,), tmp_path / "cache")
    with pytest.raises(DataError) as error:
        mnist(None, None, source)
    for part in (
        "train-images-idx3-ubyte.gz",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        f"{tmp_path}, {tmp_path / 'cache'}",
        "`bench data fetch mnist`",
    ):
        assert part in str(error.value)
    assert [s.state for s in states(source)] == ["absent"] * 4
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def source() -> DataSource:
    folder = os.environ.get("BENCH_DATA_DIR")
    if not folder:
        pytest.skip("BENCH_DATA_DIR is not set")
    if not (Path(folder) / "mnist").is_dir():
        pytest.skip(f"BENCH_DATA_DIR={folder} has no folder mnist")
    return DataSource((Path(folder),))


@pytest.mark.data
class TestPublished:
    def test_figures(self, source: DataSource) -> None:
        data = mnist(None, None, source)
        train, test = data.train_inputs.astype(np.float64), data.test_inputs.astype(np.float64)
        assert train.shape == (60_000, 784)
        assert test.shape == (10_000, 784)
        mean = train.mean(0)
        assert mean.mean() * 255 == pytest.approx(33.3184, abs=5e-5)
        assert np.square(train - mean).sum(1).mean() == pytest.approx(52.73, abs=0.005)
        assert np.square(test - mean).sum(1).mean() == pytest.approx(52.90, abs=0.005)
        centred = (train - mean).astype(np.float32)
        components = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, -30:]
        rest = (test - mean) - (test - mean) @ components @ components.T
        assert np.square(rest).sum(1).mean() == pytest.approx(13.866, abs=0.02)

    def test_digests(self, source: DataSource) -> None:
        full = mnist(None, None, source).digest
        small = mnist(None, None, source, side=14).digest
        assert full == "fa4ecdde8f2ab078712ce2e529b364efbc43cefcc9a71e5f6d3ff92324abffb0"
        assert small == "3a0cffefe29fbe84e88531e5278d27a621f644554b3d4d03f2094762bc5d5b74"

    def test_all_four_files_are_verified(self, source: DataSource) -> None:
        assert [s.state for s in states(source)] == ["verified"] * 4
