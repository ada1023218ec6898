#!/usr/bin/env bash
# pytorch_optimizer 4.1.0 with torch 2.13.0: SPlus.eval() raises if one parameter has had no gradient
# yet, and leaves the others swapped for good.
#
# eval() puts the average of the weights in their place, and train() puts the weights back, as
# schedule-free optimizers do it. But if a parameter has no state, since it is frozen, unused so far, or
# since eval() comes before the first step (to measure the start), eval() raises KeyError: 'ema'.
#   Parameters before that one in the list hold their averages by then, and the flag still says that
#   they are in training: train() puts nothing back, and training goes on from the averages.
#   Before the first step, a caller who catches the KeyError and goes on gets a RuntimeError from the
#   first step(): the copy that eval() kept of the parameter counts as its state.
# ScheduleFreeAdamW of the same package takes eval() in all of these places.
#
# Seen: "eval: KeyError('ema')", "weights 0.9995, after eval 0.9997, after train 0.9997"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 pytorch_optimizer==4.1.0 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
from pytorch_optimizer import ScheduleFreeAdamW, SPlus
from torch import nn

torch.set_num_threads(1)
print("torch", torch.__version__, "pytorch_optimizer", version("pytorch_optimizer"))


def evaluated(optimizer):
    try:
        optimizer.eval()
    except KeyError as error:
        print(f"{type(optimizer).__name__}, eval: {error!r}")
        return error.args == ("ema",)
    print(f"{type(optimizer).__name__}, eval: no error")
    return False


def ones():
    return nn.Parameter(torch.ones(3))


def visited(made, used, others):
    """The used parameter after five steps, after eval() and after train(); whether eval() raised."""
    optimizer = made([used, *others])
    for _ in range(5):
        optimizer.zero_grad()
        used.square().sum().backward()
        optimizer.step()
    weights = [used[0].item()]
    raised = evaluated(optimizer)
    weights.append(used[0].item())
    optimizer.train()
    weights.append(used[0].item())
    print("weights {:.4f}, after eval {:.4f}, after train {:.4f}".format(*weights))
    return weights, raised


(weights, averages, back), raised = visited(SPlus, ones(), [])
assert not raised and weights != averages and back == weights, "without an unused one all is right"
for other in (ones(), ones().requires_grad_(False)):
    (weights, averages, back), raised = visited(SPlus, ones(), [other])
    assert raised and weights != averages and back == averages
    (weights, averages, back), raised = visited(ScheduleFreeAdamW, ones(), [other])
    assert not raised and abs(back - weights) < 1e-6

for made, breaks in ((SPlus, True), (ScheduleFreeAdamW, False)):
    p = ones()
    optimizer = made([p])
    assert evaluated(optimizer) == breaks
    optimizer.train()
    p.square().sum().backward()
    try:
        optimizer.step()
        assert not breaks, "step() raises nothing: the behaviour has changed"
        print(f"{made.__name__}, first step: no error")
    except RuntimeError as error:
        print(f"{made.__name__}, first step: RuntimeError: {error}")
        assert breaks
PY
