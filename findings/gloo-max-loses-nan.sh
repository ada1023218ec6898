#!/usr/bin/env bash
# torch 2.13.0, gloo on CPUs: all_reduce with MAX or MIN keeps a NaN only if it is on rank 0.
#
# torch.max and torch.amax return NaN if any element is NaN, and so does a SUM over ranks. An
# all_reduce with MAX over gloo does not: the result depends on which rank has the NaN. With three
# ranks that hold 1, 2 and 3:
#   NaN on rank 0: nan on every rank
#   NaN on rank 1: 1.0, so the NaN is lost, and with it the 3.0 of rank 2, which was finite
#   NaN on rank 2: 2.0, the NaN is lost
# All ranks get the same answer, so no check for agreement notices. A flag for divergence, a loss
# scale or a gradient norm that is combined by MAX reports a healthy number. A SUM, or a MAX of
# isnan(x) beside the value, does not lose it.
#
# Seen: "MAX, NaN on rank 1 of 3: 1.0 1.0 1.0"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 2>/dev/null
cat > "$folder/rank.py" <<'PY'
import math
import sys

import torch
import torch.distributed as dist

rank, size, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
found = {}
for name in ("MAX", "MIN", "SUM"):
    for bad in range(size):
        x = torch.tensor([math.nan if rank == bad else rank + 1.0])
        dist.all_reduce(x, op=getattr(dist.ReduceOp, name))
        everywhere = [None] * size
        dist.all_gather_object(everywhere, x.item())
        found[name, bad] = everywhere
        if rank == 0:
            print(f"{name}, NaN on rank {bad} of {size}:", *everywhere)
dist.destroy_process_group()
if rank == 0:
    assert torch.tensor([1.0, math.nan, 3.0]).max().isnan(), "torch.max propagates NaN"
    assert all(math.isnan(x) for bad in range(size) for x in found["SUM", bad])
    assert all(math.isnan(x) for name in ("MAX", "MIN") for x in found[name, 0])
    assert found["MAX", 1] == [1.0] * size, "rank 1's NaN hides rank 2's 3.0"
    assert found["MAX", 2] == [2.0] * size
    assert found["MIN", 1] == found["MIN", 2] == [1.0] * size
    print("torch", torch.__version__)
PY
for rank in 2 1; do
  timeout 120 "$folder/venv/bin/python" "$folder/rank.py" $rank 3 "$folder/meeting" 2>/dev/null &
done
timeout 120 "$folder/venv/bin/python" "$folder/rank.py" 0 3 "$folder/meeting"
wait
