"""Measure, write benchmarks/results/*.json and render RESULTS.md from them.

python -m benchmarks.run                  everything, some minutes on 2 cores
python -m benchmarks.run update hf        some parts
python -m benchmarks.run --smoke          tiny, writes nothing
python -m benchmarks.run --gpu            update, hf, rnn, rows and hf_rows on CUDA
"""

from __future__ import annotations

import json
import os
from importlib import import_module

import click
import torch

from benchmarks import render
from benchmarks.figures import Part

PARTS = {
    "update": "update",
    "hf": "hf",
    "rnn": "rnn_gradient",
    "whole": "whole_runs",
    "rows": "rows",
    "hf_rows": "hf_rows",
    "recording": "recording",
    "start": "start",
}
"""What a part is called → its module."""
ON_GPU = ("update", "hf", "rnn", "rows", "hf_rows")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--smoke", is_flag=True, help="Tiny sizes, in under a minute; writes nothing.")
@click.option("--gpu", is_flag=True, help="On a CUDA device; without one, say so.")
def main(parts: tuple[str, ...], smoke: bool, gpu: bool) -> None:
    """Run PARTS, by default all of them."""
    if gpu and not torch.cuda.is_available():
        click.echo(
            "There is no CUDA device here, so nothing was measured. What K rows cost on the CPU "
            "is under 'K trials as one fleet' in benchmarks/RESULTS.md; "
            "`python -m benchmarks.run rows` measures it here."
        )
        return
    device = torch.device("cuda" if gpu else "cpu")
    for name in parts or (ON_GPU if gpu else PARTS):
        load = os.getloadavg()[0]
        click.echo(f"{name} …", err=True)
        part: Part = import_module(f"benchmarks.{PARTS[name]}").measure(smoke, device)
        command = f"python -m benchmarks.run{' --gpu' if gpu else ''} {name}"
        content = part.as_json(command, load)
        if gpu:
            content["machine"]["processor"] = torch.cuda.get_device_name()
        click.echo(render.section(content))
        if not smoke:
            path = render.RESULTS / f"{name}{'_cuda' if gpu else ''}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content, indent=1) + "\n")
    if not smoke:
        render.write()


if __name__ == "__main__":
    main()
