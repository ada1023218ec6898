"""What curves/quick shows: without momentum or curvature training is slower, beyond doubt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.harness.cli.main import main


@pytest.mark.slow
def test_sgd_is_worse_than_nag_and_than_hf(tmp_path: Path) -> None:
    """By the verdicts of the default comparison of all four, with its default seeds."""
    result = tmp_path / "result.json"
    with pytest.raises(SystemExit) as end:
        main(
            ["compare", "--optimizers", "sgd,cm,nag,hf", "--no-mlflow", "--json", str(result)]
            + ["--store", f"sqlite:///{tmp_path}/bench.db"]
        )
    assert end.value.code == 0
    verdicts = {(pair["a"], pair["b"]): pair for pair in json.loads(result.read_text())["pairs"]}
    for other in ("nag", "hf"):
        pair = verdicts["sgd", other]
        assert pair["verdict"] == "b better", pair
        assert pair["p"] <= 0.05
