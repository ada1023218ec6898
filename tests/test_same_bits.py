"""θ of each method on each kind of problem is, to the bit, what the reference commit makes of it.

A change that must not change a result is held against the program before it, on this machine:
what the bits are depends on the processor, so they are made again and not kept. Whoever changes
bits on purpose names the commit that did so as the new reference, and says why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REFERENCE = "9591cc42748dee568c406b724d28a1aa2c27e4a8"
"""The program before its folders were arranged in rooms."""
FOLDERS = ("harness", "models", "optim", "examples")

METHODS = (
    "sgd,cm@torch,nag,nag@torch,torch.optim.AdamW,"
    "hf[batch=60,cg_max=5],hfm[batch=60,part=30,cg_steps=3]"
)
PROBLEMS = {
    "a hand-written autoencoder": "curves",
    "read at the end": "add",
    "read at every step": "mem5[T=5]",
    "two classes": "xor",
    "many classes": "permutation[T=10]",
    "autodiff": "./examples/two_moons.py:make",
    "an nn.Module": "./examples/own_module.py:make",
}
UPDATES = 20

SCRIPT = """
import json, sys
{imports}
methods, problem, updates, store = sys.argv[1:]
request = Request(
    optimizers=methods, problem=problem, preset="quick", seeds=None, tune="none", budget=None,
    precision="fp64", timed=False, fresh=False, dry_run=False, device="cpu", threads=1,
    data_dir=None, store=store, no_mlflow=True,
)
print(json.dumps({{each.method: each.theta for each in digests(request, int(updates))}}))
"""
IMPORTS = """
from bench.harness.nightly.digests import digests
from bench.harness.planning.request import Request
"""
REFERENCE_IMPORTS = """
from harness.digests import digests
from harness.request import Request
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the reference commit."""
    folder = tmp_path_factory.mktemp("reference")
    archive = subprocess.run(["git", "archive", REFERENCE, *FOLDERS], cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip("the history of this checkout does not go back to the reference commit")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def thetas(folder: Path, imports: str, problem: str, store: str) -> dict[str, str]:
    """Method → the digest of its θ, by the program in a folder."""
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            SCRIPT.format(imports=imports),
            METHODS,
            problem,
            str(UPDATES),
            store,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_theta_is_what_the_reference_makes(problem: str, reference: Path, store_url: str) -> None:
    before = thetas(reference, REFERENCE_IMPORTS, problem, store_url)
    assert len(before) == len(set(before.values())) == 7
    assert thetas(ROOT, IMPORTS, problem, store_url) == before
