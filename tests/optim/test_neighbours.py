"""A file of somebody's own imports what stands beside it, and nothing else in its place."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.optim.hyperparameters import UsageError
from bench.optim.plugins import load

LATE = """
class Mine:
    def note(self):
        import neighbour

        return neighbour.NOTE
"""


@pytest.fixture(autouse=True)
def search_path() -> Iterator[None]:
    """A file's folder stays the last to be searched; the next test starts without it."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name == "neighbour" or name.startswith("bench_plugin"):
            del sys.modules[name]


def written(folder: Path, mine: str, note: str) -> str:
    folder.mkdir()
    (folder / "mine.py").write_text(mine)
    (folder / "neighbour.py").write_text(f"NOTE = {note!r}\n")
    return f"{folder}/mine.py:Mine"


def test_at_its_top(tmp_path: Path) -> None:
    name = written(tmp_path / "a", "from neighbour import NOTE\nclass Mine: note = NOTE\n", "a")
    assert load(name).note == "a"


def test_within_a_function_later(tmp_path: Path) -> None:
    assert load(written(tmp_path / "a", LATE, "a"))().note() == "a"


def test_a_neighbour_does_not_replace_a_library_that_is_imported_later(tmp_path: Path) -> None:
    name = written(tmp_path / "a", "class Mine: pass\n", "a")
    (tmp_path / "a" / "sched.py").write_text("raise AssertionError\n")
    load(name)
    sys.modules.pop("sched", None)
    import sched

    assert sched.scheduler
    assert sys.path[-1] == str(tmp_path / "a")


def test_two_files_whose_neighbours_have_one_name_do_not_mix(tmp_path: Path) -> None:
    """Python has one module a name: the second file would silently get the first one's."""
    mine = "from neighbour import NOTE\nclass Mine: note = NOTE\n"
    assert load(written(tmp_path / "a", mine, "a")).note == "a"
    with pytest.raises(UsageError) as refused:
        load(written(tmp_path / "b", mine, "b"))
    assert "it imports neighbour, which stands beside it" in str(refused.value)
    assert f"{tmp_path}/a/neighbour.py" in str(refused.value)
    assert "rename one of them" in str(refused.value)


def test_a_neighbour_that_is_not_imported_is_no_matter(tmp_path: Path) -> None:
    load(written(tmp_path / "a", "import neighbour\nclass Mine: pass\n", "a"))
    load(written(tmp_path / "b", "class Mine: pass\n", "b"))


def test_a_folder_that_is_no_package_is_no_neighbour(tmp_path: Path) -> None:
    """A clone of bench beside the file is called like the package that it is installed from."""
    name = written(tmp_path / "a", "import bench\nclass Mine: pass\n", "a")
    (tmp_path / "a" / "bench").mkdir()
    load(name)


def test_names_of_before_are_answered_with_todays(tmp_path: Path) -> None:
    name = written(tmp_path / "a", "import optim.none\n", "a")
    with pytest.raises(UsageError, match=r"\. Since version 0\.2\.0 write bench\.optim\.none"):
        load(name)
