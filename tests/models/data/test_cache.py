from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench.models.data.cache import cached, cached_states
from bench.models.data.files import FileState
from bench.models.problem import DataSource, digest_of

CASES = (np.arange(40 * 6).reshape(40, 6) / 8).astype(np.float32)


@dataclass(frozen=True)
class Numbered:
    """Thirty cases for training and ten for testing, in a file with a number."""

    number: int
    train: int = 30
    shape: tuple[int, int] = (40, 6)

    @property
    def file_name(self) -> str:
        return f"{self.number}.npy"


def numbered(path: Path) -> Numbered | None:
    return Numbered(int(path.stem)) if path.stem.isdecimal() else None


def never() -> np.ndarray:
    raise AssertionError("made a second time")


def states(cache: Path | None) -> list[FileState]:
    return list(cached_states("some", DataSource((), cache), numbered))


def test_what_is_kept_is_the_same_and_opens_in_numpy(tmp_path: Path) -> None:
    cases, digest = cached(tmp_path / "some", Numbered(1), lambda: CASES)
    assert cases is CASES
    assert digest == digest_of(CASES[:30], CASES[30:])
    kept, same = cached(tmp_path / "some", Numbered(1), never)
    assert same == digest
    assert kept.dtype == np.float32
    assert np.array_equal(kept, CASES)
    assert np.array_equal(np.load(tmp_path / "some" / "1.npy"), CASES)


def test_a_part_of_a_larger_array_is_kept(tmp_path: Path) -> None:
    every_second = np.repeat(CASES, 2, axis=0)[::2]
    cached(tmp_path, Numbered(1), lambda: every_second)
    assert np.array_equal(cached(tmp_path, Numbered(1), never)[0], CASES)


def test_selections_are_kept_apart(tmp_path: Path) -> None:
    cached(tmp_path, Numbered(1), lambda: CASES + np.float32(1))
    cached(tmp_path, Numbered(2), lambda: CASES + np.float32(2))
    assert np.array_equal(cached(tmp_path, Numbered(1), never)[0], CASES + 1)
    assert np.array_equal(cached(tmp_path, Numbered(2), never)[0], CASES + 2)


def test_where_training_ends_is_part_of_the_digest(tmp_path: Path) -> None:
    cached(tmp_path, Numbered(1), lambda: CASES)
    with pytest.raises(AssertionError, match="made a second time"):
        cached(tmp_path, Numbered(1, train=29), never)


@pytest.mark.parametrize("damage", ["truncated", "bit", "header", "digest", "longer", "empty"])
def test_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    _, digest = cached(tmp_path / "some", Numbered(1), lambda: CASES)
    path = tmp_path / "some" / "1.npy"
    good = path.read_bytes()
    middle = len(good) // 2
    bad = {
        "truncated": good[:middle],
        "bit": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "header": good.replace(b"40, 6", b"99, 6", 1),
        "digest": good[:-64] + b"0" * 64,
        "longer": good + b"more",
        "empty": b"",
    }[damage]
    assert bad != good
    path.write_bytes(bad)
    (found,) = states(tmp_path)
    assert (found.state, found.path) == ("damaged", path)
    assert f"{path} does not match the digest at its end" in found.detail
    assert cached(tmp_path / "some", Numbered(1), lambda: CASES)[1] == digest
    assert path.read_bytes() == good
    (found,) = states(tmp_path)
    assert (found.state, found.detail) == ("verified", f"SHA-256 {digest}")


def test_unwritable_folder_is_no_error(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    kept, unkept = (cached(folder, Numbered(1), lambda: CASES) for folder in (in_the_way, None))
    assert kept[1] == unkept[1]


def test_full_disk_is_no_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    assert cached(tmp_path, Numbered(1), lambda: CASES)[0] is CASES
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_the_state_says_that_it_is_generated(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "something.npy").touch()
    for cache in (None, tmp_path, tmp_path / "nowhere"):
        (found,) = states(cache)
        assert (found.dataset, found.path, found.state) == ("some", None, "generated")
