"""Large pages (Linux) for what a warmed parent has imported: half as much work to fork it, and to end a child of it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

MADV_COLLAPSE = 25  # Linux 6.1
LARGE = 2 << 20
AT_ONCE = 4 * LARGE
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
MAPS = Path("/proc/self/maps")


class LargePages:
    """Made piece by piece, since each takes milliseconds, and somebody may be waiting."""

    def __init__(self) -> None:
        self._pieces: Iterator[tuple[int, int]] = iter(())

    def begin_anew(self) -> None:
        """After imports, which take memory that nobody has looked at yet."""
        self._pieces = pieces() if LIBC is not None else iter(())

    def make_some(self) -> bool:
        """One piece; False when none is left. That the kernel has no large page, or does not know how, only costs time."""
        piece = next(self._pieces, None)
        if piece is None or LIBC is None:
            return False
        LIBC.madvise(ctypes.c_void_p(piece[0]), ctypes.c_size_t(piece[1]), MADV_COLLAPSE)
        return True


def pieces() -> Iterator[tuple[int, int]]:
    """(address, bytes) of private memory that is no file's, in multiples of a large page."""
    for line in MAPS.read_text().splitlines():
        bounds, permissions, _, _, inode, *name = line.split(None, 5)
        if not permissions.startswith("rw") or inode != "0" or (name and name[0].strip() != "[heap]"):
            continue
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        low, high = -(-low // LARGE) * LARGE, high // LARGE * LARGE
        for start in range(low, high, AT_ONCE):
            yield start, min(AT_ONCE, high - start)
