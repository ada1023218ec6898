"""Measure, write benchmarks/results/*.json and render RESULTS.md from them.

python -m benchmarks.run                  all that needs no GPU, some minutes on 2 cores
python -m benchmarks.run update hf        some parts
python -m benchmarks.run --smoke          every part, tiny, on the CPU; writes nothing
python -m benchmarks.run --gpu            all that can be said of a CUDA device, on it
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module

import click
import torch

from benchmarks import render
from benchmarks.figures import Part
from benchmarks.updates.fleets import release

PARTS = {
    "update": "updates.update",
    "torch_update": "updates.torch_update",
    "hf": "hessian_free.hf",
    "rnn": "updates.rnn_gradient",
    "whole": "hessian_free.whole_runs",
    "rows": "updates.rows",
    "hf_rows": "hessian_free.hf_rows",
    "recording": "store.recording",
    "start": "start",
    "probes": "probes",
    "store": "store.store",
    "ranks": "distributed.ranks",
    "momentum": "updates.momentum",
    "mnist": "paper.mnist_fleet",
    "add": "paper.add_fleet",
    "projection": "paper.projection",
}
"""What a part is called → its module."""
GPU_ONLY = ("momentum", "mnist", "add", "projection")
ON_GPU = (*GPU_ONLY, "update", "rnn", "rows", "hf", "hf_rows")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--smoke", is_flag=True, help="Tiny sizes, in a minute or two; writes nothing.")
@click.option("--gpu", is_flag=True, help="On a CUDA device; without one, say so.")
def main(parts: tuple[str, ...], smoke: bool, gpu: bool) -> None:
    """Run PARTS, by default all that the device is for.

    A part that fails is told, the others go on, and the exit code is 1.
    """
    if gpu and not torch.cuda.is_available():
        click.echo(
            "There is no CUDA device here, so nothing was measured. What K rows cost on the CPU "
            "is under 'K trials as one fleet' in benchmarks/RESULTS.md; "
            "`python -m benchmarks.run rows` measures it here."
        )
        return
    device = torch.device("cuda" if gpu else "cpu")
    left_out = () if gpu or smoke else GPU_ONLY
    if wrong := [name for name in parts if name in left_out]:
        raise click.UsageError(f"{', '.join(wrong)}: only on a CUDA device; add --gpu, or --smoke.")
    failed = [
        name
        for name in parts or (ON_GPU if gpu else PARTS)
        if name not in left_out and not _run(name, smoke, device)
    ]
    if left_out and not parts:
        click.echo(f"Left out, since they need a CUDA device and --gpu: {', '.join(left_out)}.")
    if failed:
        click.echo(f"Failed: {', '.join(failed)}.", err=True)
        sys.exit(1)


def _run(name: str, smoke: bool, device: torch.device) -> bool:
    """Measure a part, show it and, unless it is smoke, write it down; False where it fails."""
    load, gpu = os.getloadavg()[0], device.type == "cuda"
    click.echo(f"{name} …", err=True)
    try:
        part: Part = import_module(f"benchmarks.{PARTS[name]}").measure(smoke, device)
    except Exception:
        traceback.print_exc()
        return False
    finally:
        release(device)
    command = f"python -m benchmarks.run{' --gpu' if gpu else ''} {name}"
    content = part.as_json(command, load, device)
    file = f"{name}_cuda" if gpu or name in GPU_ONLY else name
    click.echo(render.SECTIONS[file](content))
    if not smoke:
        path = render.RESULTS / f"{file}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
        render.write()
    return True


if __name__ == "__main__":
    main()
