#!/usr/bin/env bash
# torch 2.13.0 with opt_einsum 3.4.0: once the package is there, torch.einsum gives other bits.
#
# torch.einsum of three or more operands multiplies them from left to right. If the package opt_einsum can
# be imported, torch asks it for an order instead, with no import of it and no setting in the program. The
# numbers then round differently. So the same program, seed, torch and processor train other weights after
# `pip install opt_einsum`, and after any package that requires it: jax 0.10.2 does, and so does pyro-ppl
# 1.9.2. The version and the configuration that torch prints are the same; only
# torch.backends.opt_einsum shows it.
#   An optimizer whose update is one product of several matrices, such as PSGD Kron of
#   pytorch_optimizer 4.1.0, takes another path with every update.
#   Two operands, and torch.linalg.multi_dot, are as before.
#
# Seen: "same: einsum of 2 True, multi_dot True, einsum of 3 False, Kron after 20 updates False"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null
"$python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 pytorch_optimizer==4.1.0 2>/dev/null
cat > "$folder/program.py" <<'PY'
import sys

import torch
from pytorch_optimizer import Kron

torch.set_num_threads(1)
torch.manual_seed(0)
a, b, c = torch.randn(30, 40), torch.randn(40, 50), torch.randn(50, 6)
weights = torch.nn.Parameter(torch.randn(30, 6))
optimizer = Kron([weights], lr=0.01)
inputs, targets = torch.randn(20, 6), torch.randn(20, 30)
for _ in range(20):
    optimizer.zero_grad()
    (inputs @ weights.T - targets).square().mean().backward()
    optimizer.step()
available = torch.backends.opt_einsum.is_available()
print(f"torch {torch.__version__}, opt_einsum available: {available},", end=" ")
print(f"enabled: {torch.backends.opt_einsum.enabled}")
torch.save(
    {
        "einsum of 2": torch.einsum("ij,jk->ik", a, b),
        "multi_dot": torch.linalg.multi_dot((a, b, c)),
        "einsum of 3": torch.einsum("ij,jk,kl->il", a, b, c),
        "Kron after 20 updates": weights.detach(),
    },
    sys.argv[1],
)
PY
"$python" "$folder/program.py" "$folder/without"
"$python" "$folder/program.py" "$folder/again"
"$python" -m pip install --quiet --disable-pip-version-check opt_einsum==3.4.0 2>/dev/null
"$python" "$folder/program.py" "$folder/with"
"$python" - "$folder" <<'PY'
import sys

import torch

without, again, there = (
    torch.load(f"{sys.argv[1]}/{name}", weights_only=True) for name in ("without", "again", "with")
)
assert all(torch.equal(without[name], again[name]) for name in without), "the program repeats itself"
same = {name: torch.equal(without[name], there[name]) for name in without}
print("same:", ", ".join(f"{name} {value}" for name, value in same.items()))
far = {name: (without[name] - there[name]).abs().max().item() for name in without}
print("largest differences:", ", ".join(f"{name} {value:.1e}" for name, value in far.items()))
assert list(same.values()) == [True, True, False, False], "the behaviour has changed"
assert all(value < 1e-2 for value in far.values())
PY
