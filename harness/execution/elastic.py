"""torchrun for one command, which ends when its parent does.

`python -m bench.harness.execution.elastic ARGUMENTS`: torchrun would go on without whoever started
it. This one reads its standard input, and stops the ranks in order when that closes; and it says
on stderr, as JSON, which rank failed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from bench.harness.execution.messages import Failed, tell


def _follow_parent() -> None:
    # Unbuffered, so that nothing is locked when the interpreter ends.
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
        tell(Failed(rank, failure.pid, failure.exitcode))
        return 1
    except SignalException:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(_main())
