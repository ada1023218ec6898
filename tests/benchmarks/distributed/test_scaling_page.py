"""docs/scaling.md is what the model says of what was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.distributed import scaling_page
from benchmarks.distributed.data_mode import (
    BANDWIDTH,
    EIGHTH,
    HALF,
    LATENCY,
    REDUCTION,
    SHARED,
    TWICE,
    WHOLE,
)
from benchmarks.distributed.scaling import Grid
from benchmarks.distributed.scaling_gpus import Named
from benchmarks.distributed.scaling_page import BLOCK, BLOCKS, FILE, PAGE, page
from benchmarks.distributed.stores import OPERATIONS
from benchmarks.distributed.trials_mode import ONE, PROCESSES, RANKS


def test_the_page_is_what_the_committed_measurement_makes_of_it() -> None:
    text = PAGE.read_text()
    assert text == page(text, json.loads(FILE.read_text())), (
        "run `python -m benchmarks.distributed.scaling_page`"
    )


def test_every_block_is_on_the_page_once() -> None:
    assert sorted(found[2] for found in BLOCK.finditer(PAGE.read_text())) == sorted(BLOCKS)


def test_what_is_between_blocks_stays() -> None:
    text = "Before.\n<!-- assumed -->\nold\n<!-- end -->\nAfter.\n"
    made = page(text, {})
    assert made.startswith(
        "Before.\n<!-- assumed -->\n66.9 · 10¹² floating-point operations a second ("
    )
    assert made.endswith(").\n<!-- end -->\nAfter.\n") and "old" not in made
    assert page(made, {}) == made


def content(**changed: Any) -> dict[str, Any]:
    """A gloo of 1 ms a step and 1 GB/s, and an update of 2 ms and 0.1 ms a case."""
    few, many = 4 * LATENCY + 8, 4 * BANDWIDTH + 8
    case = {
        "name": "curves/quick", "method": "nag", "unit": "update", "parameters": 100_000,
        "cases": 200, "calls": 1, "bytes": 1_000_000, "gradients": 200.0, "operations": 64,
        "seconds": {
            EIGHTH: [0.0045], HALF: [0.012], WHOLE: [0.024, 0.022, 0.020], TWICE: [0.042],
            SHARED: [0.016, 0.016, 0.016], REDUCTION: [0.004],
        },
        **changed,
    }  # fmt: skip
    reductions = {str(LATENCY): [0.002 + few / 1e9], str(BANDWIDTH): [0.002 + many / 1e9]}
    return {"measured": {"data": {"reductions": reductions, "cases": [case]}}}


def test_gloo_is_found_from_two_reductions() -> None:
    link = scaling_page.gloo(content())
    assert link.latency == pytest.approx(1e-3) and link.bandwidth == pytest.approx(1e9)


def test_predictions_come_from_other_batches_and_are_shown_with_their_error() -> None:
    # 2 + 0.1·200 = 22 ms, and 2 + 0.1·100 + 2·1 + 1 = 15 ms.
    told = scaling_page.data(content())
    assert "| 22 / 22 (+0%) | 15 / 16 (-6%) | 1.47 / 1.38 | 4 |" in told
    assert told.endswith(
        f"gloo here: 1000 µs a step, 1 GB/s, from reductions of {LATENCY} and of 3,000,000 numbers."
    )
    slower = scaling_page.data(content(cases=400))
    assert "| 22 / 22" in slower  # Twice the cases, each at half the cost.


def test_overhead_is_of_each_round_and_its_median_is_shown() -> None:
    # (16 - 12) / 16, (16 - 11) / 16, (16 - 10) / 16; 4 of 16 ms could go beside the other 8.
    assert "| 4 | 31% | 25% |" in scaling_page.data(content())
    assert "| 4 | 31% |  |" in scaling_page.data(content(unit="iteration"))


def test_two_ranks_are_held_to_what_independent_processes_take() -> None:
    found = {
        "fleets": 8,
        "seconds": {RANKS: [10.0, 12.5, 10.0], PROCESSES: [10.0, 10.0, 8.0], ONE: [20.0] * 3},
        "starts": {RANKS: [5.0], PROCESSES: [3.0], ONE: [2.0]},
        "bytes": 9_216,
    }
    told = scaling_page.trials({"measured": {"trials": found}})
    assert f"| {RANKS} | 10 | 10 | 5 |" in told and f"| {ONE} | 20 | 20 | 2 |" in told
    assert f"| {PROCESSES} | taken from here | 10 | 3 |" in told
    assert "reach **0.8** of" in told


def test_overlap_saves_no_more_than_the_reduction_nor_than_the_backward_pass() -> None:
    assert scaling_page._saved(10.0, 2.0, 5.0) == "20%"
    assert scaling_page._saved(10.0, 6.0, 3.0) == "30%"


def test_gpus_are_shown_with_what_is_gained_and_where_that_ends() -> None:
    grid = Grid(trials=64, updates=600, fixed=0.0, a_row=0.1, start=0.0)
    row = scaling_page._gpus([Named("64 trials", grid)], 1 / 60, "min").splitlines()[-1]
    assert row == (
        "| 64 trials | 64 | 8, × 8, 1; nothing yet | 1, × 64, 1; nothing yet "
        "| 1, × 64, 0.062; 960 ranks have no trial | 256 | 64 |"
    )


def test_a_store_does_for_as_many_ranks_as_its_capacity_at_most_workers_says() -> None:
    def reached(rate: float) -> dict[str, Any]:
        return {
            "1": {"rates": [9_999.0], "longest": 9.0},
            "16": {"rates": [rate / 2, rate, 2 * rate], "longest": 0.5},
        }

    found = {kind: reached(100.0) for kind in OPERATIONS}
    told = scaling_page.store({"measured": {"stores": {"SQLite": found}, "trials": {"bytes": 9.0}}})
    # 2/30 + 24/60 (every 2 s at most: 0.5) … a second, of 100: 1 / ((0.0667 + 0.5 + 0.1) / 100).
    assert "| SQLite | 100 | 100 | 100 | 0.5 s | 150 |" in told


def test_checkpoints_are_shown_in_sizes_of_theta() -> None:
    each = {"name": "a", "method": "nag", "parameters": 1_000, "bytes": 8_400, "seconds": [0.002]}
    run = {"run": 10.0, "spent": 0.1, "written": 3}
    told = scaling_page.checkpoints({"measured": {"checkpoints": [each, {**each, **run}]}})
    assert "| 8,400 | 2.10 | 2 |  |" in told and "| 2 | 1.0% of 10 s, 3 |" in told
