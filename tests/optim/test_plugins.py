import sys
from pathlib import Path

import pytest

from bench.optim.hyperparameters import UsageError
from bench.optim.plugins import is_plugin, load


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "expected"),
    [("./mine.py:Mine", True), ("pkg.mod:Mine", True), ("nag", False), ("torch.optim.SGD", False)],
)
def test_what_names_a_class_in_a_module_or_file(name: str, expected: bool) -> None:
    assert is_plugin(name) == expected


def test_a_class_in_a_file_beside(workdir: Path) -> None:
    write(workdir, "class Mine:\n    number = 3\n")
    assert load("./mine.py:Mine").number == 3


def test_a_file_is_run_once(workdir: Path) -> None:
    file = write(workdir, "class Mine: pass\n")
    assert load("./mine.py:Mine") is load(f"{file}:Mine")


def test_a_dataclass_with_postponed_annotations(workdir: Path) -> None:
    write(
        workdir,
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Mine:\n    number: int = 3\n",
    )
    assert load("./mine.py:Mine")().number == 3


def test_two_files_of_one_name_do_not_meet(workdir: Path) -> None:
    write(workdir, "class Mine:\n    number = 1\n", "a/mine.py")
    write(workdir, "class Mine:\n    number = 2\n", "b/mine.py")
    assert [load(f"./{folder}/mine.py:Mine").number for folder in "ab"] == [1, 2]


def test_a_file_in_the_home_folder(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workdir))
    write(workdir, "class Mine: pass\n")
    assert load("~/mine.py:Mine").__name__ == "Mine"


def test_a_class_in_a_package(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    write(workdir, "", "a_package_of_ones_own/__init__.py")
    write(workdir, "class Mine:\n    number = 4\n", "a_package_of_ones_own/opt.py")
    assert load("a_package_of_ones_own.opt:Mine").number == 4


def refusal(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(name)
    return str(caught.value)


def test_no_such_file(workdir: Path) -> None:
    missing = workdir.resolve() / "mine.py"
    assert refusal("./mine.py:Mine") == f"'./mine.py:Mine': there is no file {missing}."


@pytest.mark.parametrize("name", ["~no-such-user/mine.py:Mine", f"./{'a' * 300}.py:Mine"])
def test_no_possible_file(name: str) -> None:
    assert refusal(name).startswith(f"'{name}': there can be no such file: ")


def test_a_module_that_exits(workdir: Path) -> None:
    write(workdir, "import sys; sys.exit()\n", "a_module_that_exits.py")
    assert refusal("a_module_that_exits:Mine") == (
        "'a_module_that_exits:Mine': importing 'a_module_that_exits' failed: SystemExit: no message"
    )


def test_no_such_module() -> None:
    assert refusal("no_such_module:Mine") == (
        "'no_such_module:Mine': importing 'no_such_module' failed: "
        "ModuleNotFoundError: No module named 'no_such_module'"
    )


@pytest.mark.parametrize("name", [":Mine", "..:Mine", ".mine:Mine"])
def test_no_module_at_all(name: str) -> None:
    assert refusal(name).startswith(f"'{name}': importing ")


def test_no_such_class_gets_the_nearest(workdir: Path) -> None:
    write(workdir, "class Mine: pass\n")
    assert refusal("./mine.py:Mien") == (
        "'./mine.py:Mien': ./mine.py has no 'Mien'; did you mean 'Mine'?"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:\n", "SyntaxError: "),
        ("raise ValueError\n", "ValueError: no message"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(2)\n", "SystemExit: 2"),
    ],
)
def test_an_error_in_the_file_is_a_sentence(workdir: Path, text: str, reason: str) -> None:
    file = write(workdir, text).resolve()
    before = set(sys.modules)
    assert refusal("./mine.py:Mine").startswith(
        f"'./mine.py:Mine': running {file} failed: {reason}"
    )
    assert not {name for name in set(sys.modules) - before if name.startswith("bench_plugin")}


def test_a_file_that_is_mended_can_be_loaded(workdir: Path) -> None:
    write(workdir, "1 / 0\n")
    refusal("./mine.py:Mine")
    write(workdir, "class Mine: pass\n")
    assert load("./mine.py:Mine").__name__ == "Mine"


def test_an_interrupt_is_no_error_of_the_file(workdir: Path) -> None:
    write(workdir, "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("./mine.py:Mine")
