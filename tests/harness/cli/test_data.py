import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bench.harness.cli.data import command
from bench.harness.core.errors import Infrastructure, Usage
from bench.models.data import mnist, olivetti
from bench.models.data.curves import curves
from bench.models.problem import digest_of


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path / "cache"))


def bench_data(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_list_of_nothing(tmp_path: Path) -> None:
    result = bench_data("list")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["curves", "-", "generated", "-"] in lines
    assert ["mnist", "train-images-idx3-ubyte.gz", "absent", "-"] in lines
    assert ["faces", "olivettifaces.mat", "absent", "-"] in lines
    assert ["faces", "-", "generated", "-"] in lines
    assert list(tmp_path.iterdir()) == []


def test_list_shows_digest_and_whole_path(tmp_path: Path) -> None:
    digest = curves(3, 2, 8, 0, tmp_path / "cache").digest
    (line,) = (line for line in bench_data("list").stdout.splitlines() if "verified" in line)
    assert digest in line
    assert str(tmp_path / "cache" / "curves" / "curves-1-side8-seed0-3+2.npy") in line


def test_verify(tmp_path: Path) -> None:
    assert bench_data("verify").exit_code == 0
    folder = tmp_path / "data[1]"
    folder.mkdir()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1")
    result = bench_data("verify", "--data-dir", str(folder))
    assert isinstance(result.exception, Infrastructure)
    assert "t10k-labels-idx1-ubyte is truncated" in str(result.exception)
    assert "absent" not in str(result.exception)
    assert str(folder) in result.stdout


def test_verify_by_name_wants_it_there() -> None:
    result = bench_data("verify", "mnist")
    assert isinstance(result.exception, Infrastructure)
    assert "bench data fetch mnist" in str(result.exception)
    assert bench_data("verify", "curves").exit_code == 0
    result = bench_data("verify", "faces")
    assert isinstance(result.exception, Infrastructure)
    assert "bench data fetch faces" in str(result.exception)


def test_verify_of_damaged_pictures(tmp_path: Path) -> None:
    (tmp_path / "olivettifaces.mat").write_bytes(b"<html>")
    result = bench_data("verify", "--data-dir", str(tmp_path))
    assert isinstance(result.exception, Infrastructure)
    assert "olivettifaces.mat is truncated or no .mat file" in str(result.exception)


@pytest.mark.parametrize("verb", ["fetch", "verify"])
def test_unknown_name(verb: str) -> None:
    result = bench_data(verb, "mnits")
    assert isinstance(result.exception, Usage)
    assert "'mnits'; did you mean 'mnist'? The data sets are: curves, mnist, faces." in str(
        result.exception
    )


def test_fetch_of_generated_data() -> None:
    result = bench_data("fetch", "curves")
    assert result.exit_code == 0
    assert "generated" in result.stdout


def test_fetch_without_internet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist.download, "__defaults__", (("http://127.0.0.1:1/",),))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    result = bench_data("fetch", "mnist", "--to", str(tmp_path / "to"))
    assert isinstance(result.exception, Infrastructure)
    assert "could not be downloaded" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_fetch_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(to: Path) -> list[tuple[Path, bool]]:
        asked.append(to)
        return [(to / "a", True), (to / "b", False)]

    monkeypatch.setattr(mnist, "download", download)
    result = bench_data("fetch", "mnist")
    assert asked == [tmp_path / "cache" / "mnist"]
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["downloaded", "already"]


def test_fetch_of_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a scikit-learn that has pictures of its own, which count as the published ones."""
    pictures = np.arange(400 * 64 * 64).reshape(400, 64, 64) % 243
    scaled = SimpleNamespace(images=(pictures / 242).astype(np.float32))
    datasets = ModuleType("sklearn.datasets")
    datasets.fetch_olivetti_faces = lambda: scaled
    monkeypatch.setitem(sys.modules, "sklearn", ModuleType("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    digest = digest_of(pictures.astype(np.uint8))
    monkeypatch.setattr(olivetti, "PUBLISHED", digest)
    path = tmp_path / "cache" / "faces" / "olivettifaces.npz"
    for said in ("downloaded", "already there"):
        result = bench_data("fetch", "faces")
        assert result.exit_code == 0
        assert result.stdout.split(maxsplit=len(said.split()))[-1].strip() == str(path)
        assert result.stdout.startswith(said)
    assert bench_data("verify", "faces").exit_code == 0
    (line,) = (line for line in bench_data("list").stdout.splitlines() if "verified" in line)
    assert line.split() == ["faces", path.name, "verified", str(path), "SHA-256", digest]


def test_fetch_of_faces_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    result = bench_data("fetch", "faces")
    assert isinstance(result.exception, Infrastructure)
    assert "pip install 'bench-harness[faces]'" in str(result.exception)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from bench.harness.cli.data import command; "
        "command(['--help'], standalone_mode=False); "
        "assert not {'torch', 'mlflow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
