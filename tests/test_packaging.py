"""The wheel holds the package whole, runs outside the clone, and leaves others' names alone."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("harness", "models", "optim")

pytestmark = pytest.mark.slow

Run = Callable[..., str]


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def built(source: Path, folder: Path) -> Path:
    """The wheel of a source tree or of a source distribution."""
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources: building leaves files beside them."""
    copy = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("bench", *FOLDERS):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignored)
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sources."""
    return built(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    pip("--python", home / "bin" / "python", "install", "--quiet", "--no-deps", wheel)
    # The libraries are those of this environment; a path file brings them in without the
    # path files beside them, one of which makes the clone importable.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_of(home) / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return home


def site_of(home: Path) -> Path:
    paths = {"base": str(home), "platbase": str(home)}
    return Path(sysconfig.get_path("purelib", vars=paths))


@pytest.fixture
def run(home: Path, workdir: Path) -> Run:
    """Run a program of the environment in the working directory; it must end well."""

    def run(program: str, *arguments: str) -> str:
        # A search path of the person's own could lead back into the clone.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [home / "bin" / program, *arguments]
        done = subprocess.run(command, cwd=workdir, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def files_in(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_wheel_holds_every_file(wheel: Path) -> None:
    ours = {
        f"bench/{file.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    # The links to the folders are no files of the wheel.
    ours |= {f"bench/{file.name}" for file in (ROOT / "bench").iterdir() if file.is_file()}
    assert files_in(wheel) == ours
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_a_source_distribution_holds_all_that_the_wheel_needs(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    """It holds no links, so nothing may be found through those in bench/."""
    script = "import sys; from setuptools.build_meta import build_sdist as b; b(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=source, check=True, capture_output=True
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    assert files_in(built(archive, tmp_path)) == files_in(wheel)


def test_version_has_one_source() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert importlib.metadata.version("bench-harness") == declared


def test_wheel_runs_outside_the_clone(run: Run, home: Path) -> None:
    assert "compare" in run("bench", "--help")
    assert "compare" in run("python", "-m", "bench", "--help")
    script = (
        "import bench.harness as h, bench.models as m, bench.optim as o, bench as b; "
        "print(b.__file__, h.__file__, m.__file__, o.__file__)"
    )
    assert all(file.startswith(str(home)) for file in run("python", "-c", script).split())
    assert "curves" in run("bench", "list", "problems")


def test_only_bench_is_left_at_the_top_of_site_packages(home: Path) -> None:
    (distribution,) = importlib.metadata.distributions(
        name="bench-harness", path=[str(site_of(home))]
    )
    tops = {file.parts[0] for file in distribution.files or ()}
    tops -= {"..", next(top for top in tops if top.endswith(".dist-info"))}
    assert tops == {"bench"}


MINE = '''
"""A problem and an optimizer that lean on packages of their own."""
import harness
from models import Net, points
from optim import Steps

from bench.models.from_module import ModuleProblem
from bench.models.losses import SoftmaxCrossEntropy
from bench.models.problem import Metric


def make(preset):
    loss = SoftmaxCrossEntropy()
    return ModuleProblem(
        "mine", preset, module=Net, loss=loss, data=points, budget=harness.BUDGET,
        metric=Metric("cross_entropy", "lower", loss.per_case), targets=(0.3,),
    )
'''
PACKAGES = {
    "harness": "BUDGET = 6000\n",
    "models": """
import numpy as np
from torch import nn

from bench.models.problem import Data, digest_of


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))


def points(source):
    rng = np.random.default_rng(0)
    x = (np.round(rng.uniform(-1, 1, (60, 2)) * 2**16) / 2**16).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(x[:, 0] > x[:, 1]).astype(int)]
    parts = (x[:40], x[40:], y[:40], y[40:])
    return Data("points (generated)", digest_of(*parts), *parts)
""",
    "optim": """
import torch


class Steps(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                # Here and not above: a neighbour may be imported late, too.
                from models import Net

                assert Net.__module__ == "models"
                parameter.add_(parameter.grad, alpha=-group["lr"])
""",
}
COMPARE = (
    *("compare", "--optimizers", "nag[batch=20],./mine.py:Steps[batch=20]"),
    *("--problem", "./mine.py:make", "--seeds", "2", "--no-mlflow"),
)
IN_A_POOL = """
from bench.harness.cli.main import main
from bench.harness.planning import placement

placement.MIN_SECONDS_FOR_PROCESSES = 0.0
main()
"""


@pytest.fixture
def neighbours(workdir: Path) -> None:
    """A folder with packages that are called like bench's own folders."""
    (workdir / "mine.py").write_text(MINE)
    for name, code in PACKAGES.items():
        (workdir / name).mkdir()
        (workdir / name / "__init__.py").write_text(code)


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(
    "more", [(), ("--nproc-per-node", "2"), ("--nproc-per-node", "2", "--mode", "data")]
)
def test_a_file_imports_what_stands_beside_it(run: Run, more: tuple[str, ...]) -> None:
    assert "Steps" in run("bench", *COMPARE, *more)


@pytest.mark.usefixtures("neighbours")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_a_file_imports_what_stands_beside_it_in_a_pool(run: Run, workdir: Path) -> None:
    (workdir / "script.py").write_text(IN_A_POOL)
    assert "Steps" in run("python", "script.py", *COMPARE, "--threads", "2")


@pytest.mark.usefixtures("neighbours")
def test_a_file_imports_what_stands_beside_it_in_a_worker(run: Run) -> None:
    run("bench", *COMPARE, "--plan", "plan.json")
    named = ("--plugin", "./mine.py:make", "--plugin", "./mine.py:Steps")
    run("bench", "worker", "--exit-when-empty", *named)
    assert "Steps" in run("bench", "resume", "--no-mlflow", *named)


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize("name", ["make", "Steps"])
def test_a_file_imports_what_stands_beside_it_in_a_check(run: Run, name: str) -> None:
    run("bench", "check", f"./mine.py:{name}")
