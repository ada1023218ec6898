"""A watch over a method's code: when it may ask the objective, and whether every pass was paid."""

from __future__ import annotations

from threading import get_ident
from types import TracebackType

from bench.harness.core.errors import BrokenContract
from bench.models.passes import PASSES


class MethodWatch:
    """The watch over one method while a fleet calls its code.

    The objective may be asked in `step` alone. Whatever runs there or elsewhere in the method,
    every pass over the network must have come through the objective, which charges for it:

        passes that ran = passes that were paid
    """

    def __init__(self, method: str) -> None:
        self.method = method
        """Its name, for messages."""
        self.paid = 0
        """Passes that ran after they were charged."""
        self._in_step = False
        self._before = 0
        PASSES.know_thread()
        self._thread = get_ident()
        self._strangers = PASSES.strangers
        self._step = MethodCode(self, "step", asks=True)

    def __enter__(self) -> None:
        """Begin to compute what was charged."""
        self._before = PASSES.run

    def __exit__(self, *error: object) -> None:
        """End it."""
        self.paid += PASSES.run - self._before

    def step(self) -> MethodCode:
        """Return the context of `step`, in which the method may ask the objective."""
        return self._step

    def outside(self, part: str) -> MethodCode:
        """Return the context of another part of the method, such as `init`, which may not."""
        return MethodCode(self, part, asks=False)

    def set_step(self, value: bool) -> None:
        """Say whether a step runs."""
        self._in_step = value
        self._thread = get_ident()

    def require_step(self) -> None:
        """Raise BrokenContract unless a step of the method runs."""
        if not self._in_step:
            raise BrokenContract(
                f"{self.method} asked the objective outside of its `step`. `init`, `iterate`, "
                "`state_dict` and everything else in a method must do without; move it into `step`."
            )
        if get_ident() != self._thread:
            raise BrokenContract(
                f"{self.method} asked the objective from a thread of its own. Ask in the thread "
                "that runs `step`."
            )

    def require_no_other_thread(self) -> None:
        """Raise BrokenContract if the network has run in a thread that the method has begun."""
        if PASSES.strangers > self._strangers:
            raise BrokenContract(
                f"The network ran in another thread while {self.method} trained, and nobody paid "
                "for it. A method may compute on the network through `objective` only, in the "
                "thread that runs `step`."
            )


class MethodCode:
    """The time in which one part of a method runs."""

    __slots__ = ("_asks", "_paid", "_part", "_run", "_watch")

    def __init__(self, watch: MethodWatch, part: str, asks: bool) -> None:
        self._watch, self._part, self._asks = watch, part, asks

    def __enter__(self) -> None:
        """Let the method ask, if it may, and begin to count passes."""
        PASSES.know_thread()
        self._watch.set_step(self._asks)
        self._run, self._paid = PASSES.run, self._watch.paid

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """End it; raise BrokenContract for passes that nobody paid."""
        self._watch.set_step(False)
        free = (PASSES.run - self._run) - (self._watch.paid - self._paid)
        if kind is None:
            self._watch.require_no_other_thread()
        if kind is None and free:
            raise BrokenContract(
                f"{self._watch.method} ran the network {free} times in `{self._part}` without "
                "paying for it: it did not ask the objective. A method may compute on the network "
                "through `objective` only, which charges the trial for every pass."
            )
