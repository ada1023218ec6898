#!/usr/bin/env bash
# pytorch_optimizer 4.1.0 with torch 2.13.0: TRAC around AdamW, at the default lr, may never move a
# float32 network, while the same lines in float64 train it.
#
# TRAC multiplies the inner optimizer's step by a scale that starts at 1.006e-7 and grows with the
# distance that the parameters have gone. With lr=1e-3 the first step is 1e-10. Added to a float32
# weight it is lost to rounding, unless the weight is smaller than about 1e-3. If every weight rounds
# it away, the distance is exactly 0 after every step, so the scale never grows; it even falls.
# One weight that is small enough starts all of them, since they share the scale:
#   a default network of 49 parameters, the smallest 0.0037: after 1,000 steps all 49 have the bits of
#   the start, and so has the loss; no error, no NaN, gradients are finite
#   the same network with its last bias at 0: all 49 move, and the loss falls below a hundredth
# One weight moves from the lr at which lr * 1.006e-7 is half the gap to the next float32: 0.30 for a
# weight of 1.0, 0.037 for 0.1, 0.0046 for 0.01, 0.00058 for 0.001.
#
# Seen: "float32: 0 of 49 moved, loss 0.5574 -> 0.5574",
#       "float32, one bias at 0: 49 of 49 moved, loss 0.6153 -> 0.0009",
#       "float64: 49 of 49 moved, loss 0.5574 -> 0.0055"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 pytorch_optimizer==4.1.0 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import torch
from pytorch_optimizer import TRAC
from torch import nn

torch.set_num_threads(1)
print("torch", torch.__version__, "pytorch_optimizer", version("pytorch_optimizer"))


def trained(what, dtype, bias_at_0=False):
    """Moved parameters of 49, and the loss after 1,000 steps over that at the start."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)
    if bias_at_0:
        nn.init.zeros_(net[2].bias)
    x = torch.randn(64, 4).to(dtype)
    y = x.sum(1, keepdim=True).sin()
    optimizer = TRAC(torch.optim.AdamW(net.parameters()))
    start = [p.detach().clone() for p in net.parameters()]
    losses = []
    for _ in range(1000):
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    moved = sum(int((p != s).sum()) for p, s in zip(net.parameters(), start))
    count = sum(p.numel() for p in start)
    print(f"{what}: {moved} of {count} moved, loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    return moved, losses[-1] / losses[0]


assert trained("float32", torch.float32) == (0, 1.0)
moved, left = trained("float32, one bias at 0", torch.float32, bias_at_0=True)
assert moved == 49 and left < 0.05
moved, left = trained("float64", torch.float64)
assert moved == 49 and left < 0.05


def first_step(weight, lr):
    """Whether the first step moves one float32 weight, and the scale."""
    p = nn.Parameter(torch.tensor([weight]))
    optimizer = TRAC(torch.optim.AdamW([p], lr=lr, weight_decay=0.0))
    before = p.detach().clone()
    p.square().sum().backward()
    optimizer.step()
    return bool((p != before).any()), optimizer.state["trac"]["s"].item()


scale = first_step(1.0, 1e-3)[1]
print("scale at the first step:", scale)
assert abs(scale - 1.006e-7) < 1e-10
for weight in (1.0, 0.1, 0.01, 0.001):
    at = np.float32(weight)
    gap = float(at) - float(np.nextafter(at, np.float32(0)))
    lr = gap / 2 / scale
    below, above = (first_step(weight, factor * lr)[0] for factor in (0.97, 1.03))
    print(f"weight {weight}: moves at lr {1.03 * lr:.2g} {above}, at {0.97 * lr:.2g} {below}")
    assert above and not below
PY
