"""Runs a command that starts processes of its own, and takes all of them along when the stack dies.

`python guard.py <command ...>`

The kernel ends a child when its parent dies (local/processes.py), but not that child's children: killed by kill -9, the stack
would leave them behind. So this stands between: told of the parent's death, it kills its whole process group.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> int:
    """Run the command to its end; its exit code."""
    signal.signal(signal.SIGUSR1, lambda *_: os.killpg(0, signal.SIGKILL))
    # Whoever stops the stack signals the group: the command ends by it, and this with the command.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    return subprocess.call(command)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
