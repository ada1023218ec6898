"""What the allocator itself says, on the CPU, as an oracle for what is counted."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak(compute: Callable[[], object]) -> int:
    """Bytes that torch had allocated at most while it computed, beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        compute()
    events = [each for each in seen.profiler.kineto_results.events() if each.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
