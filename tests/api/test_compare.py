"""A comparison by the API is the comparison of the command."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bench
from bench.harness.store.results import Store
from bench.optim.momentum.methods import NAG
from tests.harness.small import BUDGET, PROBLEM

ROOT = Path(__file__).parents[2]
OTHER = (
    *(
        "comparison",
        "seconds",
        "fleet_seconds",
        "peak_memory",
        "mlflow_run_id",
        "restricted_mean",
        "horizon",
    ),
    *("attempt", "profiles"),
)
"""What is another in every run: ids, and what clocks and memory say."""


def same(value: Any) -> Any:
    """What is the same in every run of a comparison."""
    if isinstance(value, dict):
        return {key: same(each) for key, each in value.items() if key not in OTHER}
    if isinstance(value, list):
        return [same(each) for each in value]
    return value


def trials(store: str) -> int:
    with Store.open(store) as opened:
        return opened.count("trials")


def test_it_is_what_the_command_gives(compare, command) -> None:
    text = "nag[batch=20],torch.optim.SGD[lr=0.1,batch=20]"
    by_command = command(text)
    result = compare(text, fresh=True)
    assert same(result.summary) == same(by_command)
    assert result.summary["reproduce"] == by_command["reproduce"]


def test_trials_are_reused_both_ways(compare, command, store) -> None:
    result = compare("nag[batch=20]")
    assert not result.trials.reused.any()
    command("nag[batch=20]")
    assert compare(["nag[batch=20]"]).trials.reused.all()
    assert trials(store) == 2


def test_texts_classes_and_values_are_one_and_the_same(compare) -> None:
    first = compare("nag[batch=20,lr=0.1],torch.optim.SGD[lr=0.1]", fresh=True)
    second = compare(
        [bench.optimizer(NAG, batch=20, lr=0.1), bench.optimizer(torch.optim.SGD, lr=0.1)]
    )
    assert second.trials.reused.all()
    assert second.summary["reproduce"] == first.summary["reproduce"]


def test_a_grid_is_tuned_and_the_tuning_has_a_command(compare, store) -> None:
    result = compare([bench.optimizer("nag", lr=[0.01, 0.1], batch=20)], seeds=1)
    assert result.table.tuning_trials.tolist() == [4]
    with Store.open(store) as opened:
        tuning = next(each for each in opened.comparisons() if each.kind == "tuning")
    assert tuning.command.startswith(
        f"bench compare --optimizers 'nag[lr=0.01|0.1,batch=20]' --problem {PROBLEM}"
    )


def test_what_is_recorded_says_python_and_not_this_programs_words(
    compare, store, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["notebook", "--my-secret"])
    result = compare()
    with Store.open(store) as opened:
        assert opened.info_of(int(result.trials.trial[0]))["argv"] == ["python"]
        plan = opened.plan(result.id)
    assert plan is not None and plan.body["argv"] == ["python"]
    assert sys.argv == ["notebook", "--my-secret"]


def test_the_command_that_it_names_reuses_its_trials(compare, store) -> None:
    result = compare("nag[batch=20]")
    words = [sys.executable, "-m", *shlex.split(result.summary["reproduce"])]
    words += ["--no-mlflow", "--device", "cpu", "--json", "-"]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert trials(store) == 2


def test_bench_toml_names_the_store(compare, workdir, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("BENCH_STORE")
    url = f"sqlite:///{tmp_path / 'other' / 'bench.db'}"
    (workdir / "bench.toml").write_text(f'store = "{url}"\n')
    result = compare()
    assert bench.load(result.id, url).id == result.id
    assert bench.comparisons().id.tolist() == [result.id]


def test_it_leaves_the_process_as_it_was(compare) -> None:
    def now() -> dict[str, Any]:
        numpy = np.random.get_state(legacy=False)
        assert isinstance(numpy, dict)
        return {
            "threads": torch.get_num_threads(),
            "precision": torch.get_float32_matmul_precision(),
            "dtype": torch.get_default_dtype(),
            "gradients": torch.is_grad_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "torch's stream": torch.get_rng_state().tolist(),
            "numpy's stream": (numpy["state"]["key"].tolist(), numpy["state"]["pos"]),
            "python's stream": random.getstate(),
            "warnings": list(warnings.filters),
            "handlers": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
            "folder": os.getcwd(),
            "argv": list(sys.argv),
            "environment": dict(os.environ),
            "path": list(sys.path),
        }

    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("high")
    try:
        with torch.no_grad():
            before = now()
            compare([lambda p: torch.optim.SGD(p, lr=0.1), "nag[batch=20]"])
            with pytest.raises(bench.Usage):
                compare("nagg")
            assert now() == before
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")


def test_what_the_process_was_does_not_change_the_result(compare) -> None:
    first = compare(torch.optim.SGD)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            second = compare(torch.optim.SGD, fresh=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert second.trials.train.tolist() == first.trials.train.tolist()


def test_it_works_in_another_thread(compare) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(compare("nag[batch=20]")))
    thread.start()
    thread.join()
    assert found and found[0].status == "done"


class Stopping(NAG):
    """Has Ctrl-C pressed in its third step."""

    name = "stopping"
    signal = signal.SIGINT

    def step(self, theta: Any, objective: Any, state: Any) -> Any:
        Stopping.steps += 1
        if Stopping.steps == 3:
            signal.raise_signal(self.signal)
        return super().step(theta, objective, state)

    steps = 0


def test_ctrl_c_is_a_keyboard_interrupt_after_what_was_measured_is_recorded(
    compare, monkeypatch
) -> None:
    monkeypatch.setattr(Stopping, "steps", 0)
    stopping = bench.optimizer(Stopping, batch=20)
    with pytest.raises(KeyboardInterrupt, match="interrupted by SIGINT. What was measured is") as e:
        compare(stopping)
    (row,) = bench.comparisons().to_dict("records")
    assert row["status"] == "interrupted"
    resume = f"`bench resume {row['id']}` goes on from there."
    assert f"{resume} The same call trains again" in str(e.value)
    begun = bench.load(row["id"])
    assert begun.status == "interrupted" and len(begun.measurements) and begun.verdicts.empty
    assert compare(stopping).status == "done"


def test_sigterm_reaches_the_program(compare, monkeypatch) -> None:
    class Terminated(Stopping):
        signal = signal.SIGTERM

    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    monkeypatch.setattr(Stopping, "steps", 0)
    try:
        with pytest.raises(KeyboardInterrupt) as error:
            compare(bench.optimizer(Terminated, batch=20))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked == [signal.SIGTERM]
    # No command can go on with a class of this program.
    assert "bench resume" not in str(error.value)


SCRIPT = f"""
import json
import bench, torch

def adam(parameters, beta=0.9):
    return torch.optim.Adam(parameters, betas=(beta, 0.999))

result = bench.compare(
    [adam, "nag[batch=20]"], "{PROBLEM}", seeds=2, budget="{BUDGET}", mlflow=False, device="cpu"
)
print(json.dumps(result.trials.reused.tolist()))
"""


def test_a_script_runs_once_and_its_trials_are_reused(workdir) -> None:
    (workdir / "script.py").write_text(SCRIPT)
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "script.py"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        told.append(json.loads(line))
    assert told == [[False] * 4, [True] * 4]


def test_silence(compare, capfd) -> None:
    compare()
    assert capfd.readouterr() == ("", "")
    compare(progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "are reused" in err
