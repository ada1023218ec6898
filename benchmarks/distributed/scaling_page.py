"""The tables of docs/scaling.md, made from benchmarks/results/ranks.json and nothing else.

python -m benchmarks.distributed.scaling_page
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness.report.table import number
from bench.harness.store.recorder import FLUSH_SECONDS, HEARTBEAT_SECONDS
from benchmarks.distributed import scaling_gpus, stores, trials_mode
from benchmarks.distributed.data_mode import (
    BANDWIDTH,
    EIGHTH,
    HALF,
    LATENCY,
    REDUCTION,
    SHARED,
    TWICE,
    WHOLE,
)
from benchmarks.distributed.scaling import (
    Exchange,
    Line,
    Link,
    Load,
    Work,
    efficiency,
    fastest,
    makespan,
    stops,
)
from benchmarks.distributed.scaling_gpus import Named
from benchmarks.machine import ran_on
from benchmarks.render import RESULTS

FILE = RESULTS / "ranks.json"
PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
GPUS = (8, 64, 1_024)
BACKWARD = 2 / 3
"""Of a gradient: beside no more than this could a reduction go."""
LOADS = {"of 30 s, 24 evaluations": (30.0, 24), "of an hour, 200 evaluations": (3_600.0, 200)}
"""What is asked of the store by ranks whose fleets are like this."""
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str, content: Mapping[str, Any]) -> str:
    """Return a page with every block `<!-- NAME -->` … `<!-- end -->` made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](content)}\n{found[3]}", text)


def of(case: Mapping[str, Any], what: str) -> float:
    """Return the median of the seconds of a case."""
    return float(median(case["seconds"][what]))


def gloo(content: Mapping[str, Any]) -> Link:
    """Return what lies between two ranks here: reductions of few numbers and of many say it."""
    seconds = content["measured"]["data"]["reductions"]
    few, many = ((4 * n + 8, median(seconds[str(n)])) for n in (LATENCY, BANDWIDTH))
    line = Line.through(few, many)
    # Two ranks make two steps, in which each sends every byte once.
    return Link(line.at_zero / 2, 1 / line.slope)


def work(case: Mapping[str, Any]) -> Work:
    """Return a unit of work as an eighth of its cases and twice as many say, on one rank."""
    cases = case["cases"]
    line = Line.through((cases / 8, of(case, EIGHTH)), (2 * cases, of(case, TWICE)))
    return Work(line.at_zero, line.slope, cases, Exchange(case["calls"], case["bytes"]))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def _name(case: Mapping[str, Any]) -> str:
    return f"{case['name']}, {case['method'].partition('[')[0]}"


def machine(content: Mapping[str, Any]) -> str:
    """Return where and when it was measured, and by which command."""
    return "\n".join(ran_on(content))


def trials(content: Mapping[str, Any]) -> str:
    """Return what the three ways to run the same fleets took, and what was predicted."""
    found = content["measured"]["trials"]
    seconds = {name: median(values) for name, values in found["seconds"].items()}
    pairs = zip(found["seconds"][trials_mode.PROCESSES], found["seconds"][trials_mode.RANKS],
                strict=True)  # fmt: skip
    ratio = median(theirs / ours for theirs, ours in pairs)
    fleets = found["fleets"]
    # Two at a time take each of them twice as long as all of them take together.
    each = [2 * seconds[trials_mode.PROCESSES] / fleets] * fleets
    predicted = {trials_mode.RANKS: makespan(each, 2), trials_mode.ONE: makespan(each, 1)}
    rows = [
        [
            name,
            f"{predicted[name]:.3g}" if name in predicted else "taken from here",
            f"{seconds[name]:.3g}",
            f"{median(found['starts'][name]):.3g}",
        ]
        for name in seconds
    ]
    return "\n".join(
        [
            _table([f"{fleets} fleets of hf by", "predicted s", "measured s", "start s"], rows),
            "",
            f"Two ranks reach **{ratio:.3g}** of what two independent processes reach "
            f"(median of {len(found['seconds'][trials_mode.RANKS])} rounds; goal 0.95).",
        ]
    )


def data(content: Mapping[str, Any]) -> str:
    """Return what two ranks take by size of P, what the model says, and what overlap could save."""
    link, rows = gloo(content), []
    for case in content["measured"]["data"]["cases"]:
        reckoned = work(case)
        one, two, reduction = of(case, WHOLE), of(case, SHARED), of(case, REDUCTION)
        said = [reckoned.seconds(ranks, link) for ranks in (1, 2)]
        pairs = zip(case["seconds"][WHOLE], case["seconds"][SHARED], strict=True)
        overhead = median((two - one / 2) / two for one, two in pairs)
        rows.append(
            [
                _name(case),
                f"{case['parameters']:,}",
                f"{case['bytes']:,} in {case['calls']}",
                _beside(said[0], one),
                _beside(said[1], two),
                f"{said[0] / said[1]:.2f} / {one / two:.2f}",
                _ms(reduction),
                f"{overhead:.0%}",
                _saved(two, reduction, BACKWARD * of(case, HALF))
                if case["unit"] == "update"
                else "",
            ]
        )
    head = [
        "predicted / measured",
        "P",
        "bytes in sums",
        "1 rank, ms",
        "2 ranks, ms",
        "speed-up",
        "reduction, ms",
        "overhead",
        "overlap saves at most",
    ]
    told = (
        f"gloo here: {link.latency * 1e6:.0f} µs a step, {link.bandwidth / 1e9:.2g} GB/s, from "
        f"reductions of {LATENCY} and of {BANDWIDTH:,} numbers."
    )
    return f"{_table(head, rows)}\n\n{told}"


def _beside(predicted: float, measured: float) -> str:
    return f"{_ms(predicted)} / {_ms(measured)} ({predicted / measured - 1:+.0%})"


def _saved(whole: float, reduction: float, beside: float) -> str:
    return f"{min(reduction, beside) / whole:.0%}"


def assumed(content: Mapping[str, Any]) -> str:
    """Return what is assumed of GPUs."""
    return "; ".join(f"{what} ({whose})" for what, whose in scaling_gpus.ASSUMPTIONS) + "."


def gpus_data(content: Mapping[str, Any]) -> str:
    """Return what mode data would do on GPUs."""
    every = scaling_gpus.in_data_mode(content["measured"]["data"]["cases"])
    return _gpus(every, 1e3, "ms")


def gpus_trials(content: Mapping[str, Any]) -> str:
    """Return what mode trials would do on GPUs."""
    measured = content["measured"]
    start = median(measured["trials"]["starts"][trials_mode.RANKS])
    named = scaling_gpus.in_trials_mode(measured["data"]["cases"], start)
    return _gpus(named, 1 / 60, "min")


def _gpus(every: Sequence[Named], scale: float, unit: str) -> str:
    rows = [
        [
            named.name,
            number(named.seconds(1) * scale),
            *(_gained(named, ranks, scale) for ranks in GPUS),
            _ranks(stops(named.seconds)),
            _ranks(fastest(named.seconds)),
        ]
        for named in every
    ]
    head = [
        f"predicted: {unit}, speed-up, efficiency; what takes most, or limits",
        "1 GPU",
        *(f"{ranks:,} GPUs" for ranks in GPUS),
        "efficiency < ½ at",
        "fastest at",
    ]
    return _table(head, rows)


def _gained(named: Named, ranks: int, scale: float) -> str:
    seconds = named.seconds(ranks)
    return (
        f"{number(seconds * scale)}, × {named.seconds(1) / seconds:.3g}, "
        f"{efficiency(named.seconds, ranks):.2g}; {named.limit(ranks)}"
    )


def _ranks(number: int | None) -> str:
    return "never" if number is None else f"{number:,}"


def store(content: Mapping[str, Any]) -> str:
    """Return what stores can take, and for how many ranks that does."""
    rows = []
    for name, found in content["measured"]["stores"].items():
        many = list(found[stores.LEASE])[-1]
        capacity = {kind: median(found[kind][many]["rates"]) for kind in stores.OPERATIONS}
        longest = max(found[kind][many]["longest"] for kind in stores.OPERATIONS)
        loads = [Load(*each, FLUSH_SECONDS, HEARTBEAT_SECONDS) for each in LOADS.values()]
        rows.append(
            [
                name,
                *(number(capacity[kind]) for kind in stores.OPERATIONS),
                f"{longest:.2g} s",
                *(f"{load.ranks(capacity):,.0f}" for load in loads),
            ]
        )
    head = [
        "by 16 workers",
        "leases/s",
        f"flushes/s, {stores.ROWS} rows",
        "heartbeats/s",
        "longest wait",
        *(f"ranks, fleets {name}" for name in LOADS),
    ]
    bytes = content["measured"]["trials"]["bytes"]
    return f"{_table(head, rows)}\n\nA trial of 24 evaluations takes {number(bytes)} bytes of it."


def checkpoints(content: Mapping[str, Any]) -> str:
    """Return what checkpoints take."""
    rows = [
        [
            _name(each),
            f"{each['parameters']:,}",
            f"{each['bytes']:,}",
            f"{each['bytes'] / (4 * each['parameters']):.2f}",
            _ms(median(each["seconds"])),
            f"{each['spent'] / each['run']:.1%} of {each['run']:.0f} s, {each['written']}"
            if "run" in each
            else "",
        ]
        for each in content["measured"]["checkpoints"]
    ]
    return _table(["", "P", "bytes", "× θ", "one, ms", "share of a run, how many"], rows)


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    each.__name__: each
    for each in (
        machine,
        trials,
        data,
        assumed,
        gpus_data,
        gpus_trials,
        store,
        checkpoints,
    )
}
"""What a block is called → what makes it."""


def write() -> None:
    """Write the page with the blocks of the newest measurement."""
    PAGE.write_text(page(PAGE.read_text(), json.loads(FILE.read_text())))


if __name__ == "__main__":
    write()
