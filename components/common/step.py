"""How a step ends: one clear last line in the log, and an exit code that Azure ML understands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class StepFailedError(Exception):
    """Something that the reader of the log can put right. The message is the log's last line, so it names what, where and why."""


def run(name: str, main: Callable[[], None]) -> None:
    """Call `main`; a StepFailedError becomes `FAILED: ...` and exit code 1. Any other exception keeps its traceback."""
    start_up, started = time.process_time(), time.perf_counter()
    try:
        main()
    except StepFailedError as error:
        sys.stdout.flush()
        print(f"FAILED: {name}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    # CPU seconds before main() are the interpreter and its imports: what a warmed parent saves.
    print(f"{name}: done in {time.perf_counter() - started:.2f} s, after {start_up:.2f} s of start-up", flush=True)
