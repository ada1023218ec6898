"""A torchrun that ends when its parent process ends.

`python -m bench.harness.execution.elastic ARGUMENTS`: the usual torchrun would continue without its
parent. This one reads its standard input, and stops the ranks in order when the parent closes it.
If a rank fails, a JSON message on stderr says which.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from bench.harness.execution.messages import RankFailure, send_message


def _follow_parent() -> None:
    # Unbuffered, because a buffered read would hold a lock when the interpreter exits.
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


def _main() -> int:
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        run(parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        # The rank that failed first; the others were stopped because of it.
        rank, failure = min(error.failures.items(), key=lambda each: each[1].timestamp)
        send_message(RankFailure(rank, failure.pid, failure.exitcode))
        return 1
    except SignalException:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(_main())
