#!/usr/bin/env bash
# torch 2.13.0, CPU: what a seed draws depends on how the tensor lies in memory, on its length, and on
# its dtype.
#
# One generator, one seed, the same shape (8, 8):
#   normal_ into a contiguous tensor and into a view of a wider buffer (strides 16, 1) share almost no
#   number; uniform_ into the two agrees to the bit. So an initialisation that draws normals into views
#   of one padded parameter vector is another one than the same lines on tensors of their own, while
#   one that draws uniforms is the same.
#   normal_ into the transpose of a tensor is not the transpose of the draw either.
#   randn(15) is no prefix of randn(16): from 16 numbers on, another algorithm draws them. And randn(17)
#   shares 1 of 17 numbers with randn(32), since a rest that does not fill 16 is drawn anew over the end.
#   float64 draws other numbers than float32, so a run in double precision does not repeat one in single
#   precision from "the same" start; bfloat16 draws those of float32, rounded.
#
# Seen: "strided view: 0 of 64 equal", "uniform_, strided view: 64 of 64 equal",
#       "randn(15) in randn(16): 0 of 15 equal", "randn(17) in randn(32): 1 of 17 equal"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
import torch

torch.set_num_threads(1)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def equal(what: str, a: torch.Tensor, b: torch.Tensor) -> int:
    same = int((a == b).sum())
    print(f"{what}: {same} of {a.numel()} equal")
    return same


print("torch", torch.__version__)
own, view = torch.empty(8, 8), torch.empty(8, 16)[:, :8]
assert equal("strided view", own.normal_(generator=seeded()), view.normal_(generator=seeded())) < 8
turned = torch.empty(8, 8).t().normal_(generator=seeded())
assert equal("transpose", own, turned) < 8 and equal("transposed back", own, turned.t()) < 8
evenly = own.clone().uniform_(generator=seeded()), view.uniform_(generator=seeded())
assert equal("uniform_, strided view", *evenly) == 64
short, longer = torch.randn(15, generator=seeded()), torch.randn(16, generator=seeded())
assert equal("randn(15) in randn(16)", short, longer[:15]) < 4
odd, even = torch.randn(17, generator=seeded()), torch.randn(32, generator=seeded())
assert equal("randn(17) in randn(32)", odd, even[:17]) < 4
single = torch.randn(64, generator=seeded())
double = torch.randn(64, generator=seeded(), dtype=torch.float64).float()
half = torch.randn(64, generator=seeded(), dtype=torch.bfloat16)
assert equal("float64 as float32", single, double) < 8
assert equal("float32 as bfloat16", single.bfloat16(), half) == 64
PY
