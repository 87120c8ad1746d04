"""Writes train.conda.yaml and serve.conda.yaml from the pins of train.txt and serve.txt, for Linux and Python 3.11.

    python components/environment/lock.py            write both
    python components/environment/lock.py --check    exit 1 when one of them is out of date

The text is the one that azure-ai-ml sends to Azure as `condaFile` (it parses the file and dumps it with sorted keys and no
comments), so that the file, the request and Azure's own record of the environment are the same bytes.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PYTHON = "3.11"
NAMES = ("train", "serve")
# The markers that uv writes into the lock files, as they stand on Linux with CPython. An unknown one is an error, not a guess.
MARKERS = {
    "platform_python_implementation != 'PyPy'": True,
    "implementation_name != 'PyPy' and platform_python_implementation != 'PyPy'": True,
    "sys_platform != 'win32'": True,
    "sys_platform == 'linux'": True,
    "sys_platform == 'win32'": False,
}
PIN = re.compile(r"^(?P<pin>[A-Za-z0-9._-]+(?:\[[a-z0-9,_-]+\])?==[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*\\?$")


def pins(lock: str) -> list[str]:
    """The `name==version` pins of a lock file that apply to Linux and CPython; ValueError for a line that is not understood."""
    found = []
    for line in lock.splitlines():
        if not line.strip() or line.startswith((" ", "#")):
            continue
        match = PIN.match(line)
        if match is None:
            raise ValueError(f"expected `name==version [; marker]`, found {line!r}")
        marker = match["marker"]
        if marker is not None and marker not in MARKERS:
            raise ValueError(f"unknown marker {marker!r} in {line!r}: add it to MARKERS in {Path(__file__).name}")
        if marker is None or MARKERS[marker]:
            found.append(match["pin"])
    return found


def conda(name: str, lock: str) -> str:
    """The text of a conda file with every pin of `lock`; keys sorted, as azure-ai-ml dumps it."""
    lines = ["channels:", "- conda-forge", "dependencies:", f"- python={PYTHON}", "- pip", "- pip:"]
    lines += [f"  - {pin}" for pin in pins(lock)]
    return "\n".join([*lines, f"name: tidegate-{name}", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    check = parser.parse_args().check
    stale = []
    for name in NAMES:
        path, text = FOLDER / f"{name}.conda.yaml", conda(name, (FOLDER / f"{name}.txt").read_text())
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text)
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run `make lock`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
