"""Random command lines and changed files: every answer is a sentence with an allowed exit code.

    python -m tests.fuzz.command_lines --lines 1000 --files 200 --seed 0

It runs in one process, in a folder of its own. It trains only what it needs for real exports and
checkpoints: a few updates. Number i depends on the seed and
on i alone, so `--from 400` goes on after an interrupt.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from bench.harness.cli.main import COMMANDS
from tests.fuzz.answers import is_wrong, run
from tests.fuzz.bundles import changed_manifest, changed_row
from tests.fuzz.changes import changed
from tests.fuzz.checkpoints import changed_checkpoint

WORDS = (
    *("", "0", "-1", "3.7", "nan", "1e309", "²", "true", "[", "]", "a|b", "nag", "hf[lam=]", "-h"),
    *(
        "nag[lr=0.1,lr=2]",
        "curves",
        "add[T=1]",
        "./no.py:X",
        "./no.py",
        "torch.optim.AdamW",
        "AdamW",
    ),
    *("\x1b[31m", "\ud800", "θ", "../..", "/dev/null", "updates=3", "seconds=-1", "sqlite:///x.db"),
    *("sqlite:///../%2f", "postgresql://me:pw@127.0.0.1:1/x", "12345678", "--", "-", "a" * 300),
)
OPTIONS = (
    *(
        "--optimizers",
        "--problem",
        "--preset",
        "--seeds",
        "--tune",
        "--budget",
        "--store",
        "--json",
    ),
    *("--threads", "--device", "--mode", "--plan", "--metric", "--allow", "--limit", "--html"),
    *("--format", "--name", "--suite", "--seed", "--optimizer", "--extend", "--timed"),
)
# What would wait, listen, or take long.
LEFT_OUT = ("ui", "worker", "doctor", "check", "data", "reproduce", "noise")
INNER = ("list", "show", "accept", "sql", "export", "import", "gc", "run", "history", "status")
KINDS = ("bench.toml", "suite", "manifest", "row", "checkpoint", "plan", "spool")
SUITE = 'name = "n"\nseeds = 3\n[digest]\nupdates = 2\n[[compare]]\nproblem = "curves"\n'
VALUES = ("3", "3.7", "true", '"x"', "[]", "{}", "-1", "1979-05-27", "nan", '""', "9" * 30)


def line(dice: random.Random) -> list[str]:
    """Return a random command line."""
    words = [dice.choice([name for name in COMMANDS if name not in LEFT_OUT])]
    if dice.random() < 0.6:
        words.append(dice.choice(INNER))
    for _ in range(dice.randrange(6)):
        words.append(dice.choice(OPTIONS if dice.random() < 0.5 else WORDS))
    # Nothing is trained: a comparison that could run is planned only.
    return [*words, "--dry-run"] if words[0] in ("compare", "run") else words


def toml(dice: random.Random, whole: str) -> str:
    """Return a TOML text with a few lines changed, added or left out."""
    lines = whole.splitlines()
    for _ in range(dice.randrange(1, 4)):
        i = dice.randrange(len(lines))
        name = dice.choice(
            ("seeds", "sedes", "compare", "device", "store", "name", "digest", "x-y")
        )
        lines[i : i + dice.randrange(2)] = [
            dice.choice((f"{name} = {dice.choice(VALUES)}", f"[{name}]", f"[[{name}]]", "[", name))
        ]
    return "\n".join(lines)


def plan() -> dict[str, Any]:
    """Return a plan file's content, as `bench compare --plan` writes it."""
    request = {
        "optimizers": "nag", "problem": "curves", "preset": "quick", "seeds": 2, "tune": "none",
        "budget": "updates=3", "precision": "fp32", "timed": False, "fresh": False,
        "device": "cpu", "threads": 1, "data_dir": None, "no_mlflow": True,
    }  # fmt: skip
    whole = {
        "request": request, "kind": "comparison", "command": "bench compare", "argv": ["bench"],
        "data": "d", "versions": {"bench": "1", "torch": "2"}, "chosen": [0],
    }  # fmt: skip
    task = {"trials": [[0, "nag", 0, "reported"]], "digest": "d", "threads": 1, "beside": 0}
    return {
        "comparison": "0a1b2c3d", "mode": "trials", "store": None, "plan": whole, "tasks": [task],
    }  # fmt: skip


def read_plan(text: str) -> tuple[int, str]:
    """Read a plan file, as a rank does; a refusal is a sentence."""
    from bench.harness.core.errors import BenchError
    from bench.harness.planning.plan import PlanFile

    Path("plan.json").write_text(text)
    try:
        PlanFile.read(Path("plan.json"), "sqlite:///x.db")
    except BenchError as error:
        return error.exit_code, str(error)
    except Exception as error:
        return 4, f"unexpected error {error!r}"
    return 0, ""


def read_spool(text: str) -> tuple[int, str]:
    """Read a line of a spool file; what bench did not write is left out."""
    from bench.harness.store.spool import _read

    try:
        _read(text.encode())
    except Exception as error:
        return 4, f"unexpected error {error!r}"
    return 0, ""


def file(dice: random.Random, kind: str) -> tuple[str, int, str]:
    """Write a changed file of a kind and read it; return its content, exit code and answer."""
    if kind == "bench.toml":
        text = toml(
            dice, "seeds = 3\n[compare]\ndevice = 'cpu'\n[db.sql]\nstore = 'sqlite:///x.db'"
        )
        Path(kind).write_text(text)
        try:
            return text, *run(["list", "comparisons"])
        finally:
            Path(kind).unlink()
    if kind == "suite":
        text = toml(dice, SUITE + 'optimizers = "nag"\n')
        Path("suite.toml").write_text(text)
        return text, *run(["nightly", "run", "suite.toml", "--data-dir", "nowhere"])
    made = {"manifest": changed_manifest, "row": changed_row, "checkpoint": changed_checkpoint}
    if kind in made:
        text, answer = made[kind](dice)
        return text, *answer
    if kind == "spool":
        ledger = {"updates": 1, "examples": 2, "gradients": 2.0, "seconds": 0.5}
        values = dict.fromkeys(("train_metric", "test_metric", "train_loss", "test_loss"), 0.5)
        measured = {"trial_id": 1, "measurement": {"index": 0, "ledger": ledger, **values}}
        text = json.dumps(changed(dice, {"Measured": measured}))
        return text, *read_spool(text)
    text = json.dumps(changed(dice, plan()))
    return text, *read_plan(text)


def fuzz() -> int:
    """Run what the command line asks for; return the number of wrong answers."""
    asked = argparse.ArgumentParser(description=__doc__)
    for name, default in (("lines", 1000), ("files", 200), ("seed", 0), ("from", 0)):
        asked.add_argument(f"--{name}", type=int, default=default)
    asked.add_argument("--kinds", default=",".join(KINDS))
    given = vars(asked.parse_args())
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for i in range(given["from"], given["lines"]):
            words = line(random.Random(f"line {given['seed']} {i}"))
            code, said = run(words)
            if is_wrong(code, said):
                wrong += 1
                print(f"line {i}: {words!r}: {code}: {said[-300:]!r}", flush=True)
        for kind in given["kinds"].split(","):
            codes: Counter[int] = Counter()
            for i in range(given["files"]):
                text, code, said = file(random.Random(f"{kind} {given['seed']} {i}"), kind)
                codes[code] += 1
                if is_wrong(code, said):
                    wrong += 1
                    print(f"{kind} {i}: {text!r}: {code}: {said[-300:]!r}", flush=True)
            print(f"{kind}: exit codes {dict(sorted(codes.items()))}", flush=True)
    print(f"{given['lines']} lines and {given['files']} files of each kind: {wrong} wrong answers.")
    return wrong


if __name__ == "__main__":
    sys.exit(fuzz() > 0)
