#!/usr/bin/env bash
# statsmodels 0.15.0: one NaN among the p-values makes multipletests lose all of them, without a warning.
#
# A test that cannot be made gives NaN: two equal samples, a missing method, a constant column.
# multipletests takes it for one more p-value. Then, with p = 0.001, 0.02, NaN, 0.03 and alpha 0.05:
#   fdr_bh, fdr_by, simes-hochberg   every corrected p-value is NaN, and yet reject is True for some
#   hommel                           every corrected p-value is NaN, and nothing is rejected
#   holm, bonferroni, holm-sidak     the others are corrected for four tests, though three were made
# So a table that prints `reject` shows findings whose corrected p-value is NaN, and hommel hides that of
# p = 0.001. pingouin 0.7.0 leaves a NaN out and corrects for three; scipy 1.17.1
# (false_discovery_control) raises an error. Nothing in the signature speaks of missing values.
#
# Seen: "fdr_bh reject True True False True p nan nan nan nan"
#       "hommel reject False False False False p nan nan nan nan"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0 pingouin==0.7.0 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
import warnings
from importlib.metadata import version

import numpy as np
import pingouin
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

warnings.simplefilter("error")
print("statsmodels", version("statsmodels"))
p = np.array([0.001, 0.02, np.nan, 0.03])
there = ~np.isnan(p)
for method in ("fdr_bh", "fdr_by", "simes-hochberg", "hommel", "holm", "bonferroni", "holm-sidak"):
    reject, corrected, *_ = multipletests(p, alpha=0.05, method=method)
    alone = multipletests(p[there], alpha=0.05, method=method)[1]
    print(method, "reject", *reject.tolist(), "p", *corrected.round(4).tolist())
    assert alone[0] < 0.05, "without the NaN the least p-value is rejected"
    if method in ("fdr_bh", "fdr_by", "simes-hochberg", "hommel"):
        assert np.isnan(corrected).all()
        assert reject[0] == (method != "hommel")
    else:
        assert np.isnan(corrected[2]) and (corrected[there][:1] > alone[:1]).all()
assert multipletests(p, method="fdr_bh")[0].tolist() == [True, True, False, True]
_, corrected = pingouin.multicomp(p.tolist(), method="holm")
assert np.allclose(corrected[there], multipletests(p[there], method="holm")[1])
try:
    false_discovery_control(p)
    raise SystemExit("scipy takes a NaN: the behaviour has changed")
except ValueError as error:
    print("scipy:", error)
PY
