import pytest

from bench.harness.core.published import MARTENS_LOG, TABLE_1, TABLE_2, published_value

MOMENTUM = {
    "lr": 0.01, "mu_max": 0.99, "batch": 200, "period": 250, "final": 1000, "final_mu": 0.9,
    "schedule": "sutskever", "l2": 0.0,
}  # fmt: skip
HF = {
    "batch": 0, "chunks": 4, "l2": 2e-5, "lam": 45.0, "lam_factor": 1.5, "cg_max": 250,
    "cg_tolerance": 5e-4, "decay": 0.95, "precondition": True, "exponent": 0.75,
}  # fmt: skip

HFM = {"recipe": "curves", "length": 1.0, "batch": 0, "lam": 45.0}


@pytest.mark.parametrize(
    ("problem", "method", "given", "value"),
    [
        ("curves", "nag", MOMENTUM, 0.096),
        ("curves", "nag", MOMENTUM | {"lr": 0.05}, 0.096),
        ("mnist", "cm", MOMENTUM | {"mu_max": 0.999}, 0.90),
        ("faces", "nag", MOMENTUM | {"mu_max": 0.9}, 14.2),
        ("faces", "sgd", {"lr": 0.1, "batch": 200, "l2": 0.0}, 36.4),
        ("curves", "hf", HF, 0.11),
        ("faces", "hf", HF | {"l2": 1e-5, "chunks": 20}, 12.0),
        ("curves", "hfm", HFM, 0.058),
        ("mnist", "hfm", HFM | {"recipe": "mnist"}, 0.69),
    ],
)
def test_rows_of_table_1(problem, method, given, value):
    assert published_value(problem, "paper", method, given) == value


@pytest.mark.parametrize(
    ("problem", "preset", "method", "given"),
    [
        ("curves", "quick", "nag", MOMENTUM),
        ("xor", "paper", "nag", MOMENTUM),
        ("curves", "paper", "torch.optim.AdamW", {"lr": 1e-3}),
        ("curves", "paper", "nag", MOMENTUM | {"mu_max": 0.95}),
        ("curves", "paper", "nag", MOMENTUM | {"schedule": "constant"}),
        ("curves", "paper", "nag", MOMENTUM | {"period": 20}),
        ("curves", "paper", "nag", MOMENTUM | {"final": 0}),
        ("curves", "paper", "cm", MOMENTUM | {"batch": 100}),
        ("curves", "paper", "sgd", {"lr": 0.1, "batch": 200, "l2": 1e-5}),
        ("curves", "paper", "hf", HF | {"lam": 1.0}),
        ("mnist", "paper", "hf", HF),
        ("curves", "paper", "hf", {}),
        ("mnist", "paper", "hfm", HFM),
        ("curves", "paper", "hfm", HFM | {"length": 0.1}),
        ("curves", "paper", "hfm", HFM | {"recipe": "single"}),
    ],
)
def test_none_elsewhere(problem, preset, method, given):
    assert published_value(problem, preset, method, given) is None


def test_the_tables_agree_with_each_other():
    for task, (before, after) in TABLE_2.items():
        assert after == min(v for k, v in TABLE_1[task].items() if k.endswith("N"))
        assert before > after
    assert all(len(row) == 12 for row in TABLE_1.values())
    steps = [line.cg_steps for line in MARTENS_LOG]
    assert steps == sorted(steps)
