"""Print every skipped test with its reason; fail if what it lacked is there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path


def main(file: str) -> int:
    """Read the skips that tests/conftest.py recorded, a JSON object a line."""
    there = {
        "data": bool(os.environ.get("BENCH_DATA_DIR")),
        "postgres": bool(os.environ.get("BENCH_TEST_POSTGRES_URL")),
        "browser": shutil.which("chromium") is not None,
    }
    skips = [json.loads(line) for line in Path(file).read_text().splitlines()]
    unjustified = 0
    for skip in skips:
        has = [need for need in skip["markers"] if there.get(need)]
        if skip["when"] == "collect":
            has = ["a whole file, so nobody sees what it needs"]
        unjustified += bool(has)
        verdict = f"  NOT JUSTIFIED, this machine has it: {', '.join(has)}" if has else ""
        print(f"skipped: {skip['test']}: {skip['reason']}{verdict}")
    print(f"{len(skips)} tests skipped, {unjustified} of them without need")
    return 1 if unjustified else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
