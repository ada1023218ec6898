from pathlib import Path

import pytest

from bench.harness.core.errors import Usage
from bench.harness.core.paths import cache_folder, data_source


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    monkeypatch.delenv("BENCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def test_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flag, variable = tmp_path / "flag", tmp_path / "variable"
    flag.mkdir()
    variable.mkdir()
    monkeypatch.setenv("BENCH_DATA_DIR", str(variable))
    assert data_source(str(flag)).folders == (flag, variable)
    assert data_source(None).folders == (variable,)
    assert data_source(str(variable)).folders == (variable,)


def test_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert data_source(None).folders == ()
    cache = data_source(None).cache
    assert cache is not None
    assert cache.name == "bench"
    assert cache.is_relative_to(tmp_path / "home")
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == data_source(None).cache == tmp_path / "mine"
    assert list(tmp_path.iterdir()) == []


def test_folder_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Usage, match="--data-dir=.*nowhere is not a folder"):
        data_source(str(tmp_path / "nowhere"))
    monkeypatch.setenv("BENCH_DATA_DIR", str(tmp_path / "nowhere"))
    for given in (None, str(tmp_path / "nowhere")):
        with pytest.raises(Usage, match="BENCH_DATA_DIR=.*nowhere is not a folder"):
            data_source(given)
