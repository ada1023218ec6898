"""Nothing on disk is ever run: no pickle is read from a file, and no text evaluated."""

from __future__ import annotations

import ast
import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.harness.comparison.files import write_files
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import canonical_json
from bench.harness.report.files import RECONSTRUCTIONS
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.checkpoint import HEADER_FIELDS, MAGIC, VERSION, Checkpoints, _digest
from tests.harness.cli.conftest import Filled

ROOT = Path(__file__).parents[1]
ROOMS = ("optim", "models", "harness", "benchmarks", "examples", ".ci", "docs")

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "np.load", "numpy.load"}

BETWEEN = "what this process and its own children, or ranks of one run, tell each other"
ALLOWED = {
    ("harness/execution/pool.py", "pickle"): BETWEEN,
    ("harness/execution/pool_process.py", "pickle"): BETWEEN,
    ("harness/distributed/process_group.py", "pickle"): BETWEEN,
    ("harness/training/checkpoint.py", "pickle"): "its errors are named; nothing is read with it",
    ("harness/training/checkpoint.py", "torch.load"): "with weights_only",
    ("harness/check/observed_trial.py", "torch.load"): "with weights_only, from memory",
    ("harness/comparison/files.py", "np.load"): "without objects",
    ("optim/loaded_files.py", "compile"): "its code is compared with what is loaded, and not run",
}


def risky(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Find imports of modules and calls that can run what they read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [module, *(alias.name for alias in node.names)]
            yield from ((name, node) for name in names if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in CALLS:
            yield called, node


def sources() -> Iterator[tuple[str, ast.AST]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def test_what_could_run_a_file_is_on_a_short_list() -> None:
    found = {(file, name) for file, tree in sources() for name, _ in risky(tree)}
    assert found == ALLOWED.keys()


def test_files_are_read_as_plain_values() -> None:
    for file, tree in sources():
        for name, node in risky(tree):
            if isinstance(node, ast.Call) and name.endswith(".load"):
                given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                safe = "weights_only" if name == "torch.load" else "allow_pickle"
                assert given.get(safe) == str(name == "torch.load"), file


def test_the_search_sees_what_it_looks_for() -> None:
    tree = ast.parse(
        "import a, pickle\nfrom yaml import load\neval('1')\nimport torch\ntorch.load(f)"
    )
    assert [name for name, _ in risky(tree)] == ["pickle", "yaml", "eval", "torch.load"]


class Malicious:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_the_object_would_do_harm(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Malicious(tmp_path / "harm")))
    assert (tmp_path / "harm").is_dir()


def test_a_checkpoint_with_a_pickle_is_left_out(tmp_path: Path) -> None:
    """Its digest is right: whoever can write the file can count it."""
    identity, buffer = canonical_json({"seed": 0}).encode(), io.BytesIO()
    torch.save({"fleet": Malicious(tmp_path / "harm")}, buffer)
    state = buffer.getvalue()
    fields = HEADER_FIELDS.pack(MAGIC, VERSION, len(identity), len(state))
    content = fields + _digest(fields, identity, state) + identity + state
    (tmp_path / "fleet.000001.ckpt").write_bytes(content)
    told: list[str] = []
    assert Checkpoints(tmp_path, "fleet", {"seed": 0}, told.append).read() is None
    assert len(told) == 1 and "neither tensor nor plain value; the fleet starts from" in told[0]
    assert not (tmp_path / "harm").exists()


def write_array(path: Path, harm: Path) -> None:
    np.save(path, np.array([Malicious(harm)], dtype=object), allow_pickle=True)


def write_pickle(path: Path, harm: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious(harm)))


@pytest.mark.parametrize("write", [write_array, write_pickle])
def test_images_with_a_pickle_are_left_out(
    write: Callable[[Path, Path], None],
    store_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.harness.comparison.files.learning_curves", lambda *given: None)
    monkeypatch.setattr("bench.harness.comparison.files.to_text", lambda summary: "")
    monkeypatch.setattr("bench.harness.comparison.files.page", lambda recorded: "")
    with Store.open(store_url) as store:
        filled = Filled(store)
        trial = store.trial(filled.trial(filled.comparison()))
    folder = tmp_path / f"trial-{trial.uuid}"
    folder.mkdir()
    write(folder / RECONSTRUCTIONS, tmp_path / "harm")
    write_files(tmp_path / "out", {}, [trial], {}, np.zeros((1, 2, 2)), (), tmp_path, {})
    told = capsys.readouterr().err
    assert told == f"{folder / RECONSTRUCTIONS} does not contain images, so it is skipped.\n"
    assert (tmp_path / "out" / "report.txt").is_file()
    assert not (tmp_path / "harm").exists()


def test_a_spool_file_with_a_pickle_is_left_out_and_the_run_goes_on(
    store_url: str, tmp_path: Path
) -> None:
    with Store.open(store_url) as store:
        filled = Filled(store)
        trial = filled.trial(filled.comparison())
        path = tmp_path / f"{store.id}-1-ab.jsonl"
        strange = ['{"Measured": {"trial_id": "x", "measurement": {}}}', "[]", '{"Ended": 3}', "{"]
        path.write_bytes(
            pickle.dumps(Malicious(tmp_path / "harm"), protocol=0)
            + b"\n"
            + "\n".join([*strange, ""]).encode()
        )
        lines = path.read_bytes().count(b"\n")
        told: list[str] = []
        with Recorder(store, tmp_path, told.append) as recorder:
            recorder.measure(trial, Measurement(0, Ledger(), 1.0, 1.0, 1.0, 1.0))
        assert len(store.measurements([trial])[trial]) == 1
    kept = path.with_suffix(".unread")
    sentence = f"{lines} of {lines} lines in {kept} are not as bench writes them: left out."
    assert told == [sentence]
    assert kept.is_file() and not path.exists()
    assert not (tmp_path / "harm").exists()
