#!/usr/bin/env bash
# torch 2.13.0, gloo on CPUs: from three ranks on, an all_reduce adds equal numbers to unequal sums.
#
# A ring gives each rank a part of the tensor to add up, and each part begins with another rank. So the
# order of the additions, and with it the rounding, depends on where in the tensor an element lies, on the
# size of the tensor, and on what else was packed into it. All ranks get the same bits, so no check for
# agreement notices. With three ranks that hold 1e8, 3.3 and -1e8 in every element, in float32:
#   tensors of 1 and 2 elements: 0.0
#   tensors of 3 and more:       0.0 in two thirds of the elements, 3.3 in the last third
# So gradients that are summed one by one, in one flat tensor, or in buckets of another size (bucket_cap_mb
# of DistributedDataParallel) round differently, and two equal neurons that are summed at two places are
# not equal any more. Two ranks are safe: a + b = b + a.
#
# Seen: "3 ranks, 6 elements: 0.0 0.0 3.3 3.3 0.0 0.0"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 2>/dev/null
cat > "$folder/rank.py" <<'PY'
import sys

import torch
import torch.distributed as dist

rank, size, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
sums = {}
for elements in (1, 2, 3, 6, 3000):
    x = torch.full((elements,), (1e8, 3.3, -1e8)[rank])
    dist.all_reduce(x)
    everywhere = [torch.empty_like(x) for _ in range(size)]
    dist.all_gather(everywhere, x)
    assert all(torch.equal(x, other) for other in everywhere), "all ranks get the same bits"
    sums[elements] = [round(value, 2) for value in x.tolist()]
dist.destroy_process_group()
if rank == 0:
    print("torch", torch.__version__)
    for elements, found in sums.items():
        print(f"{size} ranks, {elements} elements:", *found[:6], "..." if elements > 6 else "")
    if size == 2:
        assert all(set(found) == {1e8} for found in sums.values()), "two ranks have one order"
    else:
        assert sums[1] == [0.0] and sums[2] == [0.0, 0.0]
        assert all(set(sums[elements]) == {0.0, 3.3} for elements in (3, 6, 3000))
        assert sums[3000].count(3.3) == 1000
PY
for size in 2 3; do
  for rank in $(seq 1 $((size - 1))); do
    timeout 120 "$folder/venv/bin/python" "$folder/rank.py" "$rank" "$size" "$folder/meeting$size" 2>/dev/null &
  done
  timeout 120 "$folder/venv/bin/python" "$folder/rank.py" 0 "$size" "$folder/meeting$size"
  wait
done
