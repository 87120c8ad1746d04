"""Waiting on conditions, never on luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(happened: Callable[[], T], within: float = 120.0, *, what: str = "the condition", every: float = 0.02) -> T:
    """Poll `every` so many seconds until `happened()` is truthy and return it; AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not (result := happened()):
        assert time.monotonic() < deadline, f"{what} did not come true within {within:.0f} s"
        time.sleep(every)
    return result
