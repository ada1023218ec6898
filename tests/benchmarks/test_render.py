"""RESULTS.md is what the committed JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import render
from benchmarks.figures import NOT_INSTALLED, Part, figure, rates


def test_results_page_is_what_render_makes_of_the_committed_json() -> None:
    assert render.PAGE.read_text() == render.page(render.RESULTS), (
        "run `python -m benchmarks.render`"
    )


def test_without_files_only_the_head_is_left(tmp_path: Path) -> None:
    assert render.page(tmp_path) == render.HEAD


def test_every_committed_file_has_its_section() -> None:
    assert {path.stem for path in render.RESULTS.glob("*.json")} <= set(render.SECTIONS)


def test_a_section_names_ratio_spread_goal_machine_and_command(tmp_path: Path) -> None:
    part = Part(
        "Speed",
        [
            figure("small", ("ours", [1.0, 2.0, 3.0]), ("theirs", [2.0, 2.0, 2.0]), goal=1.0),
            figure("small", ("ours", [4.0]), ("theirs", [2.0]), goal=1.0),
            figure("small", ("start", [0.4]), ("python", [0.1]), goal_seconds=0.3),
            figure("small", ("read", [0.4]), ("peer", [9]), goal=0.05, goal_seconds=0.3),
            rates("large", ("ours", [0.5], 1_234), ("theirs", [1.0], 100), "GB/s", goal=20.0),
            rates("large", ("ours", [0.5], 1_234), ("theirs", [1.0], 100), "GB/s", goal=25.0),
        ],
        ["As it was."],
        ["no-such-package"],
    )
    content = part.as_json("python -m benchmarks.run update", 0.5)
    (tmp_path / "update.json").write_text(json.dumps(content))
    lines = render.page(tmp_path).splitlines()
    assert "## Speed" in lines and "* As it was." in lines
    assert "Again: `python -m benchmarks.run update`" in lines
    assert any(f"no-such-package {NOT_INSTALLED}" in line for line in lines)
    first, second, third, both, fourth, fifth = lines[-8:-2]
    assert "| **1** | 0.75 – 1.25 | 0.5 – 1.5 | 3 | 2 s | 2 s | ≤ 1: yes |" in first
    assert "| **2** |" in second and second.endswith("≤ 1: no |")
    assert third.endswith("| 400 ms | 100 ms | < 300 ms: no |")
    assert both.endswith("| ≤ 0.05: yes; < 300 ms: no |")
    assert "| **24.7** |" in fourth
    assert fourth.endswith("| 2,468 GB/s | 100 GB/s | ≥ 20: yes |")
    assert fifth.endswith("≥ 25: no |")


def long_run(**changed: Any) -> dict[str, Any]:
    errors = {0: 259.0, 100: 16.9, 300: 16.5, 700: 14.9, 2100: 11.0, 3000: 3.9}
    return {
        "problem": "curves",
        "preset": "paper",
        "data": "curves (generated)",
        "method": "hf",
        "backend": "torch",
        "hyperparameters": {"chunks": 4},
        "budget": {"currency": "gradients", "amount": 6e7},
        "seed": 0,
        "stop_below": 1.0,
        "machine": {
            "processor": "P", "threads": 1, "python": "3", "torch": "2", "commit": "c", "date": "d",
        },
        "status": "running",
        "curve": [
            {
                "ledger": {"updates": steps, "cg_steps": steps, "seconds": 60.0},
                "train_metric": error,
                "test_metric": error,
            }
            for steps, error in errors.items()
        ],
        **changed,
    }  # fmt: skip


def test_martens_section_has_first_crossings_their_ratios_and_the_plateau(tmp_path: Path) -> None:
    (tmp_path / "martens_log.json").write_text(json.dumps(long_run()))
    text = render.page(tmp_path)
    assert "| 15 | 621 (15.11) | 700 (14.9) | 1.13 | yes |" in text
    assert "| 12 | 1,003 (12.21) | 2,100 (11) | 2.09 | no |" in text
    assert "| 4 | 3,203 (4.35) | 3,000 (3.9) | 0.94 | yes |" in text
    assert "| 1.1 | 5,221 (1.094) | not reached | | |" in text
    assert "from 100 to 300 CG steps, median error 16.7; Martens: 16.9 at 123 and 16.59" in text
    assert "not finished yet" in text
    assert "--method 'hf@torch[chunks=4]' --gradients 6e+07 --seed 0 --threads 1 --below 1" in text


@pytest.mark.parametrize(("mu_max", "published"), [(0.99, True), (0.98, False)])
def test_nag_section_has_error_settings_and_what_is_published(
    tmp_path: Path, mu_max: float, published: bool
) -> None:
    content = long_run(
        method="nag",
        hyperparameters={"lr": 0.01, "mu_max": mu_max},
        budget={"currency": "updates", "amount": 60_000.0},
        status="budget",
        stop_below=0.0,
    )
    (tmp_path / "nag_curves_paper.json").write_text(json.dumps(content))
    text = render.page(tmp_path)
    assert "Training squared error **3.9** (test 3.9) after 3,000 updates, 1 minutes" in text
    assert f"'nag@torch[lr=0.01,mu_max={mu_max:g}]' --updates 60000" in text
    assert ("published after 750,000 updates: 0.096" in text) == published
