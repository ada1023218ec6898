#!/usr/bin/env bash
# SciPy 1.17.1: permutation_test gives another exact p if all paired results are shifted by 1,000.
#
# A paired permutation test depends on the differences alone. Take eight pairs of results with two
# decimals, as a benchmark prints them, and add 1,000 to all sixteen: the differences stay the same
# on paper. In float64 they now carry the rounding of the results, about 1e-13. permutation_test
# counts a permutation as a tie if its statistic is within 100 eps of the observed one, relative to
# the observed statistic, here within 1e-15. So exact ties are missed, and the p of an exact test is
# too small: 0.046875 where counting in whole hundredths gives 0.0625. Of 200 random examples of
# this kind, 103 have another p than counting gives at 1,000; without the shift 2 have.
#
# A statistic that rounds the differences to the decimals of the results gives the counted p.
#
# Seen: "shifted by 0: 0.0625, shifted by 1000: 0.046875, counted: 0.0625"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
from itertools import product

import numpy as np
import scipy
from scipy.stats import permutation_test

A = [0.08, 0.03, 0.09, 0.07, 0.02, 0.04, 0.11, 0.01]
B = [0.04, 0.02, 0.01, 0.06, 0.02, 0.02, 0.04, 0.02]


def p_of(a, b, decimals=None):
    def statistic(x, y, axis):
        d = x - y if decimals is None else np.round((x - y) * 10**decimals)
        return d.mean(axis=axis)

    samples = (np.asarray(a), np.asarray(b))
    done = permutation_test(
        samples, statistic, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    return float(done.pvalue)


def counted(a, b):
    d = [round(100 * (x - y)) for x, y in zip(a, b)]
    sums = [abs(sum(s * each for s, each in zip(signs, d))) for signs in product((1, -1), repeat=len(d))]
    return sum(each >= abs(sum(d)) for each in sums) / len(sums)


def shifted(values, by):
    return [round(each + by, 2) for each in values]


plain = p_of(A, B)
far = p_of(shifted(A, 1000), shifted(B, 1000))
print(f"shifted by 0: {plain}, shifted by 1000: {far}, counted: {counted(A, B)}")
assert plain == counted(A, B) == 0.0625
assert far == 0.046875
assert p_of(shifted(A, 1000), shifted(B, 1000), decimals=2) == 0.0625

generator, wrong = np.random.default_rng(0), {0: 0, 1000: 0}
for base in wrong:
    for _ in range(200):
        a = np.round(base + generator.integers(0, 12, 8) / 100, 2)
        b = np.round(base + generator.integers(0, 8, 8) / 100, 2)
        wrong[base] += abs(p_of(a, b) - counted(a, b)) > 1e-12
print("of 200 examples, another p than by counting:", wrong)
assert wrong[1000] > 50 > 10 > wrong[0]
print("scipy", scipy.__version__)
PY
